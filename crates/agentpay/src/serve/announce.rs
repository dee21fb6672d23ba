//! What a starting node says on standard output: its address, where data lies, and, at the first start of a ledger,
//! three calls to try.

use crate::data_dir::OwnedDataDir;
use crate::exit::Failure;
use crate::output::Output;
use serde::Serialize;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Knows where the node is to be found.
pub(super) struct Announcer {
    output: Output,
    url: String,
    metrics_url: Option<String>,
    data_dir: String,
    is_new: bool,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Listening { url: &'a str, metrics_url: Option<&'a str>, data_dir: &'a str },
    Ready { url: &'a str, seconds: f64 },
}

impl Announcer {
    pub(super) fn new(
        output: Output,
        owned: &OwnedDataDir,
        listener: &TcpListener,
        metrics: Option<SocketAddr>,
    ) -> Result<Announcer, Failure> {
        let address = listener
            .local_addr()
            .map_err(|error| Failure::because("cannot tell the listener's address", &error))?;
        Ok(Announcer {
            output,
            url: format!("http://{address}"),
            metrics_url: metrics.map(|address| format!("http://{address}/metrics")),
            data_dir: owned.dir.root().display().to_string(),
            is_new: owned.is_new,
        })
    }

    /// Connections are taken; until the log is replayed, everything but health answers 503.
    pub(super) fn listening(&self) -> Result<(), Failure> {
        let event = Event::Listening {
            url: &self.url,
            metrics_url: self.metrics_url.as_deref(),
            data_dir: &self.data_dir,
        };
        self.output.announce(&event, || {
            let metrics = self.metrics_url.as_deref().unwrap_or("off");
            format!("listening on {}\nmetrics {metrics}\ndata in {}", self.url, self.data_dir)
        })
    }

    /// Everything is served.
    pub(super) fn ready(&self, took: Duration) -> Result<(), Failure> {
        let event = Event::Ready { url: &self.url, seconds: took.as_secs_f64() };
        self.output.announce(&event, || {
            let ready = format!("ready after {} ms", took.as_millis());
            if self.is_new { format!("{ready}\n\n{}", self.quickstart()) } else { ready }
        })
    }

    fn quickstart(&self) -> String {
        let url = &self.url;
        format!(
            "This is a new ledger. Create an agent, fund its wallet, make a payment:\n\n  \
             curl -X POST {url}/v1/agents -H 'Content-Type: application/json' -d '{{\"name\":\"ResearchOpsAgent\"}}'\n  \
             # take api_key and wallet_id from the answer: export AGENTPAY_API_KEY=pk_test_... WALLET_ID=wallet_...\n  \
             curl -X POST {url}/v1/wallets/$WALLET_ID/fund -H \"Authorization: Bearer $AGENTPAY_API_KEY\" \
             -H 'Content-Type: application/json' -d '{{\"amount\":100,\"source\":\"test_faucet\"}}'\n  \
             curl -X POST {url}/v1/payments -H \"Authorization: Bearer $AGENTPAY_API_KEY\" \
             -H 'Content-Type: application/json' \
             -d '{{\"from_wallet_id\":\"'$WALLET_ID'\",\"to_external\":\"merchant:demo\",\"amount\":5}}'\n"
        )
    }
}
