//! Documents that speak of the code must stay true: tests that are named exist, links lead somewhere.

use crate::run::root;
use std::fs;
use std::path::{Path, PathBuf};

/// Files below `directory` whose name ends in `.extension`, without what is built or hidden.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().expect("entries have names").to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}

/// Pieces of `text` between `open` and the next `close`.
fn pieces<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split_once(close)).map(|(piece, _)| piece)
}

#[test]
fn every_test_that_the_readme_names_exists() {
    let readme = fs::read_to_string(root().join("README.md")).expect("a README");
    let named: Vec<&str> = readme
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| {
            code.contains("::") && code.chars().all(|c| c.is_ascii_alphanumeric() || c == ':' || c == '_')
        })
        .collect();
    assert!(named.len() >= 5, "the README names its proofs: {named:?}");
    let sources: Vec<(PathBuf, String)> = files(&root(), "rs")
        .into_iter()
        .map(|path| (path.clone(), fs::read_to_string(&path).expect("sources are text")))
        .collect();
    for name in named {
        let mut parts = name.rsplit("::");
        let function = format!("fn {}(", parts.next().expect("a last part"));
        let module = parts.next().expect("a module");
        let is_there = sources.iter().any(|(path, text)| {
            path.file_stem().is_some_and(|stem| stem == module) && text.contains(&function)
        });
        assert!(is_there, "README.md names the test {name}, but no {module}.rs has `{function})`");
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    for document in files(&root(), "md") {
        let text = fs::read_to_string(&document).expect("documents are text");
        for target in
            pieces(&text, "](", ')').filter(|target| !target.contains("://") && !target.starts_with('#'))
        {
            let path = target.split('#').next().unwrap_or(target);
            let directory = document.parent().expect("a document lies in a directory");
            assert!(directory.join(path).exists(), "{}: the link {target} leads nowhere", document.display());
        }
    }
}
