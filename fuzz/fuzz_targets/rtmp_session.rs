//! A server session after the handshake, with a driver that accepts everything: never a panic, never more output than the queue holds.
#![no_main]

use base::Mono;
use libfuzzer_sys::fuzz_target;
use protocols::rtmp::{Event, Output, ServerConfig, ServerSession};

fuzz_target!(|data: &[u8]| {
    let Some((first, input)) = data.split_first() else { return };
    let config = ServerConfig::default();
    let output_queue_bytes_max = config.output_queue_bytes_max;
    let mut session = ServerSession::new(config, Mono::ZERO);
    let handshake = [&[3][..], &[0; 2 * 1536]].concat();
    assert_eq!(session.handle_input(Mono::ZERO, &handshake), Ok(()));
    // The first byte says how the input is cut; 0: not at all.
    for piece in input.chunks(match first {
        0 => usize::MAX,
        bytes => usize::from(*bytes),
    }) {
        let result = session.handle_input(Mono::ZERO, piece);
        assert!(session.queued_bytes() <= 2 * output_queue_bytes_max);
        drain(&mut session);
        if result.is_err() {
            return;
        }
    }
});

fn drain(session: &mut ServerSession) {
    loop {
        match session.poll_output() {
            Output::Transmit(_) => {}
            Output::Event(Event::Publish { request, .. } | Event::Play { request, .. }) => session.accept(request),
            Output::Event(event) => {
                let _ = format!("{event:?}");
            }
            Output::Timeout(_) => return,
        }
    }
}
