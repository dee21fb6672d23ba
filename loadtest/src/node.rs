//! A node as a child process: started on a port of the system's choice, killed and started again on the same one.
//!
//! State: the process belongs to this value and is ended, by its own id, when it is dropped.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Error, RequestTemplate, Target, fetch};

/// A log of 10⁸ records takes minutes to replay.
const START_TIMEOUT: Duration = Duration::from_secs(900);
const STOP_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_EVERY: Duration = Duration::from_millis(5);
const ANNOUNCEMENT: &str = "listening on http://";

/// The operator's token of every node that is started here; it is reachable from this machine only.
pub const OPERATOR_TOKEN: &str = "loadtest-operator-token-0123456789abcdef";

/// Limits that would measure the limiter and not the node; everything else is the node's default.
const SETTINGS: [(&str, &str); 9] = [
    ("AGENTPAY__ADMIN__TOKEN", OPERATOR_TOKEN),
    ("AGENTPAY__RATES__AGENT_PER_SECOND", "100000000"),
    ("AGENTPAY__RATES__ADDRESS_PER_SECOND", "100000000"),
    ("AGENTPAY__RATES__ANONYMOUS_PER_MINUTE", "100000000"),
    ("AGENTPAY__LEDGER__FAUCET_CAP", "1000000000000"),
    ("AGENTPAY__LEDGER__WALLETS_PER_AGENT_MAX", "1000000"),
    ("AGENTPAY__METRICS__LISTEN", ""),
    ("AGENTPAY__LOGGING__FORMAT", "json"),
    ("AGENTPAY__LOGGING__LEVEL", "warn,agentpay=info"),
];

/// How to start a node.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    pub program: PathBuf,
    /// Of the node; what it prints goes to a file beside it.
    pub data_dir: PathBuf,
    /// Further variables of its environment.
    pub settings: Vec<(String, String)>,
}

/// A running node.
pub struct NodeProcess {
    spec: NodeSpec,
    child: Child,
    target: Target,
    /// From the start of the process to its readiness.
    ready_after: Duration,
}

impl NodeProcess {
    /// Starts a node and waits until it is ready.
    ///
    /// # Errors
    /// The program cannot be started, ends, or does not become ready.
    pub fn start(spec: NodeSpec) -> Result<NodeProcess, Error> {
        let mut node = NodeProcess::spawn(spec, SocketAddr::from(([127, 0, 0, 1], 0)))?;
        node.wait_until_ready()?;
        Ok(node)
    }

    /// Starts the same node again at the same address; it is not ready yet.
    pub(crate) fn spawn_again(self) -> Result<NodeProcess, Error> {
        let (spec, address) = (self.spec.clone(), self.target.address);
        drop(self);
        NodeProcess::spawn(spec, address)
    }

    fn spawn(spec: NodeSpec, address: SocketAddr) -> Result<NodeProcess, Error> {
        let output = output_of(&spec.data_dir);
        let failed = |what: String| move |source| Error::Node { what, source };
        let file = File::create(&output).map_err(failed(format!("create {}", output.display())))?;
        let errors = file.try_clone().map_err(failed("share a file".to_owned()))?;
        let child = Command::new(&spec.program)
            .args(["serve", "--listen", &address.to_string(), "--data-dir"])
            .arg(&spec.data_dir)
            .envs(SETTINGS)
            .envs(spec.settings.iter().map(|(name, value)| (name, value)))
            // Away from a checkout, whose configuration would be taken.
            .current_dir(spec.data_dir.parent().unwrap_or(Path::new("/")))
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .map_err(failed(format!("start {}", spec.program.display())))?;
        // From here on `drop` ends the process.
        let mut node =
            NodeProcess { spec, child, target: Target::from(address), ready_after: Duration::ZERO };
        node.target = Target::from(node.wait_for("its address", |node| announced(&node.written()))?);
        Ok(node)
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    pub(crate) fn wait_until_ready(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        let mut request = Vec::new();
        RequestTemplate::get(&self.target.authority, "/readyz", None).write(b"", &mut request);
        self.wait_for("ready", |node| {
            let answer = fetch(&node.target, request.clone());
            answer.is_ok_and(|answer| answer.status == 200).then_some(())
        })?;
        self.ready_after = begun.elapsed();
        Ok(())
    }

    fn wait_for<T>(&mut self, what: &str, look: impl Fn(&NodeProcess) -> Option<T>) -> Result<T, Error> {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            let ended = self
                .child
                .try_wait()
                .map_err(|source| Error::Node { what: "look at the node's process".to_owned(), source })?;
            let what = match ended {
                Some(status) => format!("ended with {status} instead of serving"),
                None if begun.elapsed() > START_TIMEOUT => {
                    format!("did not say {what} within {} s", START_TIMEOUT.as_secs())
                }
                None => {
                    thread::sleep(POLL_EVERY);
                    continue;
                }
            };
            return Err(Error::NodeEnded { what, written: self.last_lines() });
        }
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(&mut self) {
        // Both fail only when the process has already ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the node to end in order.
    ///
    /// # Errors
    /// It does not end, or not with success.
    pub fn stop(mut self) -> Result<(), Error> {
        let failed = |source| Error::Node { what: "stop the node".to_owned(), source };
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|errno| failed(errno.into()))?;
        let begun = Instant::now();
        let what = loop {
            match self.child.try_wait().map_err(failed)? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => break format!("ended with {status} after SIGTERM"),
                None if begun.elapsed() > STOP_TIMEOUT => break "did not end after SIGTERM".to_owned(),
                None => thread::sleep(POLL_EVERY),
            }
        };
        Err(Error::NodeEnded { what, written: self.last_lines() })
    }

    fn written(&self) -> String {
        fs::read_to_string(output_of(&self.spec.data_dir)).unwrap_or_default()
    }

    fn last_lines(&self) -> String {
        let text = self.written();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn output_of(data_dir: &Path) -> PathBuf {
    data_dir.with_extension("log")
}

/// The address in a line that announces it, once the line is complete.
fn announced(output: &str) -> Option<SocketAddr> {
    let (_, rest) = output.split_once(ANNOUNCEMENT)?;
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]".contains(c)))?;
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_once_the_line_is_complete() {
        let expected = Some(SocketAddr::from(([127, 0, 0, 1], 4242)));
        assert_eq!(announced("x\nlistening on http://127.0.0.1:4242\n"), expected);
        assert_eq!(announced(r#"{"message":"listening on http://127.0.0.1:4242","a":1}"#), expected);
        assert_eq!(announced("listening on http://127.0.0.1:42"), None);
        assert_eq!(announced("nothing yet"), None);
    }

    #[test]
    fn a_program_that_is_no_node_is_an_error_with_its_output() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let spec = |program: &str| NodeSpec {
            program: PathBuf::from(program),
            data_dir: dir.path().join("data"),
            settings: Vec::new(),
        };
        let Err(Error::NodeEnded { what, .. }) = NodeProcess::start(spec("/bin/false")) else {
            panic!("it is not a node")
        };
        assert!(what.contains("instead of serving"), "{what}");
        assert!(matches!(NodeProcess::start(spec("/nowhere/agentpay")), Err(Error::Node { .. })));
    }
}
