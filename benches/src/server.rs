//! Child processes that serve: started on a port the system chooses, waited for, ended by their own id.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use loadtest::{RequestTemplate, Target, fetch};
use serde_json::Value;

use crate::machine::field;

const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(5);
const ANNOUNCEMENT: &str = "listening on http://";

/// Limits that would measure the limiter and not the node; everything else is the node's default.
const NODE_SETTINGS: [(&str, &str); 8] = [
    ("AGENTPAY__RATES__AGENT_PER_SECOND", "100000000"),
    ("AGENTPAY__RATES__ADDRESS_PER_SECOND", "100000000"),
    ("AGENTPAY__RATES__ANONYMOUS_PER_MINUTE", "100000000"),
    ("AGENTPAY__LEDGER__FAUCET_CAP", "1000000000000"),
    ("AGENTPAY__LEDGER__WALLETS_PER_AGENT_MAX", "1000000"),
    ("AGENTPAY__METRICS__LISTEN", ""),
    ("AGENTPAY__LOGGING__FORMAT", "json"),
    ("AGENTPAY__LOGGING__LEVEL", "warn,agentpay=info"),
];

/// A running server.
pub struct Server {
    child: Child,
    name: &'static str,
    output: PathBuf,
    pub target: Target,
    /// From the start of the process to the first successful answer of its readiness (or its address, for the floor).
    pub ready_after: Duration,
}

impl Server {
    /// The floor, with answers of `body_bytes`. Its output goes to a file in `work_dir`.
    pub fn floor(program: &Path, work_dir: &Path, body_bytes: usize) -> Result<Server> {
        let mut command = Command::new(program);
        command.arg("--body-bytes").arg(body_bytes.to_string());
        Server::spawn("floor", command, work_dir.join("floor.log"))
    }

    /// The floor that also keeps each body, synced, in a file in `work_dir` before it answers.
    pub fn durable_floor(program: &Path, work_dir: &Path, body_bytes: usize) -> Result<Server> {
        let mut command = Command::new(program);
        command.arg("--body-bytes").arg(body_bytes.to_string()).arg("--durable").arg(work_dir);
        Server::spawn("durable floor", command, work_dir.join("durable-floor.log"))
    }

    /// The node on `data_dir`, ready to take payments.
    pub fn node(program: &Path, data_dir: &Path) -> Result<Server> {
        Server::node_with(program, data_dir, &[])
    }

    /// The same with further settings: pairs of a variable and its value.
    pub fn node_with(program: &Path, data_dir: &Path, settings: &[(&str, &str)]) -> Result<Server> {
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
        command.envs(NODE_SETTINGS).envs(settings.iter().copied());
        let mut server = Server::spawn("node", command, data_dir.with_extension("log"))?;
        server.wait_until_ready()?;
        Ok(server)
    }

    fn spawn(name: &'static str, mut command: Command, output: PathBuf) -> Result<Server> {
        let file = File::create(&output).with_context(|| format!("the output file of the {name}"))?;
        let started = Instant::now();
        let child =
            command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn().with_context(
                || format!("cannot start the {name}: {}", command.get_program().to_string_lossy()),
            )?;
        // The address is replaced below; from here on `drop` ends the process.
        let nowhere = Target::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut server = Server { child, name, output, target: nowhere, ready_after: Duration::ZERO };
        server.target = server.wait_for_address(started)?;
        server.ready_after = started.elapsed();
        Ok(server)
    }

    fn wait_for_address(&mut self, started: Instant) -> Result<Target> {
        loop {
            let text = fs::read_to_string(&self.output)?;
            if let Some(address) = announced_address(&text) {
                return Ok(Target::from(address));
            }
            self.ensure_running(started)?;
            std::thread::sleep(POLL_EVERY);
        }
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let started = Instant::now() - self.ready_after;
        let request = request_bytes(&RequestTemplate::get(&self.target.authority, "/readyz", None));
        loop {
            if fetch(&self.target, request.clone()).is_ok_and(|answer| answer.status == 200) {
                self.ready_after = started.elapsed();
                return Ok(());
            }
            self.ensure_running(started)?;
            std::thread::sleep(POLL_EVERY);
        }
    }

    fn ensure_running(&mut self, started: Instant) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the {} ended with {status} instead of serving; it wrote: {}", self.name, self.written());
        }
        ensure!(
            started.elapsed() < START_TIMEOUT,
            "the {} is not ready after {START_TIMEOUT:?}; it wrote: {}",
            self.name,
            self.written()
        );
        Ok(())
    }

    /// Resident memory of the process.
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = field(&path, "VmRSS").with_context(|| format!("{path} has no VmRSS"))?;
        let kib: u64 = text.trim_end_matches("kB").trim().parse().context("VmRSS is a number of kB")?;
        Ok(kib * 1024)
    }

    /// Asks the process to drain and end, and returns how long that took.
    pub fn stop(mut self) -> Result<Duration> {
        let begun = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.wait_for_exit(begun)?;
        ensure!(status.success(), "the {} ended with {status}; it wrote: {}", self.name, self.written());
        Ok(begun.elapsed())
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn wait_for_exit(&mut self, begun: Instant) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(begun.elapsed() < STOP_TIMEOUT, "the {} did not end within {STOP_TIMEOUT:?}", self.name);
            std::thread::sleep(POLL_EVERY);
        }
    }

    /// The end of what the process printed.
    fn written(&self) -> String {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process has already ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command of the node that prints JSON.
pub fn node_json<A: AsRef<OsStr>>(program: &Path, arguments: &[A], data_dir: &Path) -> Result<Value> {
    let output = Command::new(program)
        .args(arguments)
        .arg("--json")
        .arg("--data-dir")
        .arg(data_dir)
        .envs(NODE_SETTINGS)
        .output()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the command ended with {}: {stdout}{stderr}", output.status);
    serde_json::from_str(&stdout).with_context(|| format!("the command did not print JSON: {stdout}"))
}

fn request_bytes(template: &RequestTemplate) -> Vec<u8> {
    let mut bytes = Vec::new();
    template.write(b"", &mut bytes);
    bytes
}

/// The address in a text or JSON line that announces it.
fn announced_address(output: &str) -> Option<SocketAddr> {
    let (_, rest) = output.split_once(ANNOUNCEMENT)?;
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]".contains(c)))?;
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_text_and_json_once_the_line_is_complete() {
        let expected = Some(SocketAddr::from(([127, 0, 0, 1], 4242)));
        assert_eq!(announced_address("x\nlistening on http://127.0.0.1:4242\n"), expected);
        assert_eq!(announced_address(r#"{"message":"listening on http://127.0.0.1:4242","a":1}"#), expected);
        assert_eq!(announced_address("listening on http://127.0.0.1:42"), None);
        assert_eq!(announced_address("nothing yet"), None);
    }
}
