//! The control socket of a running node: `control.sock` in the data directory.
//!
//! One line of JSON asks, one line of JSON answers, then the connection ends. Whoever may open the data directory may
//! use it, nobody else: the directory's permissions are the authentication. It exists so that `agentpay snapshot now`
//! can hand over a result, which a signal cannot.

mod client;
mod server;

pub(crate) use client::{Asked, ask, is_running};
pub(crate) use server::{remove, serve};

use crate::commands::snapshot::GenerationLine;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// What may be asked of a running node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields, tag = "command")]
pub(crate) enum Request {
    /// Take a snapshot now and say which generation it became.
    Snapshot,
}

/// The node's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Snapshot(GenerationLine),
    Failed(String),
}

const NAME: &str = "control.sock";
/// Longest line either side accepts: answers are a few hundred bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Address of the socket in `root`. Socket addresses end at 108 bytes, directories do not: the path goes through the
/// open descriptor of the directory, which must stay open while the address is used.
fn address(root: &Path) -> std::io::Result<(PathBuf, File)> {
    let directory = File::open(root)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(NAME);
    Ok((path, directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_documented() {
        let request = serde_json::to_string(&Request::Snapshot).expect("JSON");
        assert_eq!(request, r#"{"command":"snapshot"}"#);
        assert!(serde_json::from_str::<Request>(r#"{"command":"reboot"}"#).is_err());
        let failed = serde_json::to_string(&Reply::Failed("disk full".to_owned())).expect("JSON");
        assert_eq!(failed, r#"{"failed":"disk full"}"#);
    }
}
