//! Metrics for Prometheus on a listener of their own, so that scraping needs no key and is never public by accident.
//!
//! The recorder is installed before anything registers a metric. Gauges are read from the engine when somebody asks;
//! histograms are drained by a task of their own, or they would grow for as long as nobody scrapes.

mod metrics;

use crate::exit::{Exit, Failure};
use engine::{Engine, Status};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::Gauges;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;

/// Renders everything that was measured.
#[derive(Clone)]
pub(crate) struct Telemetry {
    prometheus: PrometheusHandle,
    gauges: Arc<Gauges>,
    engine: Arc<OnceLock<Engine>>,
    status: Status,
}

/// How often histograms are drained; also the age of the process gauges at worst.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// Connections of the metrics listener: a scraper needs one, a handful of people may look as well.
const CONNECTIONS_MAX: usize = 32;
/// A scraper that needs longer than this for its request line is none.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest life of one connection: bounds a reader that does not read.
const CONNECTION_SECONDS_MAX: Duration = Duration::from_secs(60);

impl Telemetry {
    /// Installs the process-wide recorder. Called once, before any other part registers a metric.
    pub(crate) fn install(status: Status) -> Result<Telemetry, Failure> {
        let failed = |error: &dyn std::error::Error| {
            Failure::new(Exit::Failure, format!("cannot set up the metrics recorder: {error}"))
        };
        let mut builder = PrometheusBuilder::new();
        for (matcher, buckets) in metrics::buckets() {
            builder = builder.set_buckets_for_metric(matcher, buckets).map_err(|error| failed(&error))?;
        }
        let recorder = builder.build_recorder();
        let prometheus = recorder.handle();
        ::metrics::set_global_recorder(recorder).map_err(|error| failed(&error))?;
        Ok(Telemetry {
            prometheus,
            gauges: Arc::new(Gauges::register()),
            engine: Arc::new(OnceLock::new()),
            status,
        })
    }

    /// From now on the engine's gauges are shown.
    pub(crate) fn attach(&self, engine: Engine) {
        // Attached once per process; a second engine would be a mistake in this program.
        assert!(self.engine.set(engine).is_ok(), "the engine is attached once");
    }

    /// The exposition text of this moment.
    pub(crate) fn render(&self) -> String {
        self.gauges.update(self.status.phase(), self.engine.get());
        self.prometheus.render()
    }

    /// Drains histograms for ever.
    pub(crate) async fn upkeep(self) {
        let mut every = tokio::time::interval(UPKEEP_EVERY);
        loop {
            every.tick().await;
            self.prometheus.run_upkeep();
        }
    }

    /// Serves `GET /metrics` for ever.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors or memory: give the rest of the process a moment.
                    tracing::warn!(%error, "metrics listener cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let telemetry = self.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let telemetry = telemetry.clone();
                    async move { Ok::<_, Infallible>(telemetry.answer(&request)) }
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
                let connection = http.serve_connection(TokioIo::new(stream), service);
                // A scraper that goes away or stalls concerns nobody else.
                let _ = tokio::time::timeout(CONNECTION_SECONDS_MAX, connection).await;
                drop(place);
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, kind, body) = match (request.uri().path(), request.method()) {
            ("/metrics", &Method::GET | &Method::HEAD) => {
                (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.render())
            }
            ("/metrics", _) => (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET is allowed\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, PLAIN, "only /metrics is here\n".to_owned()),
        };
        let mut answer = Response::builder().status(status).header(CONTENT_TYPE, kind);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            answer = answer.header(ALLOW, "GET, HEAD");
        }
        answer.body(Full::new(Bytes::from(body))).expect("constant headers are valid")
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DRAIN, TestLedger, fill};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn exchange(address: std::net::SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let request = format!("{line} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    /// The only test that installs the process-wide recorder.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_scraper_sees_the_log_and_the_ledger() {
        let telemetry = Telemetry::install(Status::new()).expect("the first recorder");
        let ledger = TestLedger::new();
        let (_owned, engine) = ledger.start().await;
        fill(&engine, 5).await;
        telemetry.attach(engine.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let serving = tokio::spawn(telemetry.serve(listener));

        let answer = exchange(address, "GET /metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        for expected in [
            "agentpay_engine_wallets 2",
            "agentpay_engine_agents 2",
            "# HELP agentpay_log_durable_lsn End of what is synced",
            "agentpay_log_sync_seconds_bucket{le=\"0.000025\"}",
            "agentpay_log_batch_records_bucket{le=\"16384\"}",
            "agentpay_engine_phase_info{phase=\"recovering\"} 1",
        ] {
            assert!(answer.contains(expected), "{answer}\n  lacks: {expected}");
        }
        assert!(exchange(address, "POST /metrics").await.starts_with("HTTP/1.1 405"));
        assert!(exchange(address, "GET /").await.starts_with("HTTP/1.1 404"));
        serving.abort();
        engine.shutdown(DRAIN).await.expect("closed");
    }
}
