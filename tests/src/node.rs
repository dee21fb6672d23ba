//! A node as a process: started, waited for, killed, stopped, restarted.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::{NamedTempFile, TempDir};

use crate::http::{Connection, Request, Response};
use crate::program;

/// The operator's token of every test node.
pub const ADMIN_TOKEN: &str = "system-test-operator-token-0123456789abcdef";

/// No node needs this long for anything; reaching it fails the test.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL_EVERY: Duration = Duration::from_millis(5);
const ANNOUNCEMENT: &str = "listening on http://";

/// A data directory that several nodes use one after the other; removed when the last holder is gone.
#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
    /// Removes the directory; `None` for one that somebody else looks after.
    _temporary: Option<Arc<TempDir>>,
}

impl DataDir {
    pub fn temporary() -> DataDir {
        let dir = tempfile::Builder::new().prefix("agentpay-test-").tempdir().expect("a temporary directory");
        DataDir { path: dir.path().to_owned(), _temporary: Some(Arc::new(dir)) }
    }

    /// A directory that exists already, for example on a small file system.
    pub fn existing(path: &Path) -> DataDir {
        DataDir { path: path.to_owned(), _temporary: None }
    }

    /// What `--data-dir` is given.
    pub fn path(&self) -> PathBuf {
        self.path.join("data")
    }

    /// The same as text, for command lines.
    pub fn text(&self) -> String {
        self.path().to_str().expect("temporary directories have plain names").to_owned()
    }
}

/// How a node is to be started.
#[derive(Debug, Clone)]
pub struct NodeBuilder {
    data: DataDir,
    /// A program and arguments that run the node instead of it being run directly, for example `strace`.
    prefix: Vec<String>,
    variables: Vec<(String, String)>,
    /// Where standard error goes, instead of the same file as standard output.
    errors_to: Option<PathBuf>,
    wait: bool,
}

impl NodeBuilder {
    /// Sets a configuration key: `rates.agent_per_second`.
    pub fn set(mut self, key: &str, value: &str) -> NodeBuilder {
        let name = format!("AGENTPAY__{}", key.replacen('.', "__", 1).to_ascii_uppercase());
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    pub fn data(mut self, data: DataDir) -> NodeBuilder {
        self.data = data;
        self
    }

    /// Where this node keeps its data.
    pub fn data_dir(&self) -> &DataDir {
        &self.data
    }

    /// Runs the node under another program.
    pub fn under(mut self, program: &[&str]) -> NodeBuilder {
        self.prefix = program.iter().map(|part| (*part).to_owned()).collect();
        self
    }

    /// Sends standard error to a file or device of its own.
    pub fn errors_to(mut self, path: &str) -> NodeBuilder {
        self.errors_to = Some(PathBuf::from(path));
        self
    }

    /// Does not wait for readiness, only for the address.
    pub fn without_waiting(mut self) -> NodeBuilder {
        self.wait = false;
        self
    }

    /// Starts and, by default, waits until it is ready. Panics with the node's output if it ends instead.
    #[track_caller]
    pub fn start(self) -> Node {
        self.try_start().unwrap_or_else(|exited| panic!("the node did not start: {exited:?}"))
    }

    /// Starts; a node that ends instead of serving is returned as such.
    pub fn try_start(self) -> Result<Node, Exited> {
        let output = NamedTempFile::with_prefix("agentpay-node-").expect("a temporary file");
        let file = output.reopen().expect("a file that was just made");
        let errors = match &self.errors_to {
            Some(path) => fs::OpenOptions::new().write(true).open(path).expect("a file that can be written"),
            // Not opened again: both streams must share one position.
            None => file.try_clone().expect("a file can be shared"),
        };
        let mut line = self.prefix.clone();
        line.push(program().to_str().expect("a plain path").to_owned());
        line.extend(["serve", "--listen", "127.0.0.1:0", "--data-dir"].map(str::to_owned));
        line.push(self.data.text());
        let child = Command::new(&line[0])
            .args(&line[1..])
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            // Away from the checkout, whose config/agentpay.toml would be taken.
            .current_dir(&self.data.path)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {line:?}: {error}"));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let wait = self.wait;
        let mut node = Node { child, address, output, builder: self };
        node.address = node.wait_for("its address", |node| announced_address(&node.output()))?;
        if wait {
            node.wait_until_ready()?;
        }
        Ok(node)
    }
}

/// A node that ended by itself.
#[derive(Debug)]
pub struct Exited {
    /// `None`: ended by a signal.
    pub code: Option<i32>,
    pub output: String,
}

/// A running node; ended with SIGKILL when dropped.
pub struct Node {
    child: Child,
    address: SocketAddr,
    /// Not in the data directory, whose disk may be full.
    output: NamedTempFile,
    builder: NodeBuilder,
}

impl Node {
    /// A node on a new directory with an operator's token, no metrics listener, no limit on anonymous calls, and receivers
    /// of webhooks on this machine.
    pub fn builder() -> NodeBuilder {
        let builder = NodeBuilder {
            data: DataDir::temporary(),
            prefix: Vec::new(),
            variables: Vec::new(),
            errors_to: None,
            wait: true,
        };
        builder
            .set("admin.token", ADMIN_TOKEN)
            .set("metrics.listen", "")
            .set("rates.anonymous_per_minute", "1000000")
            .set("ledger.faucet_cap", "1000000000")
            .set("webhooks.loopback_allowed", "true")
    }

    /// The usual node.
    #[track_caller]
    pub fn start() -> Node {
        Node::builder().start()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub fn data(&self) -> &DataDir {
        &self.builder.data
    }

    /// Everything the process printed so far.
    pub fn output(&self) -> String {
        fs::read_to_string(self.output.path()).unwrap_or_default()
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address).expect("the node accepts connections")
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        self.try_send(request).unwrap_or_else(|error| panic!("{request:?}: {error}\n{}", self.output()))
    }

    /// The same while the node may be going away.
    pub fn try_send(&self, request: &Request) -> io::Result<Response> {
        Connection::open(self.address)?.send(request)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        // Under another program (strace) the node itself gets the signal: the tracer passes its own on.
        kill_process(pid, signal).expect("a child that was not waited for can be signalled");
    }

    /// Ends the process as a power cut of the process would; what it had not written is lost.
    pub fn kill(mut self) -> NodeBuilder {
        self.child.kill().expect("the node is still there");
        self.child.wait().expect("a killed child can be waited for");
        self.builder.clone()
    }

    /// Kills and starts again on the same directory.
    #[track_caller]
    pub fn kill_and_restart(self) -> Node {
        self.kill().start()
    }

    /// Asks the process to drain and end, without waiting.
    pub fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits until the process has ended.
    #[track_caller]
    pub fn wait_for_exit(mut self) -> (Exited, NodeBuilder) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "the node did not end: {}", self.output());
            std::thread::sleep(POLL_EVERY);
        };
        (self.exited(status), self.builder.clone())
    }

    /// Drains, ends with exit code 0, and gives back how to start again.
    #[track_caller]
    pub fn stop(self) -> NodeBuilder {
        self.ask_to_stop();
        let (exited, builder) = self.wait_for_exit();
        assert_eq!(exited.code, Some(0), "{}", exited.output);
        builder
    }

    /// Waits until the node says that it is ready.
    pub fn wait_until_ready(&mut self) -> Result<(), Exited> {
        let ready = |node: &mut Node| {
            node.try_send(&Request::get("/readyz")).ok().filter(|answer| answer.status == 200).map(|_| ())
        };
        self.wait_for("readiness", ready)
    }

    /// Polls until `found` finds something, the process ends, or patience does.
    fn wait_for<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(&mut Node) -> Option<T>,
    ) -> Result<T, Exited> {
        let begun = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return Err(self.exited(status));
            }
            assert!(begun.elapsed() < PATIENCE, "waited too long for {what}: {}", self.output());
            std::thread::sleep(POLL_EVERY);
        }
    }

    fn exited(&self, status: ExitStatus) -> Exited {
        Exited { code: status.code(), output: self.output() }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only when the process has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a complete text or JSON line that announces it.
fn announced_address(output: &str) -> Option<SocketAddr> {
    let (_, rest) = output.split_once(ANNOUNCEMENT)?;
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]".contains(c)))?;
    rest[..end].parse().ok()
}
