//! Measurements of the whole node, always beside what limits it on the same machine in the same run.
//!
//! Role: the parts of the binary `bench` (the table of `cargo xtask bench`) and of the small programs it starts:
//! `floor` (bare hyper, also with a sync before each answer), `fsync_floor` (one write and sync), `actor_ceiling` (ractor
//! alone).
//!
//! Invariant: a figure is only printed if every request of its run was answered as hoped; a run with errors fails the
//! row instead of looking fast.
//!
//! Non-goals: micro benchmarks (they live as criterion benches in their crates) and verdicts about single runs on a
//! noisy machine: rounds alternate between node and floor, medians are compared, and the spread is printed.

pub mod fsync_floor;
pub mod group_commit;
pub mod machine;
pub mod report;
pub mod rows;
pub mod scale;
pub mod server;
pub mod summary;
pub mod system;
