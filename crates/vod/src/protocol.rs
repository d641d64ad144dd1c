//! What manager and workers say to each other: JSON over HTTP below `/api/v1/worker`.
//!
//! | request | answer |
//! |---|---|
//! | `POST register` [`Register`] | [`Registered`] |
//! | `POST claim` [`Claim`] | 200 [`Leased`], or 204 when nothing came within `wait_ms` |
//! | `POST steps/ID/heartbeat` [`Heartbeat`] | [`HeartbeatAnswer`] |
//! | `POST steps/ID/complete` [`Complete`], `fail` [`Fail`], `release` [`Release`] | 204 |
//! | `POST workers/ID/leave` | 204: the worker claims nothing more |
//! | `GET`, `HEAD steps/ID/source?token=N` | the asset's source, with ranges |
//! | `GET`, `HEAD steps/ID/objects?key=K&token=N` | an object of this job or asset, with ranges |
//! | `PUT steps/ID/objects/NAME?token=N`, header `content-sha256` | 201 [`ObjectRef`]; 200 when the same bytes are there already |
//!
//! Every request about a step carries the fencing token of its lease. A token that does not hold any more is answered with 409
//! and the code `lease_lost`: the worker kills what it does and discards it. Nothing is ever overwritten; what a worker has
//! stored counts once the catalogue names it, in the transaction that completes the step.

use serde::{Deserialize, Serialize};
use store::catalogue::{AssetId, JobId, Progress, StepError, StepId, WorkerId};
use transcode::vod::{
    AnalyseSpec, Analysis, AudioEncode, Chunk, Encoded, Probe, Quality, RungChoice, RungSpec, StoryboardSpec,
    VideoEncode,
};

/// Longest that a claim may wait for a step, in milliseconds: below the idle limits of usual proxies.
pub const CLAIM_WAIT_MS_MAX: u64 = 25_000;
/// Longest name of an object that a worker may store, in bytes.
pub const OBJECT_NAME_BYTES_MAX: usize = 100;
/// Largest JSON body of a request, in bytes: an analysis of 24 hours with a sync frame every half second is about 3 MB.
pub const BODY_BYTES_MAX: usize = 32 << 20;
/// Header of an upload of an object: SHA-256 of the body in lower-case hex.
pub const SHA256_HEADER: &str = "content-sha256";

/// Capabilities that a worker may have, with what they are for.
pub mod cap {
    /// Look at sources and results: probe, analyse, validate, thumbnails, storyboard, subtitles.
    pub const ANALYSE: &str = "analyse";
    /// Encode H.264 and sound, and copy tracks. Steps of other codecs need `encode-hevc`, `encode-av1` or `encode-vp9`, which
    /// the manager grants by the encoders that the worker registered with.
    pub const ENCODE: &str = "encode";
    /// Stitch, package, clean up: little work, much reading.
    pub const PACKAGE: &str = "package";
    /// Fetch sources, deliver files, call URLs: needs a way out.
    pub const TRANSFER: &str = "transfer";
    /// Every one.
    pub const ALL: [&str; 4] = [ANALYSE, ENCODE, PACKAGE, TRANSFER];
}

/// An object that a worker stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Key in the object store.
    pub key: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256 in lower-case hex.
    pub sha256: String,
}

impl ObjectRef {
    /// The last part of its key: the name that the worker gave it.
    pub fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or(&self.key)
    }
}

/// What a step does: the `spec` column of its row, and what its worker gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Spec {
    /// Get the source from where it is. Stores it in parts of at most `part_bytes`, so that a retry goes on where it stood.
    Fetch {
        /// `http`, `https`, `ftp`, `ftps`, `sftp` or `s3` URL, without credentials.
        url: String,
        /// What the asset's file is called when the server does not say.
        file_name: String,
        /// Refused when it is larger.
        bytes_max: u64,
        /// Largest object of the stored source.
        part_bytes: u64,
        /// Addresses of private networks are allowed.
        private_addresses: bool,
        /// Credentials; never in the row, filled in with the lease.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        auth: Option<Credentials>,
    },
    /// Look at the source: containers, tracks, length.
    Probe {
        /// Also compute the SHA-256 of the source and give it back: set when one was announced and is still to be checked.
        hash: bool,
    },
    /// Look at every picture's time, at shots, loudness and complexity.
    Analyse {
        /// What to look at.
        spec: AnalyseSpec,
        /// Rungs to try on sampled shots; empty unless the recipe is per title.
        #[serde(default)]
        per_title: Vec<RungSpec>,
    },
    /// Encode one chunk of one rendition, or a whole sound track, or copy a track.
    Encode {
        /// What to make.
        job: EncodeJob,
    },
    /// Compare the chunks of a rendition with the source's (inputs: its encode outputs in chunk order). Nothing is copied.
    Stitch {
        /// The rendition.
        rendition: String,
        /// The source's chunks in order, as the analysis found them, without their `keyframes`.
        expected: Vec<Chunk>,
    },
    /// Make one CMAF track file and its index of the encoded chunks (inputs: its encode outputs in chunk order).
    Package {
        /// The rendition.
        rendition: String,
        /// Target duration of a segment.
        segment_ms: u32,
        /// The source's time at which the presentation begins: the same for all tracks of an asset.
        start_ms: i64,
        /// BCP 47 tag.
        language: Option<String>,
        /// Label for people.
        label: Option<String>,
        /// Chosen when the viewer chose nothing.
        default: bool,
    },
    /// Decode the packaged track, count its pictures and compare them with the source (input: its package output).
    Validate {
        /// The rendition.
        rendition: String,
        /// Measure SSIM.
        ssim: bool,
        /// Measure VMAF where FFmpeg has it.
        vmaf: bool,
        /// Pictures there must be.
        expected_frames: Option<u64>,
        /// Length there must be.
        expected_ms: i64,
    },
    /// Posters. The first is the asset's.
    Thumbnails {
        /// Positions in thousandths of the length.
        at_permille: Vec<u32>,
        /// Width in pixels; the height follows the picture.
        width: u32,
    },
    /// Sprites for the seek bar.
    Storyboard {
        /// The grid.
        spec: StoryboardSpec,
    },
    /// A text track as WebVTT.
    Subtitles {
        /// Index of the track in the source.
        track: u32,
        /// The rendition, `s0`.
        rendition: String,
        /// BCP 47 tag.
        language: Option<String>,
        /// Label for people.
        label: Option<String>,
        /// Chosen when the viewer chose nothing.
        default: bool,
    },
    /// Deliver the asset's files to another storage.
    Transfer {
        /// Name of the destination's profile.
        name: String,
        /// The profile with its credentials; never in the row, filled in with the lease.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        destination: Option<serde_json::Value>,
        /// What to deliver; filled in with the lease.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        objects: Vec<TransferObject>,
    },
    /// Tell a URL that the job is done, beside webhooks.
    Notify {
        /// Where to POST.
        url: String,
        /// The JSON body; filled in with the lease.
        #[serde(default)]
        body: serde_json::Value,
        /// Addresses of private networks are allowed; filled in with the lease.
        private_addresses: bool,
    },
    /// The last step: the manager removes the job's intermediate objects when it completes. The worker answers `done`.
    CleanUp {},
}

impl Spec {
    /// The `kind` column: the word that tells the kinds apart in JSON, too.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Fetch { .. } => "fetch",
            Self::Probe { .. } => "probe",
            Self::Analyse { .. } => "analyse",
            Self::Encode { .. } => "encode",
            Self::Stitch { .. } => "stitch",
            Self::Package { .. } => "package",
            Self::Validate { .. } => "validate",
            Self::Thumbnails { .. } => "thumbnails",
            Self::Storyboard { .. } => "storyboard",
            Self::Subtitles { .. } => "subtitles",
            Self::Transfer { .. } => "transfer",
            Self::Notify { .. } => "notify",
            Self::CleanUp {} => "clean_up",
        }
    }

    /// Whether its objects are delivered (`assets/ASSET/STEP-TOKEN/NAME`) and not intermediate (`work/JOB/STEP-TOKEN/NAME`).
    pub const fn delivers(&self) -> bool {
        matches!(
            self,
            Self::Fetch { .. }
                | Self::Package { .. }
                | Self::Thumbnails { .. }
                | Self::Storyboard { .. }
                | Self::Subtitles { .. }
        )
    }
}

/// What an encode step makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a step has one")]
pub enum EncodeJob {
    /// Pictures.
    Video(VideoEncode),
    /// Sound.
    Audio(AudioEncode),
    /// A track as it is, in a fragmented MP4.
    Copy {
        /// Index of the track in the source.
        track: u32,
    },
}

/// User and password, or headers.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Credentials {
    /// User, or an S3 access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Password, or an S3 secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// HTTP headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(redacted)")
    }
}

/// A file to deliver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferObject {
    /// The object; its hash is unknown (`""`) for objects that were stored before hashes were kept.
    pub object: ObjectRef,
    /// Path at the destination, below the asset's folder: `v720.mp4`, `poster.jpg`.
    pub path: String,
}

/// What a step produced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Output {
    /// Of [`Spec::Fetch`].
    Fetched {
        /// What the file is called.
        file_name: String,
        /// The bytes, in order.
        parts: Vec<ObjectRef>,
        /// All of them.
        bytes: u64,
        /// SHA-256 of the whole.
        sha256: String,
    },
    /// Of [`Spec::Probe`].
    Probed {
        /// What is in the source.
        probe: Probe,
        /// SHA-256 of the source, when it was asked for.
        sha256: Option<String>,
    },
    /// Of [`Spec::Analyse`].
    Analysed {
        /// What was found.
        analysis: Analysis,
        /// What the per-title search chose; rungs left out are not worth their bits. Empty when it was not asked for.
        #[serde(default)]
        per_title: Vec<RungChoice>,
    },
    /// Of [`Spec::Encode`].
    Encoded {
        /// A fragmented MP4.
        object: ObjectRef,
        /// What is in it.
        encoded: Encoded,
    },
    /// Of [`Spec::Stitch`].
    Stitched {
        /// Indices of chunks that do not match the source: made again.
        bad: Vec<u32>,
        /// Pictures in all chunks.
        frames: u64,
    },
    /// Of [`Spec::Package`].
    Packaged {
        /// The CMAF track file.
        media: ObjectRef,
        /// Its index (`packager::vod::TrackIndex`, JSON).
        index: ObjectRef,
        /// What the catalogue keeps of it.
        summary: RenditionSummary,
    },
    /// Of [`Spec::Validate`].
    Validated {
        /// Pictures that were decoded; `None` for sound.
        frames: Option<u64>,
        /// Length that was decoded.
        duration_ms: i64,
        /// What was measured.
        quality: Option<Quality>,
    },
    /// Of [`Spec::Thumbnails`].
    Thumbnails {
        /// JPEGs in the order of the positions.
        images: Vec<ObjectRef>,
    },
    /// Of [`Spec::Storyboard`].
    Storyboard(Storyboard),
    /// Of [`Spec::Subtitles`].
    Subtitles {
        /// A WebVTT file.
        media: ObjectRef,
        /// End of the last cue.
        duration_ms: i64,
        /// Number of cues.
        cues: u64,
    },
    /// Of [`Spec::Transfer`].
    Transferred {
        /// Files that are there now.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Where: a URL without credentials.
        location: String,
    },
    /// Of [`Spec::Notify`] and [`Spec::CleanUp`].
    Done {},
}

/// Sprites for the seek bar: the `storyboard` column of an asset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Storyboard {
    /// JPEGs in order.
    pub sheets: Vec<ObjectRef>,
    /// Time between two pictures.
    pub interval_ms: i64,
    /// Pictures beside each other in a sheet.
    pub columns: u32,
    /// Pictures below each other in a sheet.
    pub rows: u32,
    /// Width of one picture in pixels.
    pub width: u32,
    /// Height of one picture in pixels.
    pub height: u32,
    /// Pictures in all sheets.
    pub count: u32,
}

/// What the catalogue keeps of a packaged track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenditionSummary {
    /// RFC 6381 codecs string.
    pub codecs: String,
    /// Picture width.
    pub width: Option<u32>,
    /// Picture height.
    pub height: Option<u32>,
    /// Peak bit rate in bits per second over a segment.
    pub bandwidth: u64,
    /// Mean bit rate in bits per second.
    pub average_bandwidth: u64,
    /// Length.
    pub duration_ms: i64,
    /// Samples: pictures, or frames of sound.
    pub samples: u64,
    /// Segments.
    pub segments: u64,
}

/// A worker comes. Sent again after a restart of either side; the id that comes back is another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Register {
    /// Name of the node: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// What it does: `encode`, `package`, `transfer`, `fetch`, `probe`.
    pub caps: Vec<String>,
    /// Version of the program.
    pub version: String,
    /// Cores it may use.
    pub cores: u32,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// Free space for scratch files.
    pub disk_free_bytes: u64,
    /// Encoders of its FFmpeg that work: `libx264`, `h264_nvenc`, ...
    pub encoders: Vec<String>,
}

/// Answer to [`Register`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    /// The worker's id: says who claims.
    pub worker: WorkerId,
    /// Length of a lease.
    pub lease_ms: i64,
    /// Heartbeats at least this often.
    pub heartbeat_ms: i64,
    /// Progress at most this often; grows with the number of workers.
    pub progress_ms: i64,
}

/// Ask for a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Who asks.
    pub worker: WorkerId,
    /// What it has hands for now.
    pub caps: Vec<String>,
    /// Free space for scratch files now.
    pub disk_free_bytes: u64,
    /// Longest wait for a step, at most [`CLAIM_WAIT_MS_MAX`].
    pub wait_ms: u64,
}

/// A step that now is this worker's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leased {
    /// The step.
    pub step: StepId,
    /// Fencing token: in every request about this step.
    pub token: i64,
    /// Its job.
    pub job: JobId,
    /// Its asset.
    pub asset: AssetId,
    /// Its name: `encode/v720/3`.
    pub name: String,
    /// What to do.
    pub spec: Spec,
    /// Outputs that the step works on, with the names of their steps: what [`Spec`] says of its kind, chunks in the order of
    /// their numbers.
    pub inputs: Vec<(String, Output)>,
    /// For a fetch: what earlier attempts of this step stored, in the order of their names, without hashes.
    #[serde(default)]
    pub stored: Vec<ObjectRef>,
    /// The probe of the source, when there is one.
    pub probe: Option<Probe>,
    /// Size of the source, when it is stored.
    pub source_bytes: Option<u64>,
    /// The name that the source's file had.
    pub file_name: String,
    /// 1 for the first lease that counts.
    pub attempt: i64,
    /// Progress at most this often.
    pub progress_ms: i64,
}

/// A sign of life, and how far the step is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Fencing token.
    pub token: i64,
    /// How far.
    pub progress: Progress,
}

/// Answer to [`Heartbeat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// What to do.
    pub command: Command,
    /// Progress at most this often.
    pub progress_ms: i64,
}

/// What a worker should do with its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Go on.
    Continue,
    /// Kill and discard; the lease is gone or will be.
    Cancel,
}

/// The step is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Complete {
    /// Fencing token.
    pub token: i64,
    /// What came of it.
    pub output: Output,
}

/// The step failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fail {
    /// Fencing token.
    pub token: i64,
    /// Why.
    pub error: StepError,
}

/// The worker gives the step back unharmed, as it is going away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Fencing token.
    pub token: i64,
}

/// Body of a refusal (RFC 9457): the fields that a worker reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// A stable word: `lease_lost`, `bad_output`, `hash_mismatch`, `unknown_worker`, ...
    pub code: String,
    /// For people.
    pub detail: String,
}
