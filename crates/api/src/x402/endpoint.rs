//! Addresses of endpoints: checked when a service is registered, and brought into one spelling, so that whoever asks
//! what a URL costs finds the service that was registered for it.
//!
//! One spelling: scheme and host in lower case, no default port, `/` for an empty path, everything else as it was sent.
//! Non-goals: what may be called. Any address may be registered; the node itself calls one only to verify a service, and
//! judges it then (`webhooks`).

use std::fmt::Write as _;

use http::Uri;

/// Longest address, in characters.
pub(crate) const URL_CHARS_MAX: usize = 2_048;

/// The one spelling of an address.
///
/// # Errors
/// What to change, as a sentence.
pub(crate) fn canonical(text: &str) -> Result<Box<str>, String> {
    if text.is_empty() || text.len() > URL_CHARS_MAX {
        return Err(format!("A URL has 1 to {URL_CHARS_MAX} characters."));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic())
        || text.contains(['"', '<', '>', '\\', '^', '`', '{', '|', '}'])
    {
        return Err(
            "Write the URL in ASCII, with everything else percent-encoded and the host in punycode.".into()
        );
    }
    if text.contains('#') {
        return Err("Leave the fragment (#…) out: it is never sent to a server.".into());
    }
    let uri: Uri = text.parse().map_err(|_| not_a_url())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(not_a_url());
    };
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return Err("Must begin with https:// or http://.".into()),
    };
    if authority.as_str().contains('@') {
        return Err("Leave user name and password out of the URL.".into());
    }
    let host = authority.host().to_ascii_lowercase();
    if host.ends_with('.') {
        return Err("Leave the dot behind the host out.".into());
    }
    if uri.path().split('/').any(is_dots) {
        return Err("Leave . and .. out of the path: clients resolve them before they call.".into());
    }
    if !is_host(&host) {
        return Err(not_a_url());
    }
    let mut url = format!("{scheme}://{host}");
    match port(authority.as_str(), &host) {
        Port::None => {}
        Port::Number(port) if port == default_port => {}
        Port::Number(port) => write!(url, ":{port}").expect("writing to memory cannot fail"),
        Port::Wrong => return Err("The port is not a number from 1 to 65535.".into()),
    }
    url.push_str(if uri.path().is_empty() { "/" } else { uri.path() });
    if let Some(query) = uri.query() {
        write!(url, "?{query}").expect("writing to memory cannot fail");
    }
    Ok(url.into_boxed_str())
}

/// The address without its query: a call with parameters is a call of the same endpoint.
pub(crate) fn without_query(canonical: &str) -> &str {
    canonical.split_once('?').map_or(canonical, |(endpoint, _)| endpoint)
}

fn not_a_url() -> String {
    "Must be a whole URL such as https://api.example.com/weather.".into()
}

/// A name of letters, digits, hyphens and dots, or an address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    host.len() <= 253 && host.split('.').all(label)
}

/// A segment that stands for another path, in any of its spellings.
fn is_dots(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

enum Port {
    None,
    Number(u16),
    Wrong,
}

fn port(authority: &str, host: &str) -> Port {
    match authority[host.len()..].strip_prefix(':') {
        None if authority.len() == host.len() => Port::None,
        Some(digits) if digits.len() <= 5 && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port > 0).map_or(Port::Wrong, Port::Number)
        }
        _ => Port::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_spelling() {
        for (sent, kept) in [
            ("https://api.example.com/weather", "https://api.example.com/weather"),
            ("HTTPS://API.Example.COM/Weather", "https://api.example.com/Weather"),
            ("https://api.example.com", "https://api.example.com/"),
            ("https://api.example.com:443/a", "https://api.example.com/a"),
            ("http://api.example.com:80", "http://api.example.com/"),
            ("https://api.example.com:80/a", "https://api.example.com:80/a"),
            ("http://127.0.0.1:4021/x?city=Bern", "http://127.0.0.1:4021/x?city=Bern"),
            ("http://[2001:DB8::1]:8080/", "http://[2001:db8::1]:8080/"),
            ("http://localhost:08080/", "http://localhost:8080/"),
            ("https://xn--bcher-kva.example/a%20b", "https://xn--bcher-kva.example/a%20b"),
            ("https://a.example?q", "https://a.example/?q"),
            ("https://a.example/.well-known/x..y?../z", "https://a.example/.well-known/x..y?../z"),
        ] {
            assert_eq!(canonical(sent).as_deref(), Ok(kept), "{sent}");
            assert_eq!(canonical(kept).as_deref(), Ok(kept), "the one spelling stays");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_advice() {
        let long = format!("https://a.example/{}", "x".repeat(URL_CHARS_MAX));
        for (sent, word) in [
            ("", "1 to 2048"),
            (long.as_str(), "1 to 2048"),
            ("weather", "whole URL"),
            ("/weather", "whole URL"),
            ("//api.example.com/weather", "whole URL"),
            ("api.example.com:443", "whole URL"),
            ("https://", "whole URL"),
            ("https:///weather", "whole URL"),
            ("ftp://a.example/", "https://"),
            ("javascript://a.example/%0aalert(1)", "https://"),
            ("javascript:alert(1)", "URL"),
            ("data:text/html,x", "URL"),
            ("https://user:secret@a.example/", "password"),
            ("https://good.example@evil.example/", "password"),
            ("https://a.example/#part", "fragment"),
            ("https://a.example:0/", "port"),
            ("https://a.example:65536/", "port"),
            ("https://a.example:/", "port"),
            ("https://a.example:8o/", "port"),
            ("https://a b.example/", "ASCII"),
            ("https://bücher.example/", "ASCII"),
            ("https://a.example/\u{202e}", "ASCII"),
            ("https://a.example/\n", "ASCII"),
            ("https://a.example/<script>", "ASCII"),
            ("https://a.example./x", "dot behind"),
            ("https://a.example/./x", ".. out"),
            ("https://a.example/x/..", ".. out"),
            ("https://a.example/x/%2E%2e/y", ".. out"),
            ("https://a.example/x/.%2e", ".. out"),
            ("https://a..example/", "whole URL"),
            ("https://-$.example/", "whole URL"),
            ("https://[::g]/", "URL"),
        ] {
            let advice = canonical(sent).expect_err(sent);
            assert!(advice.contains(word), "{sent}: {advice}");
        }
    }

    #[test]
    fn a_call_with_parameters_is_a_call_of_its_endpoint() {
        for (url, endpoint) in [
            ("https://a.example/x?city=Bern", "https://a.example/x"),
            ("https://a.example/x", "https://a.example/x"),
            ("https://a.example/?", "https://a.example/"),
        ] {
            assert_eq!(without_query(url), endpoint);
        }
    }
}
