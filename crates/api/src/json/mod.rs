//! JSON in and out, without an intermediate tree.
//!
//! [`read`] walks the request's text once: it knows the path of every value, refuses what JSON allows but a payment
//! must not (duplicate keys, unknown fields, deep nesting), and hands amounts over as raw text so that they are never a
//! float. [`mod@write`] appends answers to one buffer. [`raw`] keeps a caller's own JSON (metadata) in compact form and
//! computes what it means, so that two spellings of one document count as the same request.

pub(crate) mod raw;
pub(crate) mod read;
pub(crate) mod write;

/// Arrays and objects may be nested this deep; deeper documents are refused before they cost stack or time.
pub(crate) const DEPTH_MAX: usize = 16;
