//! A small HTTP client for talking to a node on this machine: plain HTTP/1.1, one connection, JSON both ways.

use crate::exit::{Exit, Failure};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;

/// One kept-alive connection to a node.
pub(crate) struct Client {
    host: String,
    sender: SendRequest<Full<Bytes>>,
}

/// Status and JSON body of an answer; `null` when the body is none.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// Answers to single calls are at most a few kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// A durable answer takes a millisecond; a node that needs longer than this is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

impl Client {
    /// Connects to `http://host[:port]`.
    pub(crate) async fn connect(url: &str) -> Result<Client, Failure> {
        let uri: Uri = url.parse().map_err(|_| usage(url))?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(usage(url));
        };
        let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        let stream = TcpStream::connect(&address).await.map_err(|error| {
            Failure::because(format!("no node answers at {url}; start one with `agentpay serve`"), &error)
        })?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::because(format!("cannot talk HTTP to {url}"), &error))?;
        // Ends with the sender; an error of the connection is seen by the request that it fails.
        tokio::spawn(connection);
        Ok(Client { host: authority.to_string(), sender })
    }

    /// Sends `body` and waits for the whole answer.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Result<Answered, Failure> {
        let mut request =
            Request::post(path).header(HOST, &self.host).header(CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| Failure::because(format!("cannot make the request POST {path}"), &error))?;
        let exchange = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let status = answer.status().as_u16();
            Ok::<_, hyper::Error>((
                status,
                Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await,
            ))
        };
        let (status, body) = tokio::time::timeout(ANSWER_WITHIN, exchange)
            .await
            .map_err(|_| {
                Failure::new(Exit::Failure, format!("POST {path} was not answered within {ANSWER_WITHIN:?}"))
            })?
            .map_err(|error| Failure::because(format!("POST {path} failed"), &error))?;
        let body =
            body.map_err(|error| Failure::new(Exit::Failure, format!("POST {path}: {error}")))?.to_bytes();
        Ok(Answered { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }
}

fn usage(url: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{url:?} is not a base address such as http://127.0.0.1:3100"))
}

#[cfg(test)]
mod tests {
    use super::Client;
    use crate::exit::Exit;

    #[tokio::test]
    async fn addresses_that_are_none_are_refused() {
        for url in ["", "127.0.0.1:3100", "https://127.0.0.1", "http://"] {
            let failure = Client::connect(url).await.map(|_| ()).expect_err(url);
            assert_eq!(failure.exit, Exit::Usage, "{url}: {}", failure.message);
        }
    }

    #[tokio::test]
    async fn a_silent_port_is_explained() {
        // Bound and dropped: nobody listens there now.
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let failure =
            Client::connect(&format!("http://127.0.0.1:{port}")).await.map(|_| ()).expect_err("refused");
        assert!(failure.message.contains("start one with `agentpay serve`"), "{}", failure.message);
    }
}
