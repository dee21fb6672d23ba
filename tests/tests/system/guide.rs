//! The public guide's quickstart and read sections, run as they stand there with a real shell and a real curl.
//!
//! The blocks below are the guide's own. Only the variables it names are set. A `.curlrc` in the home directory makes
//! curl print the status after the body, so that the commands need no change.

use std::path::Path;
use std::process::{Command, Stdio};

use system_tests::{Document, Node};

const CREATE_AGENT: &str = r#"curl -X POST "$AGENTPAY_BASE_URL/v1/agents" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "ResearchOpsAgent",
    "operator": "acme"
  }'"#;

const FUND_WALLET: &str = r#"curl -X POST "$AGENTPAY_BASE_URL/v1/wallets/$WALLET_ID/fund" \
  -H "Authorization: Bearer $AGENTPAY_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "amount": 100,
    "source": "test_faucet"
  }'"#;

const CREATE_PAYMENT: &str = r#"curl -X POST "$AGENTPAY_BASE_URL/v1/payments" \
  -H "Authorization: Bearer $AGENTPAY_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "from_wallet_id": "'$WALLET_ID'",
    "to_external": "merchant:demo",
    "amount": 5,
    "currency": "USD",
    "rail": "internal",
    "description": "Agent tool purchase",
    "idempotency_key": "tool-call-001"
  }'"#;

const READ_BALANCE: &str = r#"curl "$AGENTPAY_BASE_URL/v1/wallets/$WALLET_ID/balance" \
  -H "Authorization: Bearer $AGENTPAY_API_KEY""#;

const READ_PAYMENT: &str = r#"curl "$AGENTPAY_BASE_URL/v1/payments/$PAYMENT_ID" \
  -H "Authorization: Bearer $AGENTPAY_API_KEY""#;

/// A shell with the guide's variables.
pub(crate) struct Terminal {
    home: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Terminal {
    pub(crate) fn open(node: &Node) -> Terminal {
        let home = tempfile::tempdir().expect("a temporary directory");
        let settings = "silent\nshow-error\nwrite-out = \"\\n%{http_code}\"\n";
        std::fs::write(home.path().join(".curlrc"), settings).expect("written");
        Terminal { home, variables: vec![("AGENTPAY_BASE_URL", node.base_url())] }
    }

    pub(crate) fn export(&mut self, name: &'static str, value: &str) {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
    }

    /// Runs a block of the guide and returns status and answer.
    pub(crate) fn run(&self, block: &str) -> (u16, Document) {
        let output = Command::new("bash")
            .args(["-c", block])
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("HOME", self.home.path())
            .env("CURL_HOME", self.home.path())
            .env("no_proxy", "*")
            .current_dir(Path::new("/"))
            .stdin(Stdio::null())
            .output()
            .expect("bash is installed");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}\nended with {}: {stderr}", output.status);
        let printed = String::from_utf8(output.stdout).expect("answers are UTF-8");
        let (body, status) = printed.rsplit_once('\n').expect("curl prints the status on a line of its own");
        (status.parse().expect("a status"), Document::parse(body.as_bytes()))
    }
}

#[test]
fn the_quickstart_and_the_read_section_work_as_written() {
    let node = Node::start();
    let mut terminal = Terminal::open(&node);

    let (status, agent) = terminal.run(CREATE_AGENT);
    assert_eq!(status, 201);
    check_agent(&agent);
    terminal.export("WALLET_ID", agent.text("/wallet_id"));
    terminal.export("AGENTPAY_API_KEY", agent.text("/api_key"));

    let (status, funding) = terminal.run(FUND_WALLET);
    assert_eq!(status, 201);
    assert!(funding.text("/id").starts_with("tx_"));
    assert_eq!(funding.raw(&["amount"]), "100");
    assert_eq!(funding.text("/currency"), "USD");

    let (status, payment) = terminal.run(CREATE_PAYMENT);
    assert_eq!(status, 201);
    check_payment(&payment, agent.text("/wallet_id"));
    terminal.export("PAYMENT_ID", payment.text("/id"));

    let (status, balance) = terminal.run(READ_BALANCE);
    assert_eq!(status, 200);
    check_balance(&balance, agent.text("/wallet_id"));

    let (status, read) = terminal.run(READ_PAYMENT);
    assert_eq!(status, 200);
    check_payment(&read, agent.text("/wallet_id"));
    assert_eq!(read.text("/id"), payment.text("/id"));

    // The guide calls the key retry-safe: the same command again is the same payment.
    let (status, again) = terminal.run(CREATE_PAYMENT);
    assert_eq!((status, again.text("/id")), (201, payment.text("/id")));
    let (_, balance) = terminal.run(READ_BALANCE);
    check_balance(&balance, agent.text("/wallet_id"));
}

fn check_agent(agent: &Document) {
    let names = ["api_key", "created_at", "id", "name", "operator", "public_key", "secret_key", "wallet_id"];
    assert_eq!(agent.names(""), names);
    assert_eq!(agent.text("/name"), "ResearchOpsAgent");
    assert_eq!(agent.text("/operator"), "acme");
    check_id(agent.text("/id"), "agent_");
    check_id(agent.text("/wallet_id"), "wallet_");
    assert!(agent.text("/api_key").starts_with("pk_test_"));
    assert!(agent.text("/secret_key").starts_with("sk_test_"));
    check_time(agent.text("/created_at"));
}

fn check_payment(payment: &Document, wallet: &str) {
    let names = [
        "amount",
        "balance_after",
        "created_at",
        "currency",
        "description",
        "fee",
        "from_wallet_id",
        "id",
        "idempotency_key",
        "metadata",
        "rail",
        "status",
        "to_external",
        "total_debited",
    ];
    assert_eq!(payment.names(""), names);
    check_id(payment.text("/id"), "tx_");
    for (name, text) in [("amount", "5"), ("fee", "0.02"), ("total_debited", "5.02")] {
        assert_eq!(payment.raw(&[name]), text, "{name}");
    }
    for (pointer, text) in [
        ("/currency", "USD"),
        ("/rail", "internal"),
        ("/status", "completed"),
        ("/from_wallet_id", wallet),
        ("/to_external", "merchant:demo"),
        ("/description", "Agent tool purchase"),
        ("/idempotency_key", "tool-call-001"),
    ] {
        assert_eq!(payment.text(pointer), text, "{pointer}");
    }
    assert_eq!(payment.names("/balance_after"), ["available", "held"]);
    assert_eq!(payment.raw(&["balance_after", "available"]), "94.98");
    assert_eq!(payment.raw(&["balance_after", "held"]), "0");
    check_time(payment.text("/created_at"));
}

fn check_balance(balance: &Document, wallet: &str) {
    let names = ["as_of", "available", "currency", "disputed", "held", "total", "wallet_id"];
    assert_eq!(balance.names(""), names);
    assert_eq!(balance.text("/wallet_id"), wallet);
    assert_eq!(balance.text("/currency"), "USD");
    for (name, text) in [("available", "94.98"), ("held", "0"), ("disputed", "0"), ("total", "94.98")] {
        assert_eq!(balance.raw(&[name]), text, "{name}");
    }
    check_time(balance.text("/as_of"));
}

/// Prefix and 26 characters of lower-case Crockford base32.
pub(crate) fn check_id(id: &str, prefix: &str) {
    let rest = id.strip_prefix(prefix).unwrap_or_else(|| panic!("{id} does not begin with {prefix}"));
    let alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
    assert!(rest.len() == 26 && rest.chars().all(|c| alphabet.contains(c)), "{id}");
}

/// RFC 3339 in UTC.
pub(crate) fn check_time(text: &str) {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let (seconds, fraction) = shape.split_at(19.min(shape.len()));
    assert_eq!(seconds, "0000-00-00T00:00:00", "{text}");
    assert!(fraction.ends_with('Z') && fraction.trim_matches(['.', '0', 'Z']).is_empty(), "{text}");
}
