//! Addresses and headers: what may stand as an endpoint, an egress proxy, a listening address, a header that an account adds.
//!
//! None of these faults quotes what was written: an address may hold a password, a header a credential.

use std::net::{Ipv4Addr, SocketAddr};

use super::snapshot::{EgressProxy, Endpoint};
use crate::words::Secret;

/// A base URL, taken apart. `Err` says what would be right.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, &'static str> {
    const FORM: &str = "write one such as https://api.example.com/v1";
    let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err("it begins with https:// or http://"),
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    if authority.contains('@') {
        return Err("it holds no user or password: give the credential under key");
    }
    if text.contains(['?', '#']) {
        return Err("it ends with a path: no ? and no # may stand in it");
    }
    let plain = |b: u8| b.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&b);
    if !path.bytes().all(plain) || path.split('/').any(|part| part == "." || part == "..") || path.contains("//") {
        return Err("its path holds plain segments only, such as /v1");
    }
    let (host, port) = host_and_port(authority, if tls { 443 } else { 80 }).ok_or(FORM)?;
    Ok(Endpoint { tls, host, port, path: path.trim_end_matches('/').to_owned() })
}

/// What would be right for a proxy; never what was written.
#[derive(Debug)]
pub(super) struct ProxyFault(pub(super) &'static str);

/// `http://[user:password@]host:port`.
pub(super) fn proxy(text: &str) -> Result<EgressProxy, ProxyFault> {
    const FORM: ProxyFault = ProxyFault("write http://host:port or http://user:password@host:port");
    let rest =
        text.strip_prefix("http://").ok_or(ProxyFault("a proxy is asked by CONNECT over http://: write http://host:port"))?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err(ProxyFault("a proxy has no path: write http://host:port"));
    }
    let (user, authority) = rest.rsplit_once('@').map_or((None, rest), |(user, authority)| (Some(user), authority));
    let (host, port) = host_and_port(authority, 0).ok_or(FORM)?;
    if port == 0 {
        return Err(ProxyFault("the port is missing: write http://host:port"));
    }
    let authorization = match user {
        None => None,
        Some(user) => {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let (name, password) = (percent_decoded(name).ok_or(FORM)?, percent_decoded(password).ok_or(FORM)?);
            Some(Secret::new(format!("Basic {}", base64(&[&name[..], b":", &password].concat()))))
        }
    };
    Ok(EgressProxy { host, port, authorization })
}

/// `host`, `host:port`, `[::1]:port`; port 0 stands for none given only where `default` is 0.
fn host_and_port(authority: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let is_v6 = authority.starts_with('[');
    if !is_v6 && !is_dns_name(host) && host.parse::<Ipv4Addr>().is_err() {
        return None;
    }
    let port = match port {
        None => default,
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
    };
    Some((host.to_ascii_lowercase(), port))
}

/// Whether `name` may be the name of a host. Underscores are let through: container networks use them.
pub(super) fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_')
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-'
    };
    let bare = name.strip_suffix('.').unwrap_or(name);
    let last_is_number = bare.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    bare.len() <= 253 && bare.split('.').all(label) && !last_is_number
}

/// `127.0.0.1:4000`, `[::1]:4000`; `localhost:4000` is the former.
pub(super) fn listening(text: &str) -> Result<SocketAddr, String> {
    const FORM: &str = "address to listen on; write one such as 127.0.0.1:4000 or [::]:4000";
    let text = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| FORM.to_owned())
}

/// A header that an account adds. Not those that frame the message or belong to one connection, nor those that carry credentials.
pub(super) fn added_header(name: &str) -> Result<http::HeaderName, &'static str> {
    let parsed = parse_header(name)?;
    let name = parsed.as_str();
    const CONNECTION: &[&str] = &[
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
        "content-encoding",
        "content-type",
        "expect",
        "accept-encoding",
        "http2-settings",
    ];
    const CREDENTIAL: &[&str] = &["authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie"];
    if CONNECTION.contains(&name) || name.starts_with("proxy-") {
        return Err("this one belongs to the connection or the body, which the gateway makes itself: leave it out");
    }
    if CREDENTIAL.contains(&name) {
        return Err("this one carries a credential: give that under key, and the way it travels under auth of the service");
    }
    if name.starts_with("x-aicarpool-") {
        return Err("x-aicarpool-* never reach a provider: leave it out");
    }
    Ok(parsed)
}

/// The header of `auth: {header: …}`.
pub(super) fn credential_header(name: &str) -> Result<http::HeaderName, &'static str> {
    match name {
        "authorization" | "x-api-key" | "x-goog-api-key" | "api-key" => parse_header(name),
        _ if name.eq_ignore_ascii_case("authorization") => parse_header(name),
        _ if name.eq_ignore_ascii_case("cookie") => Err("cookies never reach a provider: name another"),
        _ => added_header(name),
    }
}

fn parse_header(name: &str) -> Result<http::HeaderName, &'static str> {
    http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| "a header's name is letters, digits and -, such as x-team")
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digit = |index: usize| after.get(index).and_then(|b| (*b as char).to_digit(16));
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = &after[2..];
    }
    Some(bytes)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, b| group << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = (group >> (18 - 6 * place)) & 63;
            text.push(if place <= chunk.len() { DIGITS[digit as usize] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let check = |text: &str, wanted: Option<(bool, &str, u16, &str)>| {
            let found = endpoint(text).ok();
            let found = found.as_ref().map(|e| (e.tls, e.host.as_str(), e.port, e.path.as_str()));
            assert_eq!(found, wanted, "{text}");
        };
        check("https://api.example.com", Some((true, "api.example.com", 443, "")));
        check("https://API.example.com/", Some((true, "api.example.com", 443, "")));
        check("http://10.1.2.3:8000/v1/", Some((false, "10.1.2.3", 8000, "/v1")));
        check("http://[::1]:8000/v1", Some((false, "::1", 8000, "/v1")));
        check("http://[::1]", Some((false, "::1", 80, "")));
        check("http://vllm_1:8000/c/a-b/v1", Some((false, "vllm_1", 8000, "/c/a-b/v1")));
        for bad in [
            "api.example.com",
            "ftp://a",
            "https://",
            "https://u:p@a",
            "https://a/v1?x=1",
            "https://a/#x",
            "https://a:0",
            "https://a:99999",
            "https://a b",
            "https://a/../v1",
            "https://a//v1",
            "https://[::1",
            "https://1.2.3",
            "https://a/\u{e4}",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn proxies() {
        let found = proxy("http://user:p%40ss@10.0.0.1:3128").unwrap();
        assert_eq!((found.host.as_str(), found.port), ("10.0.0.1", 3128));
        assert_eq!(found.authorization.unwrap().expose(), "Basic dXNlcjpwQHNz");
        assert!(proxy("http://proxy:3128/").unwrap().authorization.is_none());
        for bad in ["https://a:1", "http://a", "http://a:1/x", "socks5://a:1", "http://u:%zz@a:1"] {
            assert!(proxy(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn base64_of_every_remainder() {
        assert_eq!(["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes())), ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}
