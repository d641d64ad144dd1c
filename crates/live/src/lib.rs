//! The live plane: listeners that drive `protocols`, the hub in the middle, supervision of the ladder, the rewind window and
//! the HTTP origin.
//!
//! It deliberately does not know caching, TLS or the control API: the origin is a plain service that a front end calls.
//! Start from [`Live`], which owns one node's streams.
//!
//! ```
//! # async fn example() -> Result<(), live::Error> {
//! let live = live::Live::new(live::Settings::default(), std::sync::Arc::new(base::SystemClock::start()));
//! let rtmp = live.listen_rtmp("127.0.0.1:0").await?;
//! println!("publish to rtmp://{}/live/stream", rtmp.local_addr());
//! let answer = live.origin().answer(http::Request::get("/channels.json").body(())?).await;
//! assert_eq!(answer.status(), 200);
//! # Ok(()) }
//! ```

mod config;
mod error;
mod guide;
mod hub;
mod keys;
mod ladder;
mod lock;
mod node;
mod origin;
mod pace;
mod rtmp;
mod spill;
mod telemetry;

pub use config::{Config, OutOfRange};
pub use error::Error;
pub use hub::{FeedError, PublishError, Publisher, StreamSummary};
pub use keys::{InvalidKey, PublishKey};
pub use node::{Live, Settings};
pub use origin::{Body, Origin};
pub use rtmp::RtmpListener;
