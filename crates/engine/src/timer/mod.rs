//! Time: what time it is, which deadlines have come, and who is told.
//!
//! Owner of state: one thread per partition owns the wheel and decides outages; nobody else advances time. It wakes the
//! owners of what is late and decides nothing in their place: a token's own state says whether it is late. So timers need
//! not be cancelled, and a crash loses nothing: the wheel is rebuilt from the tokens.
//! `clock.rs` tells the time that deadlines are judged by, `wheel.rs` keeps the timers, `supervisor.rs` is the thread.
//! Non-goals: a timer that outlives the process, deadlines below a few milliseconds.

mod clock;
mod inbox;
mod supervisor;
mod wheel;

pub(crate) use clock::Timekeeper;
pub(crate) use inbox::TimerInbox;
pub(crate) use supervisor::{Supervisor, TimerStats};
