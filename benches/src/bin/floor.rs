//! The floor: bare hyper 1 with the node's runtime settings, which reads a request body and answers a constant.
//!
//! What the node does beyond this (rules, actors, the log, the sync) is what the comparison shows. With `--durable` it
//! also keeps each body before it answers, many bodies with one sync: the least that a durable answer over HTTP costs.
//! It listens on a port chosen by the system, prints `listening on http://…`, and serves until it is ended.

#![expect(clippy::print_stdout, reason = "the address is the output of this program")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use benches::group_commit::GroupCommit;
use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The node's own header timeout; its timer costs something, so the floor has it too.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bare HTTP server with a constant answer.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Size of the JSON answer.
    #[arg(long, default_value_t = 400)]
    body_bytes: usize,
    /// Runtime threads; as many as cores if not given, like the node.
    #[arg(long)]
    worker_threads: Option<usize>,
    /// Keep each request body in a file in this directory, synced before the answer.
    #[arg(long, value_name = "DIR")]
    durable: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all();
    if let Some(threads) = arguments.worker_threads {
        runtime.worker_threads(threads);
    }
    let keeper = arguments.durable.as_deref().map(GroupCommit::start).transpose()?;
    let service = Floor { body: constant_body(arguments.body_bytes), keeper };
    runtime.build()?.block_on(serve(arguments.listen, service))
}

#[derive(Clone)]
struct Floor {
    body: Bytes,
    keeper: Option<GroupCommit>,
}

async fn serve(listen: SocketAddr, floor: Floor) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, floor.clone()));
    }
}

async fn connection(stream: TcpStream, floor: Floor) {
    let service = service_fn(|request| floor.answer(request));
    // A client that goes away ends its connection with an error, which concerns nobody here.
    let _ = http1::Builder::new()
        .pipeline_flush(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Floor {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let is_payment = request.method() == Method::POST && request.uri().path() == "/v1/payments";
        let read = request.into_body().collect().await;
        let (status, body) = match read {
            Err(_) => (StatusCode::BAD_REQUEST, Bytes::new()),
            Ok(_) if !is_payment => (StatusCode::NOT_FOUND, Bytes::new()),
            Ok(read) => match self.keep(read.to_bytes()).await {
                Ok(()) => (StatusCode::CREATED, self.body.clone()),
                Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()),
            },
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }

    async fn keep(&self, body: Bytes) -> Result<()> {
        match &self.keeper {
            Some(keeper) => keeper.keep(body).await,
            None => Ok(()),
        }
    }
}

/// A JSON object of exactly that many bytes, if they are enough for the frame of it.
fn constant_body(bytes: usize) -> Bytes {
    const FRAME: &str = r#"{"text":""}"#;
    let filler = "x".repeat(bytes.saturating_sub(FRAME.len()));
    Bytes::from(format!(r#"{{"text":"{filler}"}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_the_size_asked_for() {
        for bytes in [11, 12, 400] {
            assert_eq!(constant_body(bytes).len(), bytes);
        }
    }
}
