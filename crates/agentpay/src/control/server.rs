//! The node's side of the control socket.

use super::{LINE_BYTES_MAX, Reply, Request, address};
use crate::commands::keys::KeyLine;
use crate::commands::snapshot::GenerationLine;
use crate::data_dir::DataDir;
use crate::exit::{Failure, chain};
use engine::Engine;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Requests come from an operator's shell on the same machine: one that stays silent for this long is given up.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// What the node does when it is asked.
pub(crate) struct Errands {
    pub(crate) engine: Engine,
    /// Adds a key that signs in so many seconds: durably first, then to the running front end.
    pub(crate) rotate_token_keys: Box<dyn Fn(u64) -> Result<Vec<KeyLine>, Failure> + Send + Sync>,
}

/// Listens until the process ends. The caller owns the data directory, so a socket file that is there already belongs
/// to a node that was killed.
pub(crate) fn serve(dir: &DataDir, errands: Errands) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::because(format!("cannot open the control socket in {}", dir.root().display()), &error)
    };
    let (path, directory) = address(dir.root()).map_err(failed)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    drop(directory);
    tokio::spawn(async move {
        // One request at a time: each is an operator's errand, and a second snapshot beside a first helps nobody.
        loop {
            match listener.accept().await {
                Ok((stream, _)) => answer(stream, &errands).await,
                Err(error) => {
                    tracing::warn!(%error, "control socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

/// Removes the socket file: from now on nobody is there.
pub(crate) fn remove(dir: &DataDir) {
    if let Ok((path, _directory)) = address(dir.root()) {
        // Whether it worked changes nothing: a leftover is recognised by its missing listener.
        let _ = std::fs::remove_file(path);
    }
}

async fn answer(stream: UnixStream, errands: &Errands) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(LINE_BYTES_MAX));
    let reply = match tokio::time::timeout(REQUEST_WITHIN, reader.read_line(&mut line)).await {
        Ok(Ok(_)) => match serde_json::from_str(&line) {
            Ok(request) => carry_out(request, errands).await,
            Err(error) => Reply::Failed(format!("the request is not understood: {error}")),
        },
        Ok(Err(_)) | Err(_) => return,
    };
    let mut line = serde_json::to_string(&reply).expect("replies are plain JSON");
    line.push('\n');
    // Whoever asked may have gone; what was asked for is done all the same.
    let _ = tokio::time::timeout(REQUEST_WITHIN, write.write_all(line.as_bytes())).await;
}

async fn carry_out(request: Request, errands: &Errands) -> Reply {
    match request {
        Request::Snapshot => match errands.engine.snapshot_now().await {
            Ok(generation) => Reply::Snapshot(GenerationLine::of(&generation)),
            Err(error) => Reply::Failed(chain(&error)),
        },
        // Writes one small file; requests of other clients go on beside it.
        Request::RotateTokenKeys { active_in_seconds } => {
            match tokio::task::block_in_place(|| (errands.rotate_token_keys)(active_in_seconds)) {
                Ok(lines) => Reply::TokenKeys(lines),
                Err(failure) => Reply::Failed(failure.message),
            }
        }
    }
}
