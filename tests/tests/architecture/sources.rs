//! The files of the checkout that the rules look at.

use std::fs;
use std::path::{Path, PathBuf};

/// Names whose content is not ours or not source.
const SKIPPED: [&str; 5] = ["target", "data", ".git", "node_modules", "shared"];

/// One text file.
pub(crate) struct Source {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Lines with their numbers from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// Root of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in a folder of the checkout")
}

/// Every text file of the checkout; binary ones are left out.
pub(crate) fn all() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut open = vec![root().to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of the checkout") {
            let path: PathBuf = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // In a second work tree `.git` is a file.
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let relative = path.strip_prefix(root()).expect("below the root");
                sources.push(Source { path: relative.to_string_lossy().into_owned(), text });
            }
        }
    }
    assert!(
        sources.iter().any(|source| source.path == "Cargo.toml"),
        "this is not the checkout: {:?}",
        root()
    );
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// The Rust sources.
pub(crate) fn rust() -> Vec<Source> {
    all().into_iter().filter(Source::is_rust).collect()
}
