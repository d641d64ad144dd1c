//! Sans-IO protocol sessions: bytes and times in; bytes, events and deadlines out.
//!
//! It knows how peers speak. It deliberately knows no socket, no clock, no codec, and not who may publish or what is on air:
//! the driver owns the socket, asks the session what to do, and decides. Start from [`rtmp::ServerSession`].
//!
//! ```
//! use base::Mono;
//! use protocols::rtmp::{ClientAction, ClientConfig, ClientOutput, ClientSession, Output, ServerConfig, ServerSession};
//!
//! let config = ClientConfig::new(ClientAction::Publish, "rtmp://localhost/live", "live", "colorbar");
//! let mut client = ClientSession::new(config, Mono::ZERO);
//! let mut server = ServerSession::new(ServerConfig::default(), Mono::ZERO);
//! let ClientOutput::Transmit(hello) = client.poll_output() else { panic!("a client begins") };
//! server.handle_input(Mono::ZERO, &hello)?;
//! assert!(matches!(server.poll_output(), Output::Transmit(_)));
//! # Ok::<(), protocols::rtmp::Error>(())
//! ```

pub mod rtmp;
