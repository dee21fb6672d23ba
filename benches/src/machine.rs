//! What the figures were measured on. Read from the system's own files; "unknown" where they do not say.

use std::fs;
use std::process::Command;

/// Machine and source of a run.
#[derive(Debug, Clone)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub memory_gib: f64,
    /// Short commit of the checkout, with `+` when it has changes.
    pub commit: String,
}

impl Machine {
    pub fn detect() -> Machine {
        let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(unknown);
        let memory_kib: f64 = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.split_whitespace().next()?.parse().ok())
            .unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(|_| unknown(), trimmed);
        Machine {
            cpu,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel,
            memory_gib: memory_kib / 1024.0 / 1024.0,
            commit: commit().unwrap_or_else(unknown),
        }
    }
}

/// Processor time of the whole machine since its start, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessorTime {
    all: u64,
    /// A processor had work and the hypervisor did not run it: others were at it, or a quota was used up.
    withheld: u64,
}

impl ProcessorTime {
    /// `None` where the kernel does not say.
    pub fn now() -> Option<ProcessorTime> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// The share of `all` that was withheld since then.
    pub fn withheld_since(self, before: ProcessorTime) -> f64 {
        let [withheld, all] =
            [self.withheld - before.withheld, self.all - before.all].map(|ticks| ticks as f64);
        if all > 0.0 { withheld / all } else { 0.0 }
    }

    /// The first line: user, nice, system, idle, iowait, irq, softirq, steal, and what is part of user already.
    fn parse(stat: &str) -> Option<ProcessorTime> {
        let mut ticks =
            stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map_while(|n| n.parse().ok());
        let used: u64 = ticks.by_ref().take(7).sum();
        let withheld = ticks.next()?;
        Some(ProcessorTime { all: used + withheld, withheld })
    }
}

/// Value of the first `name : value` line of a file of the kernel.
pub(crate) fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| trimmed(String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let short = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    Some(if changed { format!("{short}+") } else { short })
}

fn trimmed(text: String) -> String {
    text.trim().to_owned()
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_withheld_is_a_share_of_all() {
        let time = |text| ProcessorTime::parse(text);
        let before = time("cpu  10 0 10 70 0 0 0 10 5 0\ncpu0 1 2").expect("a kernel's line");
        let after = time("cpu  20 0 20 130 0 0 0 30 9 9\n").expect("a kernel's line");
        assert_eq!(before, ProcessorTime { all: 100, withheld: 10 });
        assert!((after.withheld_since(before) - 0.2).abs() < 1e-9);
        assert!(before.withheld_since(before).abs() < 1e-9);
        assert_eq!([time(""), time("cpu0 1 2"), time("cpu  1 2 3")], [None; 3]);
    }

    #[test]
    fn fields_are_found_by_their_exact_name() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("info");
        fs::write(&path, "MemTotalX:  1 kB\nMemTotal:   24576 kB\n").expect("written");
        let path = path.to_str().expect("UTF-8");
        assert_eq!(field(path, "MemTotal").as_deref(), Some("24576 kB"));
        assert_eq!(field(path, "MemFree"), None);
    }
}
