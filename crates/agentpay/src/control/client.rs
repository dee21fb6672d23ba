//! Asking a running node, from a command line process.

use super::{LINE_BYTES_MAX, Reply, Request, address};
use crate::data_dir::DataDir;
use crate::exit::Failure;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Outcome of asking.
#[derive(Debug)]
pub(crate) enum Asked {
    Answered(Reply),
    /// Nobody listens: no node runs on this directory.
    NobodyThere,
}

/// A snapshot of ten million wallets takes minutes; a node that is silent for this long is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);

pub(crate) fn ask(dir: &DataDir, request: Request) -> Result<Asked, Failure> {
    let failed = |error: std::io::Error| {
        Failure::because(format!("cannot talk to the node that runs on {}", dir.root().display()), &error)
    };
    let (path, _directory) = address(dir.root()).map_err(failed)?;
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        // A socket file without a listener is what a killed node leaves behind.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(Asked::NobodyThere);
        }
        Err(error) => return Err(failed(error)),
    };
    stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
    let mut line = serde_json::to_string(&request).expect("requests are plain JSON");
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(stream).take(LINE_BYTES_MAX).read_line(&mut answer).map_err(failed)?;
    serde_json::from_str(&answer).map(Asked::Answered).map_err(|error| {
        Failure::because("the node's answer is not understood; is it of another version?", &error)
    })
}

/// Whether a node listens on the directory.
pub(crate) fn is_running(dir: &DataDir) -> bool {
    address(dir.root()).and_then(|(path, _directory)| UnixStream::connect(path)).is_ok()
}
