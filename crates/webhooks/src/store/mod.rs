//! Deliveries on disk, in a folder of their own.
//!
//! Role: what is to be sent, what was sent and what came of it, and how far the log was followed. Rows and the cursor of
//! one stretch of the log are written in one atomic step, so after any end the log is followed on exactly where rows
//! stop. Writes reach the operating system before they count, which survives the process; what a power cut takes away it
//! takes away from the end, cursor and rows together, and the log tells it again under the same ids.
//! Owner of state: [`Store`], used from the follower's thread and from blocking tasks.
//! Non-goals: when anything is sent.

mod row;
mod table;

pub use row::{Attempt, Place, Row, State};
pub use table::{Listed, Store};
