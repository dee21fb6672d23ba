//! The example provider as a process.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::NamedTempFile;

use crate::http::{Connection, Request, Response};
use crate::program::provider_program;
use crate::{Account, Node, eventually};

const ANNOUNCEMENT: &str = "selling on http://";

/// A running provider; ended when dropped.
pub struct Provider {
    child: Child,
    address: SocketAddr,
    output: NamedTempFile,
}

impl Provider {
    /// Sells calls of the account's service; with `breach` it accepts them and never completes them.
    #[track_caller]
    pub fn start(node: &Node, account: &Account, service: &str, breach: bool) -> Provider {
        let output = NamedTempFile::with_prefix("agentpay-provider-").expect("a temporary file");
        let file = output.reopen().expect("a file that was just made");
        let errors = file.try_clone().expect("a file can be shared");
        let mut command = Command::new(provider_program());
        command
            .args(["--node", &node.base_url(), "--service", service, "--listen", "127.0.0.1:0"])
            .args(breach.then_some("--breach"))
            .env("AGENTPAY_API_KEY", &account.api_key)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors);
        let child = command.spawn().expect("the provider can be started");
        let mut provider = Provider { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), output };
        provider.address = eventually("the provider's address", || {
            let ended = provider.child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "the provider ended: {}", provider.output());
            let output = provider.output();
            let (_, address) = output.split_once(ANNOUNCEMENT)?;
            address.strip_suffix('\n')?.parse().ok()
        });
        provider
    }

    /// Everything the process printed so far.
    pub fn output(&self) -> String {
        fs::read_to_string(self.output.path()).unwrap_or_default()
    }

    /// One call of a consumer.
    #[track_caller]
    pub fn call(&self, request: &Request) -> Response {
        let mut connection = Connection::open(self.address).expect("the provider accepts connections");
        connection.send(request).unwrap_or_else(|error| panic!("{request:?}: {error}\n{}", self.output()))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Both fail only when the process has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
