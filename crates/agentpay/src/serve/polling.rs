//! Workers that look for requests while these come in a rush, instead of sleeping between two.
//!
//! On two processors Linux gives up looking for an idle one once both are used above some 60 %: a worker that sleeps is
//! then woken on the processor of whoever woke it and waits for that one's turn, while the other processor idles. A worker
//! that does not sleep needs no waking. Between two looks it yields, first the processor, then to the runtime, which asks
//! the sockets.

use engine::{Engine, Rush};
use tokio::runtime::Handle;

/// With more, the scheduler's search for an idle processor does not end so soon, and each one more that polls takes a
/// processor's idle time: nobody has measured that this pays.
const WORKERS_MAX: usize = 2;

/// Gives each worker of the present runtime something to do in a rush. Ends with the runtime.
pub(super) fn start(engine: &Engine) {
    let workers = Handle::current().metrics().num_workers();
    if workers > WORKERS_MAX {
        return;
    }
    for _ in 0..workers {
        tokio::spawn(poll(engine.rush()));
    }
}

async fn poll(rush: Rush) {
    loop {
        rush.begins().await;
        while rush.lasts() {
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
    }
}
