//! Fake clock, sample generators, network emulator, HLS and DASH linters (development only).
