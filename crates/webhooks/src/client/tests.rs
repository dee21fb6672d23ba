//! The client against receivers that do not behave.

use std::net::{IpAddr, Ipv4Addr};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;
use crate::guard::Resolving;

/// Every name is this machine.
struct Here;

impl Resolve for Here {
    fn resolve<'r>(&'r self, _: &'r str) -> Resolving<'r> {
        Box::pin(async { Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]) })
    }
}

fn client(timeout: Duration) -> Client {
    Client::new(Arc::new(Here), Reach::Development, timeout)
}

/// Far above what any of these needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A receiver that reads a request and answers with these bytes; returns its port and what it read.
async fn receiver(answer: &'static [u8]) -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let read = read_request(&mut stream).await;
        stream.write_all(answer).await.expect("written");
        // Kept open: the client has to know by itself when it has heard enough.
        tokio::time::sleep(Duration::from_millis(50)).await;
        read
    });
    (port, serving)
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut read = Vec::new();
    let mut buffer = [0; 4_096];
    let is_whole = |read: &[u8]| {
        read.ends_with(b"{\"a\":1}") || (read.starts_with(b"GET") && read.ends_with(b"\r\n\r\n"))
    };
    while !is_whole(&read) {
        let count = stream.read(&mut buffer).await.expect("read");
        assert!(count > 0, "the request broke off: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&buffer[..count]);
    }
    read
}

fn target(url: &str) -> Target {
    Target::parse(url, Reach::Development).expect("a URL")
}

async fn post(client: &Client, url: &str) -> Result<Answer, Failure> {
    let headers = [(HeaderName::from_static("webhook-id"), HeaderValue::from_static("evt_1"))];
    client.post(&target(url), &headers, Bytes::from_static(b"{\"a\":1}")).await
}

#[tokio::test]
async fn a_delivery_is_one_post_and_its_status_is_the_answer() {
    let (port, serving) = receiver(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await;
    let answer = post(&client(PATIENCE), &format!("http://hooks.example.com:{port}/a?b=c")).await;
    assert_eq!(answer.expect("an answer").status, 200, "the body is not waited for");
    let request = String::from_utf8(serving.await.expect("served")).expect("text");
    assert!(request.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{request}");
    for line in [
        format!("host: hooks.example.com:{port}\r\n"),
        "content-type: application/json\r\n".to_owned(),
        "webhook-id: evt_1\r\n".to_owned(),
        "content-length: 7\r\n".to_owned(),
    ] {
        assert!(request.contains(&line), "{line} in {request}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (other, untouched) = receiver(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let location =
        format!("HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:{other}/\r\ncontent-length: 0\r\n\r\n");
    let (port, _serving) = receiver(location.leak().as_bytes()).await;
    let answer = post(&client(PATIENCE), &format!("http://a.example.com:{port}/")).await.expect("an answer");
    assert_eq!(answer.status, 307);
    assert!(!untouched.is_finished(), "nobody came there");
}

#[tokio::test]
async fn retry_after_comes_along() {
    let (port, _serving) =
        receiver(b"HTTP/1.1 503 Busy\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n").await;
    let answer = post(&client(PATIENCE), &format!("http://a.example.com:{port}/")).await.expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.retry_after.as_deref()), (503, Some("120")));
}

#[tokio::test]
async fn what_is_no_answer_is_a_failure() {
    let endless =
        [b"HTTP/1.1 200 OK\r\n".to_vec(), b"x-y: zzzzzzzzzzzzzzzzzzzzzzzzz\r\n".repeat(4_096)].concat();
    for (answer, failure) in [
        (&b"not http at all\r\n\r\n"[..], Failure::Http),
        (b"HTTP/1.1 200", Failure::TimedOut),
        (b"", Failure::TimedOut),
        (&*endless.leak(), Failure::Http),
    ] {
        let (port, _serving) = receiver(answer).await;
        let timeout = if failure == Failure::TimedOut { Duration::from_millis(20) } else { PATIENCE };
        let found = post(&client(timeout), &format!("http://a.example.com:{port}/")).await;
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(30)]).into_owned();
        assert_eq!(found.expect_err(&shown), failure, "{shown}");
    }
    // Bound and dropped: nobody listens there now.
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound").port();
    let found = post(&client(PATIENCE), &format!("http://a.example.com:{port}/")).await;
    assert_eq!(found.expect_err("nobody"), Failure::Connect);
}

#[tokio::test]
async fn a_fetched_body_is_bounded() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let (port, _serving) = receiver(answer).await;
    let url = target(&format!("http://a.example.com:{port}/x"));
    assert_eq!(client(PATIENCE).get(&url, 5).await.expect("an answer").body, "hello");
    let (port, _serving) = receiver(answer).await;
    let url = target(&format!("http://a.example.com:{port}/x"));
    assert_eq!(client(PATIENCE).get(&url, 4).await.expect_err("too large"), Failure::TooLarge);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_called() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let client = Client::new(Arc::new(Here), Reach::Global, PATIENCE);
    let url = Target::parse(&format!("https://rebind.example.com:{port}/"), Reach::Global).expect("a URL");
    let found = client.post(&url, &[], Bytes::new()).await;
    assert_eq!(found.expect_err("loopback"), Failure::Refused);
    let nobody = tokio::time::timeout(Duration::from_millis(30), listener.accept()).await;
    assert!(nobody.is_err(), "not even a connection was made");
}

/// A receiver with a certificate for this name, and the roots that trust it.
async fn secure_receiver(name: &str) -> (u16, RootCertStore) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a root");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("written");
        stream.flush().await.expect("written");
        tokio::time::sleep(Duration::from_millis(50)).await;
    });
    (port, roots)
}

#[tokio::test]
async fn tls_counts_for_the_name_in_the_url() {
    let (port, roots) = secure_receiver("hooks.example.com").await;
    let secure = Client::trusting(roots, Arc::new(Here), Reach::Development, PATIENCE);
    let answer = post(&secure, &format!("https://hooks.example.com:{port}/")).await;
    assert_eq!(answer.expect("an answer").status, 204);

    let (port, roots) = secure_receiver("other.example.com").await;
    let secure = Client::trusting(roots, Arc::new(Here), Reach::Development, PATIENCE);
    let answer = post(&secure, &format!("https://hooks.example.com:{port}/")).await;
    assert_eq!(answer.expect_err("another's certificate"), Failure::Tls);

    let (port, _) = secure_receiver("hooks.example.com").await;
    let answer = post(&client(PATIENCE), &format!("https://hooks.example.com:{port}/")).await;
    assert_eq!(answer.expect_err("nobody vouches for it"), Failure::Tls);
}
