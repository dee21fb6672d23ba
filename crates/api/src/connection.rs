//! One connection from accept to close.
//!
//! hyper parses and writes; this task drives it, ticks the connection's limits, follows the stage of shutdown, and has
//! the last word on the socket: when a head was refused or took too long, the answer is written here, after whatever
//! hyper still had to say.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::TcpStream,
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep},
};

use crate::{
    errors::{Kind, Problem},
    gateway::{Gateway, Watching},
    limits::SourceBuckets,
    metrics::{Closed, Outcome, Target},
    respond,
    wire::{
        Refused, Wire,
        guard::HeadLimits,
        pulse::{Overdue, Pulse},
    },
};

/// Time for a refusal to leave, and for the client to be done sending.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Bytes of the rest of a refused request that are read and thrown away, so that the answer is not lost with a reset.
const LINGER_BYTES_MAX: u64 = 256 * 1024;

/// What requests of one connection share.
pub(crate) struct Connection {
    pub(crate) peer: IpAddr,
    pub(crate) pulse: Arc<Pulse>,
    /// Buckets of the peer's address; those of a forwarded address are looked up for each request.
    pub(crate) buckets: Arc<SourceBuckets>,
}

/// How hyper's part of a connection ended.
enum End {
    Hyper(Result<(), hyper::Error>),
    Overdue(Overdue),
    Cut,
}

/// Serves a connection to its end.
pub(crate) async fn serve(gateway: &Arc<Gateway>, socket: TcpStream, peer: IpAddr) -> Closed {
    let pulse = Arc::new(Pulse::default());
    let limits = HeadLimits {
        bytes_max: gateway.settings.head_bytes_max,
        lines_max: gateway.settings.head_lines_max,
        target_bytes_max: gateway.settings.target_bytes_max,
    };
    let buckets = gateway.sources.of(peer.into(), gateway.nanos(Instant::now()));
    let connection = Arc::new(Connection { peer, pulse: pulse.clone(), buckets });
    let service = service_fn(|request| {
        // Marked here and not on the future's first poll: before that hyper looks for the end of the stream once more.
        let in_request = connection.pulse.request();
        let (gateway, connection) = (gateway.clone(), connection.clone());
        async move {
            let answer = gateway.answer(&connection, request).await;
            drop(in_request);
            Ok::<_, Infallible>(answer)
        }
    });
    let wire = TokioIo::new(Wire::new(socket, limits, pulse.clone()));
    // No `pipeline_flush`: with it hyper 1.12 does not flush an answer while unread bytes follow the request, and loses
    // the answer when the connection is closed after it.
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        // The pulse keeps this limit for all states of the connection with one timer.
        .header_read_timeout(None)
        .serve_connection(wire, service);
    let mut watch = Watch::begin(gateway, &pulse);
    let end = poll_fn(|cx| {
        match watch.poll(cx) {
            Order::GoOn => {}
            Order::Finish => Pin::new(&mut http).graceful_shutdown(),
            Order::End(end) => return Poll::Ready(end),
        }
        Pin::new(&mut http).poll(cx).map(End::Hyper)
    })
    .await;
    drop(watch);
    let (socket, refused) = http.into_parts().io.into_inner().into_parts();
    let (reason, refused) = match end {
        End::Cut => return Closed::Drained,
        End::Overdue(Overdue::Write) => return Closed::WriteTimeout,
        End::Overdue(Overdue::Idle) => return Closed::Idle,
        End::Overdue(Overdue::Head) => {
            (Closed::HeadTimeout, refused.or(Some(Refused { kind: Kind::RequestTimeout, message: None })))
        }
        End::Hyper(Ok(())) => (Closed::Done, refused),
        End::Hyper(Err(_)) => (Closed::Broken, refused),
    };
    match refused {
        None => reason,
        Some(refused) => {
            last_word(gateway, socket, refused).await;
            if reason == Closed::HeadTimeout { reason } else { Closed::Refused }
        }
    }
}

/// What the connection's limits and the stage of shutdown want.
enum Order {
    GoOn,
    /// End after the request under way.
    Finish,
    End(End),
}

/// The limits and the stage of shutdown, polled with the connection's own waker.
struct Watch<'g> {
    gateway: &'g Gateway,
    pulse: &'g Pulse,
    ticker: Pin<Box<Sleep>>,
    /// Whom the ticker wakes.
    seated: Option<Waker>,
    watching: Option<Watching<'g>>,
    finishing: bool,
}

impl<'g> Watch<'g> {
    fn begin(gateway: &'g Gateway, pulse: &'g Pulse) -> Self {
        let ticker = Box::pin(sleep(gateway.ticks.every));
        Self { gateway, pulse, ticker, seated: None, watching: None, finishing: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Order {
        let stage = self.gateway.stage();
        self.watching.get_or_insert_with(|| stage.watch(cx.waker().clone()));
        while self.has_ticked(cx) {
            if let Err(overdue) = self.pulse.tick(&self.gateway.ticks) {
                return Order::End(End::Overdue(overdue));
            }
        }
        if stage.is_closed() {
            return Order::End(End::Cut);
        }
        if stage.is_draining() && !std::mem::replace(&mut self.finishing, true) {
            return Order::Finish;
        }
        Order::GoOn
    }

    /// Whether a tick is over; then the next one begins. A timer that knows whom to wake is only looked at: a busy
    /// connection is polled twice per request.
    fn has_ticked(&mut self, cx: &mut Context<'_>) -> bool {
        let is_seated = self.seated.as_ref().is_some_and(|seated| seated.will_wake(cx.waker()));
        if is_seated && !self.ticker.is_elapsed() {
            return false;
        }
        // Without a budget: a timer that had no turn would not know whom to wake.
        if Pin::new(&mut unconstrained(self.ticker.as_mut())).poll(cx).is_pending() {
            self.seated = Some(cx.waker().clone());
            return false;
        }
        self.seated = None;
        self.ticker.as_mut().reset(Instant::now() + self.gateway.ticks.every);
        true
    }
}

/// Answers a head that was not served, and closes.
async fn last_word(gateway: &Gateway, mut socket: TcpStream, refused: Refused) {
    let mut problem = Problem::new(refused.kind);
    if let Some(message) = refused.message {
        problem = problem.saying(message);
    }
    gateway.metrics.answered(Target::Protocol, Outcome::Problem(refused.kind), Duration::ZERO);
    let raw = respond::raw_refusal(&problem, gateway.ids.fresh());
    // The client may be gone or deaf; then there is nobody to tell.
    let _ = tokio::time::timeout(LAST_WORD, async {
        socket.write_all(&raw).await?;
        socket.shutdown().await?;
        let mut rest = socket.take(LINGER_BYTES_MAX);
        copy(&mut rest, &mut sink()).await
    })
    .await;
}
