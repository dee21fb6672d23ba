//! The table of URLs that must not get the node to call anything inside, and what a resolver may answer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use super::*;

/// Hosts that are refused before anything is resolved; `{}` stands for the host in `https://{}/hook`.
const REFUSED_HOSTS: &[&str] = &[
    // Loopback, in its many spellings.
    "127.0.0.1",
    "127.1.2.3",
    "127.255.255.254",
    "127.1",
    "127.0.1",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "0x7f.0.0.1",
    "0x7f000001",
    "0x7f.1",
    "127.0.0.0x1",
    "127.0.0.01",
    "0",
    "0.0.0.0",
    "00.0.0.0",
    "0x0",
    "localhost",
    "LOCALHOST",
    "foo.localhost",
    "a.b.localhost",
    "localhost.localdomain",
    "localhost.",
    "127.0.0.1.",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    // Private networks.
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "012.0.0.1",
    "0xa.0.0.1",
    "0xC0A80001",
    "3232235521",
    "10.1",
    "192.168.1",
    "[fc00::1]",
    "[fdff:ffff::1]",
    "[fec0::1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:192.168.0.1]",
    "[::ffff:0:10.0.0.1]",
    // Link-local and the metadata services of clouds.
    "169.254.169.254",
    "169.254.0.1",
    "169.254.170.2",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[fe80::1]",
    "[fe80::a9fe:a9fe]",
    "[febf::1]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "metadata.google.internal",
    "metadata",
    "instance-data.ec2.internal",
    // Translated and tunnelled forms, whatever they carry.
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b::8.8.8.8]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2002:808:808::1]",
    "[2001::1]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "[2001:10::1]",
    "[2001:20::1]",
    "[2001:2::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[3ffe::1]",
    "[2620:4f:8000::1]",
    "[5f00::1]",
    "[100::1]",
    "[2600:1f18::5efe:a00:1]",
    "[2600:1f18::200:5efe:a00:1]",
    "[::8.8.8.8]",
    "[::ffff:8.8.8.8]",
    // Documentation, benchmarking, multicast, reserved, broadcast.
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "198.18.0.1",
    "198.19.255.255",
    "192.88.99.1",
    "192.175.48.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "0.1.2.3",
    "[ff02::1]",
    "[ff05::2]",
    // Names that no public resolver knows.
    "intranet",
    "router",
    "printer.local",
    "db.internal",
    "wiki.corp",
    "nas.lan",
    "host.home.arpa",
    "gate.localdomain",
    "abc.onion",
    "x.intranet",
    // No hosts at all, or not in one spelling.
    "example.com.",
    "example..com",
    ".example.com",
    "-",
    "exa mple.com",
    "ex\u{e4}mple.com",
    "\u{ff4c}ocalhost",
    "127\u{3002}0\u{3002}0\u{3002}1",
    "\u{2460}27.0.0.1",
    "1.2.3.4.5",
    "256.1.1.1",
    "1.1.1.256",
    "1.1.1",
    "0x",
    "1.2.3.0x04",
    "08.8.8.8",
    "8.8.8.08",
    "[fe80::1%25eth0]",
    "[::1",
    "::1",
    "[1.1.1.1]",
    "[]",
    "%31%32%37.0.0.1",
    "example.com%00.internal",
    "127.0.0.1%2f",
];

/// Whole URLs that are refused for other reasons than their host alone.
const REFUSED_URLS: &[&str] = &[
    "",
    "example.com/hook",
    "//example.com/hook",
    "/hook",
    "https://",
    "https:///hook",
    "https:example.com",
    "http://example.com/hook",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript://example.com/%0aalert(1)",
    "data:text/plain,x",
    "https://user@example.com/",
    "https://user:secret@example.com/",
    "https://example.com@127.0.0.1/",
    "https://127.0.0.1@example.com/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:/",
    "https://example.com:44x/",
    "https://example.com:443:443/",
    "https://example.com/#x",
    "https://example.com/a b",
    "https://example.com/\n",
    "https://example.com\\@127.0.0.1/",
    "https://example.com/\\x",
    "https://example.com/<x>",
    "https://example.com/\u{202e}",
    "https://[::1]:443/",
    "https://127.0.0.1:8443/",
];

#[test]
fn a_hundred_and_fifty_urls_and_more_are_refused_before_anything_is_resolved() {
    assert!(REFUSED_HOSTS.len() + REFUSED_URLS.len() >= 150, "{}", REFUSED_HOSTS.len() + REFUSED_URLS.len());
    for host in REFUSED_HOSTS {
        let url = format!("https://{host}/hook");
        let advice = Target::parse(&url, Reach::Global).expect_err(&url);
        assert!(advice.ends_with('.') && advice.len() > 10, "{url}: {advice}");
    }
    for url in REFUSED_URLS {
        assert!(Target::parse(url, Reach::Global).is_err(), "{url}");
    }
    let long = format!("https://example.com/{}", "x".repeat(URL_CHARS_MAX));
    assert!(Target::parse(&long, Reach::Global).is_err());
}

#[test]
fn public_urls_have_one_spelling() {
    for (sent, kept, authority) in [
        ("https://example.com/agentpay/webhooks", "https://example.com/agentpay/webhooks", "example.com"),
        ("HTTPS://Example.COM", "https://example.com/", "example.com"),
        ("https://example.com:443/a?b=c", "https://example.com/a?b=c", "example.com"),
        ("https://example.com?x", "https://example.com/?x", "example.com"),
        ("https://example.com:8443/", "https://example.com:8443/", "example.com:8443"),
        ("https://8.8.8.8/", "https://8.8.8.8/", "8.8.8.8"),
        ("https://[2606:4700::1111]:8443/x", "https://[2606:4700::1111]:8443/x", "[2606:4700::1111]:8443"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("https://a_b.example.com/", "https://a_b.example.com/", "a_b.example.com"),
    ] {
        let target = Target::parse(sent, Reach::Global).expect(sent);
        assert_eq!((&*target.url, target.authority()), (kept, authority.to_owned()), "{sent}");
        assert_eq!(Target::parse(kept, Reach::Global).expect(kept), target, "the one spelling stays");
    }
    let moved = Target::parse("https://example.com:8443/a?b", Reach::Global).expect("a URL").at("/c");
    assert_eq!((&*moved.url, &*moved.path), ("https://example.com:8443/c", "/c"));
}

#[test]
fn development_reaches_this_machine_and_nothing_else_inside() {
    for url in ["http://127.0.0.1:4021/x", "http://localhost:1/", "http://[::1]:1/", "https://localhost/"] {
        assert!(Target::parse(url, Reach::Development).is_ok(), "{url}");
        assert!(Target::parse(url, Reach::Global).is_err(), "{url}");
    }
    for url in [
        "http://10.0.0.1/",
        "http://169.254.169.254/",
        "http://[::ffff:127.0.0.1]/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://foo.localhost/",
        "http://router/",
        "http://[fe80::1]/",
    ] {
        assert!(Target::parse(url, Reach::Development).is_err(), "{url}");
    }
}

#[test]
fn addresses_at_the_borders_of_their_networks() {
    for (address, expected) in [
        ("9.255.255.255", true),
        ("11.0.0.0", true),
        ("100.63.255.255", true),
        ("100.128.0.0", true),
        ("126.255.255.255", true),
        ("128.0.0.0", true),
        ("169.253.255.255", true),
        ("169.255.0.0", true),
        ("172.15.255.255", true),
        ("172.32.0.0", true),
        ("192.167.255.255", true),
        ("192.169.0.0", true),
        ("198.17.255.255", true),
        ("198.20.0.0", true),
        ("223.255.255.255", true),
        ("168.63.129.15", true),
        ("168.63.129.17", true),
        ("0.255.255.255", false),
        ("1.0.0.0", true),
        ("224.0.0.0", false),
        ("192.0.1.0", true),
        ("192.0.0.255", false),
        ("203.0.112.255", true),
        ("203.0.114.0", true),
        ("2000::1", true),
        ("3fff:1000::1", true),
        ("3fff:fff::1", false),
        ("1fff:ffff::1", false),
        ("4000::1", false),
        ("2001:1ff:ffff::1", false),
        ("2001:200::1", true),
        ("2001:db7:ffff::1", true),
        ("2001:db9::1", true),
        ("2003::1", true),
        ("2001:ffff::1", true),
        ("2a00:1450:4001:82a::200e", true),
    ] {
        let parsed: IpAddr = address.parse().expect(address);
        assert_eq!(is_global(parsed), expected, "{address}");
    }
}

/// Answers with one list after the other, and counts the questions.
struct Scripted(Mutex<Vec<Vec<&'static str>>>);

impl Resolve for Scripted {
    fn resolve<'r>(&'r self, _: &'r str) -> Resolving<'r> {
        let mut script = self.0.lock().expect("one test");
        let next = if script.is_empty() { None } else { Some(script.remove(0)) };
        Box::pin(async move {
            let addresses = next.ok_or_else(|| io::Error::other("no such name"))?;
            Ok(addresses.iter().map(|address| address.parse().expect("an address")).collect())
        })
    }
}

#[tokio::test]
async fn every_address_of_a_name_is_judged_at_every_attempt() {
    let target = Target::parse("https://example.com:8443/", Reach::Global).expect("a URL");
    let ask = async |answers: Vec<&'static str>| {
        let resolver = Scripted(Mutex::new(vec![answers]));
        pin(&target, Reach::Global, &resolver).await.map(|pinned| pinned.addresses)
    };
    let expected: SocketAddr = "93.184.216.34:8443".parse().expect("an address");
    assert_eq!(ask(vec!["93.184.216.34"]).await, Ok(vec![expected]));
    for inside in
        ["127.0.0.1", "10.0.0.7", "169.254.169.254", "::1", "::ffff:169.254.169.254", "64:ff9b::a00:1"]
    {
        assert_eq!(ask(vec![inside]).await, Err(Unreachable::Refused), "{inside}");
        assert_eq!(
            ask(vec!["93.184.216.34", inside]).await,
            Err(Unreachable::Refused),
            "mixed with {inside}"
        );
    }
    assert_eq!(ask(vec![]).await, Err(Unreachable::Unresolved));
    let many = ask(vec!["1.1.1.1"; 40]).await.expect("global");
    assert_eq!(many.len(), 4);
}

#[tokio::test]
async fn a_name_that_changes_its_meaning_is_asked_once_per_attempt() {
    let target = Target::parse("https://rebind.example.com/", Reach::Global).expect("a URL");
    let resolver = Scripted(Mutex::new(vec![vec!["93.184.216.34"], vec!["127.0.0.1"]]));
    let pinned = pin(&target, Reach::Global, &resolver).await.expect("global the first time");
    assert_eq!(pinned.addresses[0].ip(), "93.184.216.34".parse::<IpAddr>().expect("an address"));
    assert_eq!(resolver.0.lock().expect("one test").len(), 1, "one question for one attempt");
    assert_eq!(pin(&target, Reach::Global, &resolver).await.map(drop), Err(Unreachable::Refused));
    assert_eq!(pin(&target, Reach::Global, &resolver).await.map(drop), Err(Unreachable::Unresolved));
    let literal = Target::parse("https://8.8.8.8/", Reach::Global).expect("a URL");
    assert!(pin(&literal, Reach::Global, &resolver).await.is_ok(), "an address is not resolved");
}
