//! `agentpay keys list|rotate`: the keys that sign payment tokens.

use crate::config::Config;
use crate::control::{self, Asked, Reply, Request};
use crate::data_dir::DataDir;
use crate::exit::{Exit, Failure};
use crate::output::{Output, table};
use crate::system::unix_seconds;
use crate::token_keys::{self, Rotation};
use api::TokenKey;
use serde::{Deserialize, Serialize};

/// One key, as printed and as told over the control socket. Public facts only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyLine {
    kid: String,
    /// `waiting`, `signing` or `retired`.
    state: String,
    active_from: String,
}

const HEADER: [&str; 3] = ["kid", "state", "active_from"];

impl KeyLine {
    /// The lines of a set, oldest key first.
    pub(crate) fn of(keys: &[TokenKey], now_seconds: i64) -> Vec<KeyLine> {
        let state = |place: usize| {
            // What is signed before the first key's time is signed with the first.
            let begun = |place: usize| place == 0 || keys[place].active_from_seconds <= now_seconds;
            match (begun(place), place + 1 < keys.len() && begun(place + 1)) {
                (false, _) => "waiting",
                (true, false) => "signing",
                (true, true) => "retired",
            }
        };
        let line = |(place, key): (usize, &TokenKey)| KeyLine {
            kid: key.id(),
            state: state(place).to_owned(),
            active_from: rfc3339(key.active_from_seconds),
        };
        keys.iter().enumerate().map(line).collect()
    }
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

/// Prints the keys; works beside a running node.
pub(crate) fn list(config: &Config, output: Output) -> Result<(), Failure> {
    let keys = token_keys::load(&DataDir::existing(&config.data.dir)?)?;
    print(&KeyLine::of(&keys, unix_seconds()), output)
}

/// Adds a key: in the running node if there is one, else offline.
pub(crate) fn rotate(config: &Config, active_in_seconds: u64, output: Output) -> Result<(), Failure> {
    let dir = DataDir::existing(&config.data.dir)?;
    let lines = match control::ask(&dir, Request::RotateTokenKeys { active_in_seconds })? {
        Asked::Answered(Reply::TokenKeys(lines)) => lines,
        Asked::Answered(Reply::Failed(why)) => return Err(Failure::new(Exit::Failure, why)),
        Asked::Answered(Reply::Snapshot(_)) => return Err(control::wrong_answer()),
        Asked::NobodyThere => {
            let owned = DataDir::own(&config.data.dir)?;
            let keys = token_keys::rotate(&owned.dir, Rotation::new(config, active_in_seconds))?;
            KeyLine::of(&keys, unix_seconds())
        }
    };
    print(&lines, output)
}

fn print(lines: &[KeyLine], output: Output) -> Result<(), Failure> {
    output.answer(&lines, || {
        let row = |line: &KeyLine| vec![line.kid.clone(), line.state.clone(), line.active_from.clone()];
        table(&HEADER, &lines.iter().map(row).collect::<Vec<_>>())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_from_the_times() {
        let keys: Vec<TokenKey> = [100, 200, 300]
            .into_iter()
            .map(|active_from_seconds| TokenKey {
                active_from_seconds,
                seed: [u8::try_from(active_from_seconds / 100).expect("small"); 32],
            })
            .collect();
        for (now, expected) in [
            (50, ["signing", "waiting", "waiting"]),
            (100, ["signing", "waiting", "waiting"]),
            (299, ["retired", "signing", "waiting"]),
            (300, ["retired", "retired", "signing"]),
        ] {
            let lines = KeyLine::of(&keys, now);
            let states: Vec<&str> = lines.iter().map(|line| line.state.as_str()).collect();
            assert_eq!(states, expected, "at {now}");
        }
    }
}
