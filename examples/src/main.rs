//! A provider that sells weather, one call at a time, over x402.
//!
//! ```text
//! AGENTPAY_API_KEY=pk_test_… provider --node http://127.0.0.1:3100 --service svc_… --listen 127.0.0.1:4021 [--breach]
//! ```
//!
//! Whoever calls it without a payment token is told what the call costs. With one, the token is redeemed first, the
//! steps of the call are reported, and the answer is delivered once the price is settled. With `--breach` it accepts
//! calls and never completes them, so that their consumers get their money back by themselves.
//!
//! Threads: one per caller, a bounded number of them. It keeps no state: what was paid is in the ledger.
//! Non-goals: speed, TLS, weather.

mod agentpay;
mod call;
mod http;

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentpay::AgentPay;
use call::Provider;

/// Callers served at once; more wait in the kernel's queue.
const CALLERS_MAX: usize = 256;
const KEY_VARIABLE: &str = "AGENTPAY_API_KEY";
const USAGE: &str = "usage: AGENTPAY_API_KEY=pk_test_… provider --node http://HOST:PORT --service ID --listen HOST:PORT [--breach]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when even standard error is gone.
            let _ = writeln!(io::stderr(), "provider: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line says.
struct Arguments {
    node: String,
    service: String,
    listen: String,
    breach: bool,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let (mut node, mut service, mut listen, mut breach) = (None, None, None, false);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--node" => node = words.next(),
                "--service" => service = words.next(),
                "--listen" => listen = words.next(),
                "--breach" => breach = true,
                other => return Err(format!("{other:?} is not understood\n{USAGE}")),
            }
        }
        let needed = |value: Option<String>| value.ok_or_else(|| USAGE.to_owned());
        Ok(Arguments { node: needed(node)?, service: needed(service)?, listen: needed(listen)?, breach })
    }
}

fn run() -> Result<(), String> {
    let arguments = Arguments::read(std::env::args().skip(1))?;
    // Not an argument: every user of a machine can read the arguments of its processes.
    let key = std::env::var(KEY_VARIABLE).map_err(|_| format!("{KEY_VARIABLE} is not set\n{USAGE}"))?;
    let agentpay = AgentPay::new(&arguments.node, key)?;
    let provider = Arc::new(Provider::open(agentpay, arguments.service, arguments.breach)?);
    let listener = TcpListener::bind(&arguments.listen)
        .map_err(|error| format!("cannot listen on {}: {error}", arguments.listen))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    // Whoever started this waits for the line; a port of 0 was chosen by the system.
    let _ = writeln!(io::stdout(), "selling on http://{address}");
    serve(&listener, &provider);
    Ok(())
}

fn serve(listener: &TcpListener, provider: &Arc<Provider>) {
    let callers = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        while callers.load(Ordering::Acquire) >= CALLERS_MAX {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        callers.fetch_add(1, Ordering::AcqRel);
        let (provider, callers) = (provider.clone(), callers.clone());
        std::thread::spawn(move || {
            // A caller that went away misses its answer; the token tells how the call ended.
            let _ = answer(stream, &provider);
            callers.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

fn answer(stream: TcpStream, provider: &Provider) -> io::Result<()> {
    let mut connection = http::Connection::new(stream)?;
    let request = connection.read_request()?;
    let (status, body) = provider.answer(&request);
    connection.write_answer(status, &body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, String> {
        Arguments::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_command_line_is_read() {
        let arguments = read("--node http://n:1 --service svc_1 --listen 127.0.0.1:0").expect("complete");
        assert_eq!((arguments.service.as_str(), arguments.breach), ("svc_1", false));
        assert!(read("--breach --node http://n:1 --service s --listen l:1").expect("complete").breach);
        for wrong in ["", "--node http://n:1", "--node", "--node http://n:1 --service s --listen l:1 --key k"]
        {
            assert!(read(wrong).map(drop).expect_err(wrong).contains("usage:"), "{wrong}");
        }
    }

    #[test]
    fn nodes_are_named_by_their_address() {
        assert!(AgentPay::new("http://127.0.0.1:3100/", "key".to_owned()).is_ok());
        for wrong in ["127.0.0.1:3100", "https://127.0.0.1:3100", "http://node", "http://node:1/v1"] {
            assert!(AgentPay::new(wrong, "key".to_owned()).is_err(), "{wrong}");
        }
    }
}
