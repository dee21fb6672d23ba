//! URLs of receivers, judged before anything is resolved. One parser reads the URL, and what it read is what is resolved,
//! connected to and named in the request: there is no second opinion to disagree with.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

use super::Reach;

/// Longest URL, in characters.
pub const URL_CHARS_MAX: usize = 2_048;

/// Names that never belong to the public Internet, with everything below them.
const PRIVATE_NAMES: [&str; 9] =
    ["localhost", "local", "localdomain", "internal", "intranet", "lan", "home.arpa", "corp", "onion"];

/// Where requests may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub is_tls: bool,
    pub host: Host,
    pub port: u16,
    /// Path and query, never empty.
    pub path: Box<str>,
    /// The URL in its one spelling.
    pub url: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// In lower case, without a trailing dot.
    Name(Box<str>),
    Address(IpAddr),
}

impl Target {
    /// Reads a URL that may be called.
    ///
    /// # Errors
    /// What to change, as a sentence.
    pub fn parse(text: &str, reach: Reach) -> Result<Target, String> {
        if text.is_empty() || text.len() > URL_CHARS_MAX {
            return Err(format!("A URL has 1 to {URL_CHARS_MAX} characters."));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic())
            || text.contains(['"', '<', '>', '\\', '^', '`', '{', '|', '}'])
        {
            return Err(
                "Write the URL in ASCII, with everything else percent-encoded and the host in punycode."
                    .into(),
            );
        }
        if text.contains('#') {
            return Err("Leave the fragment (#…) out: it is never sent to a server.".into());
        }
        let uri: Uri = text.parse().map_err(|_| no_url())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(no_url());
        };
        let is_tls = match (scheme.to_ascii_lowercase().as_str(), reach) {
            ("https", _) => true,
            ("http", Reach::Development) => false,
            _ => return Err("Must begin with https://.".into()),
        };
        if authority.as_str().contains('@') {
            return Err("Leave user name and password out of the URL.".into());
        }
        let host_text = authority.host().to_ascii_lowercase();
        let host = host(&host_text)?;
        judge(&host, reach)?;
        let default_port = if is_tls { 443 } else { 80 };
        let port = port(authority.as_str(), &host_text, default_port)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let scheme = if is_tls { "https" } else { "http" };
        let url = format!("{scheme}://{}{path}", authority_text(&host, port, default_port));
        Ok(Target { is_tls, host, port, path: path.into(), url: url.into() })
    }

    /// What the `Host` header says.
    pub fn authority(&self) -> String {
        authority_text(&self.host, self.port, if self.is_tls { 443 } else { 80 })
    }

    /// The same place with another path.
    pub fn at(&self, path: &str) -> Target {
        let scheme = if self.is_tls { "https" } else { "http" };
        let url = format!("{scheme}://{}{path}", self.authority());
        Target { path: path.into(), url: url.into(), ..self.clone() }
    }
}

fn authority_text(host: &Host, port: u16, default_port: u16) -> String {
    let mut text = match host {
        Host::Name(name) => name.to_string(),
        Host::Address(IpAddr::V4(address)) => address.to_string(),
        Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
    };
    if port != default_port {
        write!(text, ":{port}").expect("writing to memory cannot fail");
    }
    text
}

fn no_url() -> String {
    "Must be a whole URL such as https://example.com/agentpay/webhooks.".into()
}

fn host(text: &str) -> Result<Host, String> {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| no_url())?;
        return Ok(Host::Address(address.into()));
    }
    if text.ends_with('.') {
        return Err("Leave the dot at the end of the host out.".into());
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if text.len() > 253 || !text.split('.').all(is_label) {
        return Err(no_url());
    }
    // Resolvers read such a host as an address in octal, hexadecimal or one number, each in its own way.
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_number {
        let address: Ipv4Addr = text.parse().map_err(|_| {
            String::from("Write an IPv4 address as four decimal numbers without leading zeros.")
        })?;
        return Ok(Host::Address(address.into()));
    }
    Ok(Host::Name(text.into()))
}

fn judge(host: &Host, reach: Reach) -> Result<(), String> {
    match host {
        Host::Address(address) if reach.allows(*address) => Ok(()),
        Host::Address(_) => {
            Err("The address is not a public one. Only receivers on the public Internet are called.".into())
        }
        Host::Name(name) => {
            let is_below = |private: &&str| {
                name.strip_suffix(*private).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            let is_loopback = &**name == "localhost" && reach == Reach::Development;
            let is_private = PRIVATE_NAMES.iter().any(is_below) || !name.contains('.');
            if is_private && !is_loopback {
                return Err(
                    "The host is not a public name. Only receivers on the public Internet are called.".into(),
                );
            }
            Ok(())
        }
    }
}

fn port(authority: &str, host: &str, default_port: u16) -> Result<u16, String> {
    let wrong = || String::from("The port is not a number from 1 to 65535.");
    let rest = authority.get(host.len()..).unwrap_or_default();
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Ok(default_port),
        Some(digits) if digits.len() <= 5 && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}
