//! A stream's poster: its newest keyframe as a JPEG, made when somebody asks.

use std::{sync::Arc, time::Duration};

use base::Mono;
use bytes::Bytes;
use http::{Response, StatusCode};
use tracing::debug;

use super::answer::{self, Body, Keep, mime};
use crate::hub::{Hub, Stream};

/// Width of the picture in pixels; the height follows the source's shape.
const WIDTH: u32 = 480;
/// How long a picture serves before a newer one is made.
const FRESH: Duration = Duration::from_secs(5);

/// The newest picture of a stream, and when it was made.
#[derive(Debug, Default)]
pub(crate) struct Thumbnail {
    made: Option<(Mono, Bytes)>,
}

pub(super) async fn answer(hub: &Hub, stream: &Arc<Stream>) -> Response<Body> {
    let now = hub.clock.mono();
    // One at a time: whoever waits here finds the picture made.
    let mut thumbnail = stream.thumbnail.lock().await;
    if let Some((made, jpeg)) = &thumbnail.made
        && now.since(*made) < FRESH
    {
        return answer::full(mime::JPEG, Keep::For(FRESH), jpeg.clone());
    }
    let Some((track, keyframe)) = stream.present(|presentation| presentation.latest_keyframe()) else {
        return answer::problem(StatusCode::NOT_FOUND, Keep::Never, "the stream has no picture yet");
    };
    match transcode::thumbnail(&hub.capabilities, &track, &keyframe, WIDTH).await {
        Ok(jpeg) => {
            thumbnail.made = Some((now, jpeg.clone()));
            answer::full(mime::JPEG, Keep::For(FRESH), jpeg)
        }
        Err(error) => {
            debug!(stream = %stream.id, error = %crate::telemetry::chain(&error), "no thumbnail");
            answer::problem(
                StatusCode::SERVICE_UNAVAILABLE,
                Keep::For(FRESH),
                "no picture can be made: see `headwater doctor`",
            )
        }
    }
}
