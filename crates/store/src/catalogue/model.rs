//! Rows of the catalogue as the rest of the platform sees them. Times are wall times of the database's clock.

use base::Wall;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AssetId, DeliveryId, JobId, StepId, TokenId, UploadId, UserId, WebhookId, WorkerId};

/// An enum that is a lower-case word in the database, in JSON and in the CLI.
macro_rules! words {
    ($( $(#[doc = $doc:literal])* $name:ident { $( $(#[doc = $vdoc:literal])* $variant:ident = $word:literal, )* } )*) => { $(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $( $(#[doc = $vdoc])* #[serde(rename = $word)] $variant, )* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }

            /// The value of a word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl From<$name> for super::engine::Arg {
            fn from(value: $name) -> Self {
                Self::Text(value.as_str().to_owned())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )* };
}

words! {
    /// Where an asset is between its first byte and its viewers.
    AssetState {
        /// Its bytes are still coming.
        Uploading = "uploading",
        /// A job is at work and nothing plays yet.
        Preparing = "preparing",
        /// Something plays; higher renditions may still come.
        Ready = "ready",
        /// Its job failed before anything played.
        Errored = "errored",
        /// Deleted: invisible, its objects wait for clean-up.
        Deleted = "deleted",
    }

    /// What a rendition or a source track carries.
    MediaKind {
        /// Pictures.
        Video = "video",
        /// Sound.
        Audio = "audio",
        /// Text.
        Subtitle = "subtitle",
    }

    /// Where a job is.
    JobState {
        /// Steps are ready or leased.
        Running = "running",
        /// Nothing new is leased until it is resumed; what runs is finished.
        Paused = "paused",
        /// Every step done.
        Done = "done",
        /// A step failed for good.
        Failed = "failed",
        /// Stopped by a person.
        Cancelled = "cancelled",
    }

    /// Where a step is.
    StepState {
        /// Waits for other steps.
        Blocked = "blocked",
        /// May be claimed from `ready_at` on.
        Ready = "ready",
        /// A worker holds it.
        Leased = "leased",
        /// Its output is recorded.
        Done = "done",
        /// Failed for good.
        Failed = "failed",
        /// Its job was cancelled, or failed in another step.
        Cancelled = "cancelled",
        /// Poison: it lost its workers or showed a bug; waits for a person.
        Quarantined = "quarantined",
    }

    /// Whose fault a step's failure is; decides what happens next.
    ErrorClass {
        /// The source's: no retry; the uploader is told in plain words.
        Input = "input",
        /// Passing: retried with exponential back-off.
        Transient = "transient",
        /// The node is too small (disk, memory, device): retried on another node.
        Capacity = "capacity",
        /// Ours: quarantined.
        Bug = "bug",
    }

    /// What a token may do.
    Scope {
        /// Everything, tokens and users included.
        Admin = "admin",
        /// Assets, uploads, jobs, transfers.
        Write = "write",
        /// Look.
        Read = "read",
        /// Claim steps.
        Worker = "worker",
    }

    /// Where an upload is.
    UploadState {
        /// Bytes are still coming.
        Open = "open",
        /// All bytes are stored; its asset has them, or it is part of a concatenation.
        Complete = "complete",
        /// Ended by the client, expired or refused; its objects wait for clean-up.
        Gone = "gone",
    }

    /// How a webhook delivery stands.
    DeliveryState {
        /// To be tried at `next_at`.
        Pending = "pending",
        /// Answered 2xx.
        Delivered = "delivered",
        /// Given up.
        Failed = "failed",
    }
}

/// A recipe by name and version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeRef {
    /// Its name.
    pub name: String,
    /// Its version: 1, 2, ...
    pub version: i64,
}

/// A stored recipe: data that `vod::Recipe` reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecipeRow {
    /// Name and version.
    #[serde(flatten)]
    pub id: RecipeRef,
    /// The recipe itself.
    pub body: Value,
    /// When it was stored.
    pub created: Wall,
}

/// Bytes as a list of objects, one behind the other: what an upload leaves, without copying it together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// The objects in order.
    pub parts: Vec<BlobPart>,
}

/// One object of a [`Blob`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobPart {
    /// Its key in the object store.
    pub key: String,
    /// Its size.
    pub bytes: u64,
}

impl Blob {
    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

/// Where an asset's bytes come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The name that the file had.
    pub file_name: String,
    /// Size, when known.
    pub bytes: Option<u64>,
    /// SHA-256 in lower-case hex, when known.
    pub sha256: Option<String>,
    /// A URL that is fetched by the job's first step; `None` for uploads.
    pub url: Option<String>,
    /// The bytes, once stored.
    pub blob: Option<Blob>,
}

/// An asset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asset {
    /// Id; also its name in `/vod/ID/...`.
    pub id: AssetId,
    /// Whose it is; `default` when nobody said.
    pub tenant: String,
    /// Title for people.
    pub title: String,
    /// State.
    pub state: AssetState,
    /// The recipe of its newest job.
    pub recipe: RecipeRef,
    /// Its bytes.
    pub source: Source,
    /// What the probe found (`transcode::vod::Probe` as JSON).
    pub media: Option<Value>,
    /// Length of the presentation.
    pub duration_ms: Option<i64>,
    /// Object key of the poster, a JPEG.
    pub poster: Option<String>,
    /// Storyboard (`vod::Storyboard` as JSON): sprite objects and their grid.
    pub storyboard: Option<Value>,
    /// Grows with every change of what is delivered.
    pub revision: i64,
    /// Why it is errored.
    pub error: Option<StepError>,
    /// Free fields of the client's, echoed back.
    pub metadata: Value,
    /// Creation.
    pub created: Wall,
    /// Last change.
    pub updated: Wall,
}

/// A delivered rendition: one track, packaged once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rendition {
    /// Of which asset.
    pub asset: AssetId,
    /// Name in URLs: `v720`, `a0`, `s1`.
    pub name: String,
    /// Kind.
    pub kind: MediaKind,
    /// RFC 6381 codecs string.
    pub codecs: String,
    /// Picture width and height.
    pub width: Option<i64>,
    /// Picture height.
    pub height: Option<i64>,
    /// Peak bit rate in bits per second over a segment.
    pub bandwidth: i64,
    /// Mean bit rate.
    pub average_bandwidth: i64,
    /// BCP 47 tag.
    pub language: Option<String>,
    /// Label for people.
    pub label: Option<String>,
    /// Chosen when the viewer chose nothing.
    pub default: bool,
    /// Object key of the media: one CMAF track file, or WebVTT.
    pub object: String,
    /// Its size in bytes.
    pub bytes: i64,
    /// Object key of the index (`packager::vod::TrackIndex`, JSON).
    pub index: String,
    /// Measured quality, such as `{"ssim": 0.987, "vmaf": 93.1}`.
    pub quality: Value,
    /// Publication.
    pub ready: Wall,
}

/// A job: one run of a recipe over an asset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Id.
    pub id: JobId,
    /// Its asset.
    pub asset: AssetId,
    /// Whose it is.
    pub tenant: String,
    /// State.
    pub state: JobState,
    /// The recipe.
    pub recipe: RecipeRef,
    /// Lower goes first; 0 is usual.
    pub priority: i64,
    /// What the manager keeps between steps (plan, cut list, counts).
    pub context: Value,
    /// Why it failed.
    pub error: Option<StepError>,
    /// Creation.
    pub created: Wall,
    /// Last change.
    pub updated: Wall,
    /// When it ended.
    pub finished: Option<Wall>,
}

/// What went wrong in a step, for people and for the retry rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepError {
    /// Whose fault.
    pub class: ErrorClass,
    /// A stable word: `not_media`, `ffmpeg_failed`, `disk_full`, `lease_lost`, `stalled`, ...
    pub code: String,
    /// One or two sentences that end with what to do.
    pub human: String,
    /// The last lines of the tool's log.
    pub log: Option<String>,
    /// Node and attempt, when it came from a worker.
    pub worker: Option<String>,
}

/// How far a leased step is, as its worker says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 1000.
    pub permille: u32,
    /// Position in the media.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_time_ms: Option<i64>,
    /// Frames per second of work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// Bytes moved or written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A step: the unit of lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Id.
    pub id: StepId,
    /// Its job.
    pub job: JobId,
    /// Its job's asset.
    pub asset: AssetId,
    /// Its job's tenant.
    pub tenant: String,
    /// Name within the job, unique: `encode/v720/3`.
    pub name: String,
    /// What to do: `probe`, `encode`, ... (`vod::StepKind`).
    pub kind: String,
    /// The rendition it works for.
    pub rendition: Option<String>,
    /// The capability a worker needs: `encode`, `package`, `transfer`, ...
    pub cap: String,
    /// Queue class: lower goes first whatever the age.
    pub class: i64,
    /// Expected cost in seconds of one core; the weight in the job's progress.
    pub weight: f64,
    /// What the worker is told (`vod::protocol`).
    pub spec: Value,
    /// State.
    pub state: StepState,
    /// Leases so far that counted.
    pub attempt: i64,
    /// Leases that may count.
    pub attempts_max: i64,
    /// Fencing token of the newest lease: grows with every lease, cancel and reaping.
    pub token: i64,
    /// Who holds it, or held it last.
    pub worker: Option<WorkerId>,
    /// End of the lease.
    pub lease_until: Option<Wall>,
    /// Progress of the current attempt.
    pub progress: Option<Progress>,
    /// When `progress` last moved forward.
    pub moved: Option<Wall>,
    /// What it produced.
    pub output: Option<Value>,
    /// The newest error, kept while it is retried.
    pub error: Option<StepError>,
    /// Not claimed before.
    pub ready_at: Wall,
    /// Creation.
    pub created: Wall,
    /// Begin of the newest attempt.
    pub started: Option<Wall>,
    /// End.
    pub finished: Option<Wall>,
}

/// A step to be added to a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewStep {
    /// Unique in the job; a step of the same name is left as it is.
    pub name: String,
    /// Kind.
    pub kind: String,
    /// Rendition.
    pub rendition: Option<String>,
    /// Capability.
    pub cap: String,
    /// Queue class.
    pub class: i64,
    /// Expected seconds of one core.
    pub weight: f64,
    /// For the worker.
    pub spec: Value,
    /// Attempts.
    pub attempts_max: i64,
    /// Names of steps of this job that must be done before.
    pub after: Vec<String>,
}

/// A worker as the catalogue knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Id of this process; a restart gets another.
    pub id: WorkerId,
    /// Node name: poison and cordons are counted by it.
    pub name: String,
    /// Capabilities.
    pub caps: Vec<String>,
    /// What it said of itself: version, cores, disk, encoders.
    pub info: Value,
    /// Gets no new steps: a person or the reaper said so.
    pub cordoned: bool,
    /// Why.
    pub cordon_reason: Option<String>,
    /// Finishes what it has and leaves.
    pub draining: bool,
    /// First and last sign of life.
    pub registered: Wall,
    /// Last sign of life.
    pub seen: Wall,
}

/// An upload (tus 1.0).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upload {
    /// Id.
    pub id: UploadId,
    /// Its asset; a part of a concatenation has none.
    pub asset: Option<AssetId>,
    /// Whose.
    pub tenant: String,
    /// State.
    pub state: UploadState,
    /// Total size; `None` while deferred.
    pub bytes: Option<u64>,
    /// Bytes stored: the next PATCH begins here.
    pub offset: u64,
    /// The stored bytes.
    pub blob: Blob,
    /// Upload-Metadata, decoded.
    pub metadata: Value,
    /// `Upload-Concat: partial`.
    pub partial: bool,
    /// When an unfinished upload is given up.
    pub expires: Wall,
    /// Creation.
    pub created: Wall,
}

/// An event of the outbox, written in the transaction of the change it tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position: give it back to read on.
    pub cursor: Cursor,
    /// `asset.ready`, `job.step.failed`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Whose.
    pub tenant: String,
    /// The asset it is about.
    pub asset: Option<AssetId>,
    /// The job it is about.
    pub job: Option<JobId>,
    /// Details.
    pub data: Value,
    /// When.
    pub at: Wall,
}

/// A position in the outbox. Opaque text for clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    /// Transaction (Postgres) or 0.
    pub transaction: i64,
    /// Row.
    pub seq: i64,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.transaction, self.seq)
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> String {
        cursor.to_string()
    }
}

impl std::str::FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('-').and_then(|(t, s)| Some((t.parse().ok()?, s.parse().ok()?)));
        match parsed {
            Some((transaction, seq)) if transaction >= 0 && seq >= 0 => Ok(Self { transaction, seq }),
            _ => Err(format!("{text:?} is no event position")),
        }
    }
}

impl TryFrom<String> for Cursor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// An event to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// `asset.ready`, ...
    pub kind: &'static str,
    /// Whose.
    pub tenant: String,
    /// Asset.
    pub asset: Option<AssetId>,
    /// Job.
    pub job: Option<JobId>,
    /// Details.
    pub data: Value,
}

/// A webhook endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    /// Id.
    pub id: WebhookId,
    /// Whose events.
    pub tenant: String,
    /// Where to POST.
    pub url: String,
    /// Event types, `asset.*` or `*`.
    pub events: Vec<String>,
    /// Signing secrets, newest first: two while rotating. Never shown again.
    #[serde(skip_serializing, default)]
    pub secrets: Vec<String>,
    /// Switched off by a person, or after failing for days.
    pub enabled: bool,
    /// Events up to here are queued as deliveries.
    #[serde(skip_serializing, default)]
    pub queued: Cursor,
    /// Creation.
    pub created: Wall,
}

/// An event on its way to an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Id; the `webhook-id` header is the event's, so that a receiver can drop doubles.
    pub id: DeliveryId,
    /// To whom.
    pub webhook: WebhookId,
    /// The event.
    pub event: Event,
    /// State.
    pub state: DeliveryState,
    /// Tries so far.
    pub attempt: i64,
    /// Next try.
    pub next_at: Wall,
    /// Status or error of the last try.
    pub last: Option<String>,
}

/// An access token without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// Id.
    pub id: TokenId,
    /// Label for people.
    pub label: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Whose assets: `None` is every tenant's.
    pub tenant: Option<String>,
    /// The user it belongs to.
    pub user: Option<UserId>,
    /// When it ends.
    pub expires: Option<Wall>,
    /// Creation.
    pub created: Wall,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Id.
    pub id: UserId,
    /// Unique name.
    pub name: String,
    /// What their tokens may have at most.
    pub scopes: Vec<Scope>,
    /// Tenant; `None` is every tenant.
    pub tenant: Option<String>,
    /// Creation.
    pub created: Wall,
}

/// Who asks, after a token was checked. An extension of every API request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Token id, or `loopback`.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Its tenant; `None` is every tenant's.
    pub tenant: Option<String>,
}

impl Principal {
    /// Whether it may do what `scope` allows: `admin` may everything but claim steps; `write` may read.
    pub fn may(&self, scope: Scope) -> bool {
        let has = |scope| self.scopes.contains(&scope);
        match scope {
            Scope::Worker => has(Scope::Worker),
            Scope::Admin => has(Scope::Admin),
            Scope::Write => has(Scope::Write) || has(Scope::Admin),
            Scope::Read => has(Scope::Read) || has(Scope::Write) || has(Scope::Admin),
        }
    }

    /// Whether it may see rows of `tenant`.
    pub fn sees(&self, tenant: &str) -> bool {
        self.tenant.as_deref().is_none_or(|own| own == tenant)
    }
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// Rows in order.
    pub rows: Vec<T>,
    /// Where the next page begins; `None` at the end. Opaque text for clients.
    pub next: Option<String>,
}
