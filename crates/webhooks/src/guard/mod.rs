//! What the node lets itself be sent to. Receivers are named by agents, so every address is hostile until it is known to
//! lie out in the world: not on this machine, not in this network, not a cloud's metadata service.
//!
//! `address.rs` judges addresses, `target.rs` judges URLs before anything is resolved, `pin.rs` resolves and fixes the
//! addresses of one attempt, so that a name cannot change its meaning between the judgement and the connection.

mod address;
mod pin;
mod target;

use address::is_global;
pub use pin::{Resolve, Resolving, SystemResolver};
pub(crate) use pin::{Unreachable, pin};
pub use target::{Host, Target, URL_CHARS_MAX};

/// Which addresses may be called.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Global addresses, by TLS.
    Global,
    /// Loopback and plain HTTP as well: for development and tests, where receiver and node share a machine.
    Development,
}

impl Reach {
    /// Whether this address may be connected to.
    pub fn allows(self, address: std::net::IpAddr) -> bool {
        // A mapped loopback address is no loopback address: it is written that way to get past somebody.
        is_global(address) || (self == Reach::Development && address.is_loopback())
    }
}

#[cfg(test)]
mod tests;
