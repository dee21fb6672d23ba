#![allow(dead_code)]
mod cli;
mod config;
mod exit;
mod logging;
mod output;
fn main() {}
