//! Records and rows as bytes: golden files, sizes, random facts, hostile input.

mod claim_samples;
mod golden;
mod hostile;
mod policy_samples;
mod round_trip;
mod samples;
mod size;
mod webhook_samples;
