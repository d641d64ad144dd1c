//! Samples in; parts, segments, playlists and manifests out; pure.
