//! agentpay
fn main() {}
