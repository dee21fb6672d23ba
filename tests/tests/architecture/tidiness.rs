//! Leftovers, sizes, module heads, paths of machines.

use crate::sources::{all, rust};

/// Where a file of this size has a reason, it is listed with it.
const LINES_MAX: usize = 600;
const LONG_FILES: [(&str, usize, &str); 0] = [];

/// The words are put together here, so that this file does not contain them.
fn leftovers() -> Vec<String> {
    [("to", "do!("), ("unimpl", "emented!("), ("db", "g!("), ("FIX", "ME"), ("TO", "DO"), ("XX", "X")]
        .map(|(a, b)| format!("{a}{b}"))
        .to_vec()
}

#[test]
fn nothing_is_left_over() {
    let words = leftovers();
    let mut found = Vec::new();
    for source in rust() {
        for (number, line) in source.lines() {
            for word in &words {
                if line.contains(word.as_str()) {
                    found.push(format!("{}:{number}: {word}", source.path));
                }
            }
        }
    }
    assert!(found.is_empty(), "finish or remove:\n{}", found.join("\n"));
}

#[test]
fn files_are_short_enough_to_read() {
    let mut wrong = Vec::new();
    for source in rust() {
        let lines = source.text.lines().count();
        let allowed = LONG_FILES.iter().find(|(path, _, _)| *path == source.path);
        let limit = allowed.map_or(LINES_MAX, |(_, limit, _)| *limit);
        if lines > limit {
            wrong.push(format!("{} has {lines} lines, more than {limit}", source.path));
        }
    }
    assert!(wrong.is_empty(), "split, or list with a reason:\n{}", wrong.join("\n"));
}

#[test]
fn listed_long_files_are_still_long() {
    let sources = rust();
    for (path, limit, reason) in LONG_FILES {
        let source = sources.iter().find(|source| source.path == path);
        let lines = source.unwrap_or_else(|| panic!("{path} is gone")).text.lines().count();
        assert!(lines > LINES_MAX && limit >= lines, "{path} has {lines} lines; its entry is out of date");
        assert!(reason.len() > 20, "{path} needs a reason");
    }
}

/// A `tests.rs` beside its module is under that module's contract.
#[test]
fn every_module_begins_with_its_contract() {
    let without: Vec<String> = rust()
        .into_iter()
        .filter(|source| !source.path.ends_with("/tests.rs"))
        .filter(|source| {
            let first = source.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            !first.starts_with("//!")
        })
        .map(|source| source.path)
        .collect();
    assert!(without.is_empty(), "these begin without `//!`:\n{}", without.join("\n"));
}

/// Paths of somebody's machine and hosts of somebody's network do not belong into a repository.
#[test]
fn no_file_names_a_machine() {
    let words = [("/ro", "ot/"), ("/ho", "me/"), ("/Us", "ers/"), ("/wo", "rk/"), ("C:\\Us", "ers")]
        .map(|(a, b)| format!("{a}{b}"));
    let mut found = Vec::new();
    for source in all() {
        for (number, line) in source.lines() {
            for word in &words {
                if line.contains(word.as_str()) {
                    found.push(format!("{}:{number}: {word}", source.path));
                }
            }
        }
    }
    assert!(found.is_empty(), "remove:\n{}", found.join("\n"));
}

#[test]
fn there_is_no_place_for_everything_else() {
    let vague = ["common", "utils", "util", "helpers", "misc", "shared_utils"];
    let found: Vec<String> = rust()
        .into_iter()
        .map(|source| source.path)
        .filter(|path| path.split('/').any(|part| vague.contains(&part.trim_end_matches(".rs"))))
        .collect();
    assert!(found.is_empty(), "name these for what they do: {found:?}");
}
