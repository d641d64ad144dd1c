//! One binary: the OTT video platform.
