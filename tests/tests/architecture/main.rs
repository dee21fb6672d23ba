//! Rules of the repository that a program can check: who may depend on whom, features that must stay off, leftovers,
//! file sizes, metric names, machine paths.
//!
//! They look at `cargo metadata` and at the files of the checkout, and never at a build. A rule that cannot be tested
//! stands in CONTRIBUTING.md with its reason.

mod dependencies;
mod metric_names;
mod sources;
mod tidiness;
