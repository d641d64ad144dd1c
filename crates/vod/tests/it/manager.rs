//! The manager behind its worker protocol, with workers that are scripts.

mod bench;
mod house;
mod work;

pub use bench::analysed;
