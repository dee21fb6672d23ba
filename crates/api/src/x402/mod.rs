//! Payment tokens as text, and what the outside of the x402 flow needs beside the engine: signing keys, the catalogue
//! of services, addresses of endpoints.
//!
//! Nothing here decides about money or a token's state: that is the token's owner in the engine. What is here is
//! computed on the task of the connection that asked, never on an owner.

pub(crate) mod catalogue;
pub(crate) mod endpoint;
pub(crate) mod keys;
pub(crate) mod remembered;
pub(crate) mod token;
