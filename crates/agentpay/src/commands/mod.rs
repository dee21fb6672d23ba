//! The commands other than `serve`, one file each.

pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod keys;
pub(crate) mod routes;
pub(crate) mod seed;
pub(crate) mod snapshot;
pub(crate) mod version;
pub(crate) mod wal;
