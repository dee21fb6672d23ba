//! Resolving a name once per attempt, and fixing what came of it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use super::{Host, Reach, Target};

/// Addresses tried for one attempt: more would only use its time up.
const ADDRESSES_MAX: usize = 4;

/// What a resolver will answer.
pub type Resolving<'r> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'r>>;

/// Finds the addresses of a name. A seam for tests; the system's resolver is the real one.
pub trait Resolve: Send + Sync + 'static {
    fn resolve<'r>(&'r self, name: &'r str) -> Resolving<'r>;
}

/// The resolver of the system.
#[derive(Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'r>(&'r self, name: &'r str) -> Resolving<'r> {
        Box::pin(async move {
            // The port is added where the connection is made.
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Addresses of one attempt. Whoever connects uses these and asks no resolver again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pinned {
    pub(crate) addresses: Vec<SocketAddr>,
}

/// Why a target cannot be called now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// The name has no address now.
    Unresolved,
    /// The name stands for an address that must not be called.
    Refused,
}

/// Resolves a target and judges every address. One that must not be called condemns the whole answer: a name that mixes
/// them is either a mistake or a trap.
pub(crate) async fn pin(
    target: &Target,
    reach: Reach,
    resolver: &dyn Resolve,
) -> Result<Pinned, Unreachable> {
    let found = match &target.host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => resolver.resolve(name).await.map_err(|_| Unreachable::Unresolved)?,
    };
    if found.is_empty() {
        return Err(Unreachable::Unresolved);
    }
    if !found.iter().all(|address| reach.allows(*address)) {
        return Err(Unreachable::Refused);
    }
    let addresses = found.into_iter().map(|address| SocketAddr::new(address, target.port));
    Ok(Pinned { addresses: addresses.take(ADDRESSES_MAX).collect() })
}
