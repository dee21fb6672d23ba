//! Starting programs: always from the workspace root, never with standard input, the command line printed first.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Root of the workspace.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Prints a line for people.
pub(crate) fn say(line: &str) {
    // Nothing sensible is left to do when standard output is gone.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The same cargo that started this program.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Runs to the end; an exit code other than zero is an error that names the command.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let shown = show(&command);
    say(&format!("$ {shown}"));
    let status = command
        .current_dir(root())
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("`{shown}` cannot be started"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Standard output of a command that succeeds; nothing is printed.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let shown = show(&command);
    let done =
        command.stdin(Stdio::null()).output().with_context(|| format!("`{shown}` cannot be started"))?;
    if !done.status.success() {
        bail!("`{shown}` failed ({})", done.status);
    }
    String::from_utf8(done.stdout).with_context(|| format!("`{shown}` does not write UTF-8"))
}

/// Runs to the end, passing standard output on and showing each line to `see` as well. Says whether it succeeded.
pub(crate) fn run_watched(mut command: Command, mut see: impl FnMut(&str)) -> Result<bool> {
    let shown = show(&command);
    say(&format!("$ {shown}"));
    let mut child = command
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{shown}` cannot be started"))?;
    let stdout = child.stdout.take().expect("standard output is piped");
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.with_context(|| format!("cannot read the output of `{shown}`"))?;
        let line = String::from_utf8_lossy(&line);
        say(&line);
        see(&line);
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{shown}`"))?;
    Ok(status.success())
}

fn show(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut words = Vec::new();
    for (variable, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={:?}", variable.to_string_lossy(), value.to_string_lossy()));
        }
    }
    words.push(name);
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Value of `--name VALUE` or `--name=VALUE` among `options`; every other word is an error.
pub(crate) fn only_option(options: &[String], name: &str) -> Result<Option<String>> {
    match options {
        [] => Ok(None),
        [flag, value] if flag == name => Ok(Some(value.clone())),
        [word] if word.starts_with(&format!("{name}=")) => Ok(Some(word[name.len() + 1..].to_owned())),
        _ => bail!("`{}` is not understood; only {name} VALUE is", options.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            only_option(&words, "--cycles").map_err(|error| error.to_string())
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["--cycles", "5"]), Ok(Some("5".to_owned())));
        assert_eq!(read(&["--cycles=6"]), Ok(Some("6".to_owned())));
        assert!(read(&["--cycels", "5"]).is_err());
        assert!(read(&["--cycles"]).is_err());
    }

    #[test]
    fn a_watched_run_shows_lines_and_outcome() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two; exit 3"]);
        let succeeded = run_watched(command, |line| lines.push(line.to_owned())).expect("sh starts");
        assert!(!succeeded);
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn a_failing_command_is_named() {
        let error = run(Command::new("false")).expect_err("false fails").to_string();
        assert!(error.starts_with("`false` failed"), "{error}");
    }
}
