//! A request's body on its way to an origin: bounded in bytes and in patience.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::Sleep;

use crate::{Body, BoxError};

pub(crate) struct Upload {
    inner: Incoming,
    left_bytes: u64,
    timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    too_long: Arc<AtomicBool>,
}

/// Why an upload ends early; the origin sees it as its body's error.
#[derive(Debug, Error)]
enum UploadError {
    #[error("the request's body is longer than allowed")]
    TooLong,
    #[error("the request's body stopped coming")]
    TimedOut,
}

impl Upload {
    /// At most `bytes_max`, with no pause longer than `timeout`; `too_long` is set when there would have been more.
    pub(crate) fn boxed(inner: Incoming, bytes_max: u64, timeout: Duration, too_long: Arc<AtomicBool>) -> Body {
        if inner.is_end_stream() {
            return crate::empty();
        }
        Self { inner, left_bytes: bytes_max, timeout, timer: None, too_long }.boxed_unsync()
    }

    fn count(&mut self, bytes: usize) -> Result<(), UploadError> {
        match self.left_bytes.checked_sub(bytes as u64) {
            Some(left) => {
                self.left_bytes = left;
                Ok(())
            }
            None => {
                self.too_long.store(true, Ordering::Relaxed);
                Err(UploadError::TooLong)
            }
        }
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Pending => {
                let timeout = this.timeout;
                let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
                timer.as_mut().poll(cx).map(|()| Some(Err(UploadError::TimedOut.into())))
            }
            Poll::Ready(frame) => {
                this.timer = None;
                Poll::Ready(frame.map(|frame| {
                    let frame = frame?;
                    this.count(frame.data_ref().map_or(0, Bytes::len))?;
                    Ok(frame)
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
