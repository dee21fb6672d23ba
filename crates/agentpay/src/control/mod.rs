//! The control socket of a running node: `control.sock` in the data directory.
//!
//! One line of JSON asks, one line of JSON answers, then the connection ends. Whoever may open the data directory may
//! use it, nobody else: the directory's permissions are the authentication. It exists so that `agentpay snapshot now`
//! and `agentpay keys rotate` can hand over a result, which a signal cannot.

mod client;
mod server;

pub(crate) use client::{Asked, ask, is_running};
pub(crate) use server::{Errands, remove, serve};

use crate::commands::keys::KeyLine;
use crate::commands::snapshot::GenerationLine;
use crate::exit::{Exit, Failure};
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
    /// Add a key that signs payment tokens and say which there are.
    RotateTokenKeys { active_in_seconds: u64 },
}

/// The node's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Snapshot(GenerationLine),
    TokenKeys(Vec<KeyLine>),
    Failed(String),
}

/// A node that answered something else than it was asked.
pub(crate) fn wrong_answer() -> Failure {
    Failure::new(Exit::Failure, "the node answered another question; is it of another version?")
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
    use crate::data_dir::DataDir;
    use crate::node;
    use crate::testing::{DRAIN, TestLedger, fill};
    use engine::Engine;
    use snapshot::SnapshotStore;

    #[test]
    fn lines_are_as_documented() {
        let request = serde_json::to_string(&Request::Snapshot).expect("JSON");
        assert_eq!(request, r#"{"command":"snapshot"}"#);
        let request =
            serde_json::to_string(&Request::RotateTokenKeys { active_in_seconds: 300 }).expect("JSON");
        assert_eq!(request, r#"{"command":"rotate_token_keys","active_in_seconds":300}"#);
        assert!(serde_json::from_str::<Request>(r#"{"command":"reboot"}"#).is_err());
        let failed = serde_json::to_string(&Reply::Failed("disk full".to_owned())).expect("JSON");
        assert_eq!(failed, r#"{"failed":"disk full"}"#);
    }

    /// Rotations are answered by what the program gives; here they fail.
    fn errands(engine: &Engine) -> Errands {
        let rotate = |_| Err(Failure::new(Exit::Failure, "no keys here"));
        Errands { engine: engine.clone(), rotate_token_keys: Box::new(rotate) }
    }

    async fn asked(dir: &DataDir) -> Asked {
        asked_for(dir, Request::Snapshot).await
    }

    async fn asked_for(dir: &DataDir, request: Request) -> Asked {
        let dir = dir.clone();
        tokio::task::spawn_blocking(move || ask(&dir, request)).await.expect("no panic").expect("an answer")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_running_node_takes_a_snapshot_and_says_which() {
        let ledger = TestLedger::new();
        let (owned, engine) = ledger.start().await;
        fill(&engine, 3).await;
        assert!(matches!(asked(&owned.dir).await, Asked::NobodyThere));
        assert!(!is_running(&owned.dir));

        serve(&owned.dir, errands(&engine)).expect("listening");
        assert!(is_running(&owned.dir));
        let Asked::Answered(Reply::Snapshot(line)) = asked(&owned.dir).await else { panic!("a snapshot") };
        let listed = node::snapshots(&owned.dir).expect("readable").list().expect("listed").generations;
        assert_eq!(listed.iter().map(GenerationLine::of).collect::<Vec<_>>(), [line]);

        let refused = asked_for(&owned.dir, Request::RotateTokenKeys { active_in_seconds: 5 }).await;
        assert!(matches!(refused, Asked::Answered(Reply::Failed(why)) if why == "no keys here"));

        remove(&owned.dir);
        assert!(matches!(asked(&owned.dir).await, Asked::NobodyThere));
        engine.shutdown(DRAIN).await.expect("closed");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_socket_that_a_killed_node_left_is_nobody_and_is_replaced() {
        let ledger = TestLedger::new();
        let (owned, engine) = ledger.start().await;
        let path = owned.dir.root().join(NAME);
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists());
        assert!(matches!(asked(&owned.dir).await, Asked::NobodyThere));
        serve(&owned.dir, errands(&engine)).expect("listening");
        assert!(is_running(&owned.dir));
        engine.shutdown(DRAIN).await.expect("closed");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn lines_that_are_not_understood_are_answered() {
        use std::io::{BufRead, BufReader, Write};
        let ledger = TestLedger::new();
        let (owned, engine) = ledger.start().await;
        serve(&owned.dir, errands(&engine)).expect("listening");
        let path = owned.dir.root().join(NAME);
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(path).expect("connected");
            stream.write_all(b"reboot\n").expect("written");
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).expect("answered");
            line
        });
        let answer = answer.await.expect("no panic");
        assert!(answer.starts_with(r#"{"failed":"the request is not understood"#), "{answer}");
        engine.shutdown(DRAIN).await.expect("closed");
    }
}
