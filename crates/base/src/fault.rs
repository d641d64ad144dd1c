//! The error vocabulary at a plane's border: whose fault it is, and whether trying again can help.

/// Who has to change something for an operation to succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The peer sent something wrong; the same request fails again.
    Client,
    /// Something we depend on (FFmpeg, a store, an origin) failed; later may be better.
    Upstream,
    /// Our bug, or a broken machine.
    Internal,
    /// A named limit was reached; later may be better.
    Overload,
}

impl Fault {
    /// Whether the same operation may succeed when tried again.
    pub const fn retry(self) -> bool {
        matches!(self, Self::Upstream | Self::Overload)
    }

    /// A bounded label for metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Internal => "internal",
            Self::Overload => "overload",
        }
    }
}
