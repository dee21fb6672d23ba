//! Services: the registry decides about all of them, and publishes what is durable.
//!
//! All services of the partition are owned by whoever holds the registry's guard: their number is small, slugs are
//! unique among all of them, and a decision is a look-up and an append. `registry.rs` decides, `published.rs` is what
//! requests and lists see, `face.rs` what the engine offers.

mod face;
mod published;
mod registry;
mod view;

pub(crate) use registry::{Services, ServicesState};
pub use view::{RegisterService, ServicePatch, ServiceView};
