//! A panic in one request is that request's failure and nobody else's.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use metrics::counter;

/// Runs a future; its panic is an error: counted and logged.
pub(crate) async fn guarded<F: Future>(place: &'static str, future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match caught(place, || future.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

/// Something panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Calls `f`; a panic in it is counted under `place` and returned.
pub(crate) fn caught<T>(place: &'static str, f: impl FnOnce() -> T) -> Result<T, Panicked> {
    // What was borrowed is given up after a panic: the future or body is dropped, not polled again.
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        counter!("headwater_edge_panics_total", "place" => place).increment(1);
        tracing::error!(place, panic = text(panic.as_ref()), "a panic was caught");
        Panicked
    })
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
