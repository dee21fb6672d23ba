//! Kills a node with SIGKILL at random moments while something else loads it, and starts it again.
//!
//! Runs on a thread of its own; the load sees connections that end and refuse. The moments come from a seed, so that a
//! run can be repeated as far as a machine's scheduling can be.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::{Error, NodeProcess};

/// One of this many kills meets a node that is still recovering.
const DURING_RECOVERY_ONE_IN: u32 = 4;

/// How often to kill.
#[derive(Debug, Clone, Copy)]
pub struct Chaos {
    /// Mean time between a node's readiness and its end; it varies by half to both sides.
    pub every: Duration,
    pub seed: u64,
}

/// One kill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kill {
    /// Since the begin of the load.
    pub at_seconds: f64,
    /// From the kill until the node was ready again; less is not to be had by any client.
    pub away_seconds: f64,
    /// The node was killed once more before it was ready.
    pub during_recovery: bool,
}

/// Does `work` while the node is killed again and again. Returns the node, alive and ready.
///
/// # Errors
/// The node did not come back.
pub fn kill_during<T>(
    node: NodeProcess,
    chaos: Chaos,
    work: impl FnOnce() -> T,
) -> (T, Result<(NodeProcess, Vec<Kill>), Error>) {
    let (stop, stopped) = channel();
    thread::scope(|scope| {
        let killer = scope.spawn(move || kill_until(node, chaos, &stopped));
        let done = work();
        // The thread may have ended with an error; then nobody listens.
        let _ = stop.send(());
        (done, killer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn kill_until(
    mut node: NodeProcess,
    chaos: Chaos,
    stopped: &Receiver<()>,
) -> Result<(NodeProcess, Vec<Kill>), Error> {
    let mut rng = Rng::with_seed(chaos.seed);
    let begun = Instant::now();
    let mut kills = Vec::new();
    loop {
        let wait = chaos.every.mul_f64(0.5 + rng.f64());
        let during_recovery = rng.u32(0..DURING_RECOVERY_ONE_IN) == 0;
        let second = Duration::from_micros(rng.u64(0..20_000));
        match stopped.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok((node, kills)),
        }
        let killed = Instant::now();
        node.kill();
        node = node.spawn_again()?;
        if during_recovery {
            thread::sleep(second);
            node.kill();
            node = node.spawn_again()?;
        }
        node.wait_until_ready()?;
        kills.push(Kill {
            at_seconds: (killed - begun).as_secs_f64(),
            away_seconds: killed.elapsed().as_secs_f64(),
            during_recovery,
        });
    }
}
