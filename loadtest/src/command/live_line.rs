//! One line on standard error that shows how a run goes on: a bar, the rate, latency, failures.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use crate::report::{grouped, millis};
use crate::{Moment, Watch};

const BAR: usize = 24;

/// Writes to a terminal only: in a file a line that is written again and again is noise.
pub(crate) struct LiveLine {
    is_on: bool,
    /// Said before everything, as in `round 2 of 3`.
    prefix: String,
    is_written: bool,
}

impl LiveLine {
    pub(crate) fn new(quiet: bool) -> LiveLine {
        let is_on = !quiet && std::io::stderr().is_terminal();
        LiveLine { is_on, prefix: String::new(), is_written: false }
    }

    pub(crate) fn set_prefix(&mut self, prefix: String) {
        self.prefix = prefix;
    }

    /// A line that stays, whether anybody watches or not.
    pub(crate) fn say(&mut self, text: &str) {
        self.clear();
        eprintln!("{text}");
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_written) {
            eprint!("\r\x1b[K");
        }
    }
}

impl Watch for LiveLine {
    fn moment(&mut self, moment: &Moment<'_>) {
        if !self.is_on {
            return;
        }
        self.is_written = true;
        // A line that wraps could not be written over.
        let text: String = line(&self.prefix, moment).chars().take(columns() - 1).collect();
        eprint!("\r{text}\x1b[K");
        // A terminal that went away does not end a measurement.
        let _ = std::io::stderr().flush();
    }

    fn phase_ends(&mut self) {
        self.clear();
    }
}

/// Width of the terminal.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    // Some terminals do not know, or say zero.
    size.map_or(80, |size| usize::from(size.ws_col)).max(20)
}

fn line(prefix: &str, moment: &Moment<'_>) -> String {
    let mut out = String::new();
    if !prefix.is_empty() {
        out.push_str(prefix);
        out.push(' ');
    }
    out.push_str(if moment.warming_up && moment.total.is_some() { "warm-up" } else { moment.label });
    if let Some(fraction) = moment.fraction {
        out.push_str(&format!(" [{}]", bar(fraction)));
    }
    let seconds = |duration: Duration| format!("{:.1}", duration.as_secs_f64());
    match moment.total {
        Some(total) => out.push_str(&format!(" {}/{} s", seconds(moment.elapsed), seconds(total))),
        None => out.push_str(&format!(" {} s", seconds(moment.elapsed))),
    }
    out.push_str(&format!("  {}/s", grouped(moment.per_second)));
    if let (Some(p50), Some(p99)) = (moment.p50, moment.p99) {
        out.push_str(&format!("  p50 {} p99 {}", millis(p50), millis(p99)));
    }
    if moment.failed > 0 {
        out.push_str(&format!("  failed {}", grouped(moment.failed as f64)));
    }
    if moment.connections == 0 {
        out.push_str("  not connected");
    }
    out
}

fn bar(fraction: f64) -> String {
    let full = (0..BAR).filter(|cell| (*cell as f64 + 0.5) / BAR as f64 <= fraction).count();
    "#".repeat(full) + &"-".repeat(BAR - full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known() {
        let moment = Moment {
            label: "load",
            fraction: Some(0.5),
            elapsed: Duration::from_secs(6),
            total: Some(Duration::from_secs(12)),
            warming_up: false,
            succeeded: 300_000,
            failed: 0,
            per_second: 50_000.0,
            p50: Some(Duration::from_micros(1_200)),
            p99: Some(Duration::from_micros(4_500)),
            connections: 64,
        };
        assert_eq!(
            line("round 1 of 3", &moment),
            "round 1 of 3 load [############------------] 6.0/12.0 s  50\u{202f}000/s  p50 1.20 ms p99 4.50 ms"
        );
        let moment = Moment { fraction: None, total: None, p50: None, failed: 7, connections: 0, ..moment };
        assert_eq!(line("", &moment), "load 6.0 s  50\u{202f}000/s  failed 7  not connected");
        assert_eq!((bar(0.0), bar(1.0)), ("-".repeat(BAR), "#".repeat(BAR)));
    }
}
