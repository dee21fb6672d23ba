//! One HTTP request to a receiver: pinned addresses, one time limit over everything, no redirects, no proxies, no
//! connection kept. What the receiver answers is bounded before it is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::guard::{Host, Reach, Resolve, Target, Unreachable, pin};

/// Bytes of an answer's head, which is all that a delivery wants to know.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEAD_LINES_MAX: usize = 64;
const AGENT: &str = concat!("AgentPay/", env!("CARGO_PKG_VERSION"));

/// Why there was no answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Failure {
    /// The name has no address.
    Unresolved = 0,
    /// The address must not be called.
    Refused = 1,
    Connect = 2,
    /// No certificate that counts for this name.
    Tls = 3,
    /// What came back is no HTTP.
    Http = 4,
    TimedOut = 5,
    /// The body is larger than it may be.
    TooLarge = 6,
    /// Not an attempt: the webhook was off when its time came.
    Disabled = 7,
}

impl Failure {
    /// Numbers are kept with deliveries: never change or reuse them.
    pub const ALL: [Failure; 8] = [
        Failure::Unresolved,
        Failure::Refused,
        Failure::Connect,
        Failure::Tls,
        Failure::Http,
        Failure::TimedOut,
        Failure::TooLarge,
        Failure::Disabled,
    ];

    pub fn from_number(number: u8) -> Option<Failure> {
        Failure::ALL.get(usize::from(number)).copied()
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Failure::Unresolved => "unresolved",
            Failure::Refused => "address_refused",
            Failure::Connect => "connection_failed",
            Failure::Tls => "tls_failed",
            Failure::Http => "not_http",
            Failure::TimedOut => "timed_out",
            Failure::TooLarge => "too_large",
            Failure::Disabled => "webhook_disabled",
        }
    }
}

/// What a receiver said.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub retry_after: Option<String>,
    /// Empty unless it was asked for.
    pub body: Bytes,
}

/// Sends requests. Holds no connection and no state between them.
pub struct Client {
    tls: TlsConnector,
    resolver: Arc<dyn Resolve>,
    reach: Reach,
    /// From the first question of the resolver to the last byte of the answer.
    timeout: Duration,
}

impl Client {
    /// A client that trusts the roots that browsers do.
    pub fn new(resolver: Arc<dyn Resolve>, reach: Reach, timeout: Duration) -> Client {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Client::trusting(roots, resolver, reach, timeout)
    }

    /// A client that trusts these roots.
    pub fn trusting(
        roots: RootCertStore,
        resolver: Arc<dyn Resolve>,
        reach: Reach,
        timeout: Duration,
    ) -> Client {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Client { tls: TlsConnector::from(Arc::new(config)), resolver, reach, timeout }
    }

    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Posts a body. The status is all that is read of the answer.
    pub async fn post(
        &self,
        target: &Target,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let mut request = request(target, Method::POST, body)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().extend(headers.iter().cloned());
        self.within(self.exchange(target, request, 0)).await
    }

    /// Gets a body of at most `body_bytes_max` bytes.
    pub async fn get(&self, target: &Target, body_bytes_max: usize) -> Result<Answer, Failure> {
        let request = request(target, Method::GET, Bytes::new())?;
        self.within(self.exchange(target, request, body_bytes_max)).await
    }

    async fn within(
        &self,
        exchange: impl Future<Output = Result<Answer, Failure>>,
    ) -> Result<Answer, Failure> {
        tokio::time::timeout(self.timeout, exchange).await.unwrap_or(Err(Failure::TimedOut))
    }

    async fn exchange(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
        body_bytes_max: usize,
    ) -> Result<Answer, Failure> {
        let pinned = pin(target, self.reach, &*self.resolver).await.map_err(|why| match why {
            Unreachable::Unresolved => Failure::Unresolved,
            Unreachable::Refused => Failure::Refused,
        })?;
        let stream = connect(&pinned.addresses).await?;
        if !target.is_tls {
            return converse(stream, request, body_bytes_max).await;
        }
        let name = match &target.host {
            Host::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| Failure::Tls)?,
            Host::Address(address) => ServerName::IpAddress((*address).into()),
        };
        let stream = self.tls.connect(name, stream).await.map_err(|_| Failure::Tls)?;
        converse(stream, request, body_bytes_max).await
    }
}

fn request(target: &Target, method: Method, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
    Request::builder()
        .method(method)
        .uri(&*target.path)
        .header(HOST, target.authority())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .body(Full::new(body))
        // A target was read as a URL before.
        .map_err(|_| Failure::Http)
}

/// The first address that takes a connection.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    for address in addresses {
        if let Ok(stream) = TcpStream::connect(address).await {
            let _ = stream.set_nodelay(true);
            return Ok(stream);
        }
    }
    Err(Failure::Connect)
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    body_bytes_max: usize,
) -> Result<Answer, Failure> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_LINES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Failure::Http)?;
    // Its errors are those of the request, and it must not outlive it.
    let _connection = Ends(tokio::spawn(async move { drop(connection.await) }));
    let answer = sender.send_request(request).await.map_err(|_| Failure::Http)?;
    let status = answer.status();
    let retry_after = answer.headers().get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = if body_bytes_max == 0 {
        Bytes::new()
    } else {
        let read = Limited::new(answer.into_body(), body_bytes_max).collect().await;
        read.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() { Failure::TooLarge } else { Failure::Http }
        })?
        .to_bytes()
    };
    Ok(Answer { status, retry_after, body })
}

/// A task that ends with its holder.
struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
