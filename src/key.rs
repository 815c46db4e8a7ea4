//! Whose key is in this request.
//!
//! A key is `aicp_<group>_<user>_<random>`: the random part has 16 to 64 letters or digits. It may stand in six places, because
//! clients are made for three vendors; some send two at once, of which only one is ours. The first that starts with `aicp_`
//! counts, in this order:
//!
//! 1. `authorization: Bearer`, 2. `x-api-key`, 3. `x-goog-api-key`, 4. `api-key`, 5. `?key=`,
//! 6. `sec-websocket-protocol: openai-insecure-api-key.`
//!
//! Keys are known by their SHA-256 only. A key that does not exist costs the same work as one that does.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use sha2::{Digest, Sha256};

use crate::clock;
use crate::config::snapshot::{Key, Snapshot};
use crate::words::{Code, Id, Refusal, Secret, UnixMs};

/// What every key of this gateway starts with.
pub const PREFIX: &str = "aicp_";

/// Query parameters that carry credentials: none of them reaches a provider.
const QUERY_SECRETS: [&str; 3] = ["key", "access_token", "oauth_token"];

/// How browsers carry a key into a WebSocket, among other sub-protocols.
const WEBSOCKET_PREFIX: &str = "openai-insecure-api-key.";

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Authorization,
    XApiKey,
    XGoogApiKey,
    ApiKey,
    Query,
    WebsocketProtocol,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Place::Authorization => "authorization",
            Place::XApiKey => "x-api-key",
            Place::XGoogApiKey => "x-goog-api-key",
            Place::ApiKey => "api-key",
            Place::Query => "?key=",
            Place::WebsocketProtocol => "sec-websocket-protocol",
        }
    }
}

/// What was found of a key in a request.
#[derive(Clone, PartialEq, Eq)]
pub enum Found<'a> {
    None,
    /// Something stands where a key belongs, but it is none of ours.
    Foreign(Place),
    Key(Place, Cow<'a, str>),
}

impl fmt::Debug for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::None => f.write_str("None"),
            Found::Foreign(place) => write!(f, "Foreign({place:?})"),
            Found::Key(place, _) => write!(f, "Key({place:?}, ***)"),
        }
    }
}

/// Looks for the caller's key in all its places.
pub fn find<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Found<'a> {
    let mut foreign = None;
    for (place, value) in places(headers, query) {
        if value.starts_with(PREFIX) {
            return Found::Key(place, value);
        }
        if !value.is_empty() {
            foreign.get_or_insert(place);
        }
    }
    foreign.map_or(Found::None, Found::Foreign)
}

/// Everything that stands where a key may, in the order in which it counts.
fn places<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> impl Iterator<Item = (Place, Cow<'a, str>)> {
    let values = |name| headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).map(str::trim);
    let plain = move |place: Place| values(place.name()).map(move |value| (place, Cow::Borrowed(value)));
    let bearer = values("authorization").filter_map(bearer).map(|value| (Place::Authorization, Cow::Borrowed(value)));
    let in_query = pairs(query.unwrap_or_default())
        .filter(|(name, _)| percent_decoded(name) == "key")
        .map(|(_, value)| (Place::Query, percent_decoded(value)));
    let websocket = values("sec-websocket-protocol")
        .flat_map(|list| list.split(','))
        .filter_map(|item| item.trim().strip_prefix(WEBSOCKET_PREFIX))
        .map(|value| (Place::WebsocketProtocol, Cow::Borrowed(value)));
    bearer
        .chain(plain(Place::XApiKey))
        .chain(plain(Place::XGoogApiKey))
        .chain(plain(Place::ApiKey))
        .chain(in_query)
        .chain(websocket)
}

/// What follows `Bearer`, whatever its case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, rest) = value.split_once([' ', '\t'])?;
    scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim())
}

/// The caller's key, if it may be used just now from `client`: all checks that need neither path nor body.
pub fn identify(
    headers: &HeaderMap,
    query: Option<&str>,
    client: IpAddr,
    snapshot: &Snapshot,
    now: UnixMs,
) -> Result<Arc<Key>, Refusal> {
    let (place, text) = match find(headers, query) {
        Found::Key(place, text) => (place, text),
        Found::Foreign(place) => {
            return Err(Refusal::new(
                Code::UnknownKey,
                format!(
                    "the key in {} is not one of this gateway: they start with {PREFIX}; ask who runs it for one",
                    place.name()
                ),
            ));
        }
        Found::None => {
            return Err(Refusal::new(
                Code::MissingKey,
                format!("no key was sent: put yours ({PREFIX}…) into authorization: Bearer, x-api-key or x-goog-api-key"),
            ));
        }
    };
    // Hashed before anything is judged, so that a malformed key takes as long as any other.
    let known = snapshot.keys.get(&hash(&text));
    let Some(key) = known.filter(|_| Parts::of(&text).is_some()) else {
        let what = if Parts::of(&text).is_some() { "is not known here" } else { "is incomplete" };
        return Err(Refusal::new(
            Code::UnknownKey,
            format!("the key in {} {what}: copy it anew, or ask who runs this gateway for another", place.name()),
        ));
    };
    may_be_used(key, client, now).map(|()| Arc::clone(key))
}

fn may_be_used(key: &Key, client: IpAddr, now: UnixMs) -> Result<(), Refusal> {
    let ask = "ask who runs this gateway";
    let refusal = if !key.enabled {
        (Code::KeyDisabled, format!("key {} is disabled; {ask}", key.name))
    } else if key.expires.is_some_and(|end| now >= end) {
        (Code::KeyExpired, format!("key {} has expired; {ask} for a new one", key.name))
    } else if !key.allows(client.to_canonical()) {
        (Code::AddressNotAllowed, format!("key {} may not be used from {}; {ask} to allow it", key.name, client.to_canonical()))
    } else if !key.user.enabled {
        (Code::UserDisabled, format!("user {} is disabled; {ask}", key.user.id))
    } else if !key.group.enabled {
        (Code::GroupDisabled, format!("group {} is disabled; {ask}", key.group.id))
    } else {
        return Ok(());
    };
    Err(Refusal::new(refusal.0, refusal.1))
}

/// What a key is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    pub group: &'a str,
    pub user: &'a str,
}

impl<'a> Parts<'a> {
    /// The parts of a well-formed key. Ids hold no underscore, so there is one way to read it.
    pub fn of(key: &'a str) -> Option<Parts<'a>> {
        let mut parts = key.strip_prefix(PREFIX)?.split('_');
        let (group, user, random) = (parts.next()?, parts.next()?, parts.next()?);
        let well_formed = parts.next().is_none()
            && Id::is_valid(group)
            && Id::is_valid(user)
            && (16..=64).contains(&random.len())
            && random.bytes().all(|b| b.is_ascii_alphanumeric());
        well_formed.then_some(Parts { group, user })
    }
}

/// The SHA-256 of the whole key.
pub fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// `sha256:` and the hex digits of the key's hash, as `hash:` in YAML takes it.
pub fn hash_text(key: &str) -> String {
    format!("sha256:{}", hex(&hash(key)))
}

/// A new key of this user in this group, with 32 hex digits of randomness.
pub fn new_key(group: &Id, user: &Id) -> Secret {
    Secret::new(format!("{PREFIX}{group}_{user}_{}", hex(&clock::random_bytes::<16>())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |text, byte| text + &format!("{byte:02x}"))
}

/// The query without what carries credentials (names compared percent-decoded, each time they occur); `None` when nothing is left.
pub fn strip_query(query: &str) -> Option<String> {
    let secret = |pair: &str| QUERY_SECRETS.contains(&&*percent_decoded(pair.split('=').next().unwrap_or_default()));
    let kept: Vec<&str> = query.split('&').filter(|pair| !secret(pair)).collect();
    let kept = kept.join("&");
    (!kept.is_empty()).then_some(kept)
}

/// The names and values of a query, as written.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// A text with its `%XX` undone. What is then no UTF-8 gives U+FFFD, which is part of no key and no name.
pub(crate) fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push(high * 16 + low);
                at += 3;
            }
            _ => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "aicp_frontend_alice_640b9937285908fa640b9937285908fa";

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(http::HeaderName::try_from(name).unwrap(), http::HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[track_caller]
    fn check(lines: &[&str], query: Option<&str>, expected: Option<(Place, &str)>) {
        let headers = headers(lines);
        let found = match find(&headers, query) {
            Found::Key(place, key) => Some((place, key.into_owned())),
            Found::None | Found::Foreign(_) => None,
        };
        assert_eq!(found, expected.map(|(place, key)| (place, key.to_string())), "{lines:?} {query:?}");
    }

    #[test]
    fn every_place() {
        check(&["authorization: Bearer aicp_a"], None, Some((Place::Authorization, "aicp_a")));
        check(&["authorization: bEaReR   aicp_a "], None, Some((Place::Authorization, "aicp_a")));
        check(&["x-api-key: aicp_a"], None, Some((Place::XApiKey, "aicp_a")));
        check(&["x-goog-api-key: aicp_a"], None, Some((Place::XGoogApiKey, "aicp_a")));
        check(&["api-key: aicp_a"], None, Some((Place::ApiKey, "aicp_a")));
        check(&[], Some("alt=sse&key=aicp_a"), Some((Place::Query, "aicp_a")));
        check(&[], Some("%6bey=aicp%5Fa%5f"), Some((Place::Query, "aicp_a_")));
        check(
            &["sec-websocket-protocol: realtime, openai-insecure-api-key.aicp_a"],
            None,
            Some((Place::WebsocketProtocol, "aicp_a")),
        );
    }

    #[test]
    fn the_first_of_ours_counts() {
        check(&["authorization: Bearer sk-ant", "x-api-key: aicp_a"], None, Some((Place::XApiKey, "aicp_a")));
        check(&["x-api-key: aicp_b", "authorization: Bearer aicp_a"], None, Some((Place::Authorization, "aicp_a")));
        check(&["x-api-key: other", "x-api-key: aicp_b"], None, Some((Place::XApiKey, "aicp_b")));
        check(&["authorization: Basic aicp_a"], None, None);
        check(&["authorization: aicp_a"], None, None);
        check(&["x-goog-api-key: AIza"], Some("key=aicp_q&key=aicp_r"), Some((Place::Query, "aicp_q")));
        check(&[], Some("access_token=aicp_a"), None);
        assert_eq!(find(&headers(&["api-key: sk"]), None), Found::Foreign(Place::ApiKey));
        assert_eq!(find(&headers(&["api-key: "]), None), Found::None);
    }

    #[test]
    fn what_a_key_is() {
        let good = |key: &str| Parts::of(key).is_some();
        assert!(good(KEY));
        assert!(good("aicp_g_u_0123456789abcDEF"));
        assert!(Parts::of(KEY).is_some_and(|p| p.group == "frontend" && p.user == "alice"));
        let too_long = format!("aicp_g_u_{}", "a".repeat(65));
        for bad in [
            "aicp_g_u_0123456789abcde",
            "aicp_g_u",
            "aicp_g_u_0123456789abcdef_x",
            "aicp_G_u_0123456789abcdef",
            "aicp__u_0123456789abcdef",
            "aicp_g_u_0123456789abcde-",
            "sk-g_u_0123456789abcdef",
            &too_long,
        ] {
            assert!(!good(bad), "{bad}");
        }
        let new = new_key(&Id::from("g"), &Id::from("u-2"));
        assert!(good(new.expose()) && new.expose().len() == "aicp_g_u-2_".len() + 32);
        assert_ne!(new.expose(), new_key(&Id::from("g"), &Id::from("u-2")).expose());
    }

    #[test]
    fn queries_lose_their_secrets() {
        let strip = |query| strip_query(query).unwrap_or_default();
        assert_eq!(strip("alt=sse&key=aicp_a&x=1"), "alt=sse&x=1");
        assert_eq!(strip("key=a&key=b&%6Bey=c&access%5ftoken=d&oauth_token"), "");
        assert_eq!(strip("beta=true"), "beta=true");
        assert_eq!(strip("keys=1&mykey=2&Key=3"), "keys=1&mykey=2&Key=3");
        assert_eq!(strip("a=%20+b&c"), "a=%20+b&c");
    }

    #[test]
    fn hashes_as_yaml_takes_them() {
        expect_test::expect!["sha256:d8a03c8e2e701d4dd53721fe61bc911b29540c3ff2d44a1df783cb2a5963ff91"]
            .assert_eq(&hash_text(KEY));
    }

    /// A snapshot's key that may be used, altered by `change`; refused with this code, or not.
    #[track_caller]
    fn check_use(change: impl FnOnce(&mut Key, &mut Group, &mut User), expected: Option<Code>) {
        let (mut key, mut group, mut user) = usable();
        change(&mut key, &mut group, &mut user);
        (key.group, key.user) = (Arc::new(group), Arc::new(user));
        let client = "::ffff:10.0.0.7".parse().unwrap();
        assert_eq!(may_be_used(&key, client, UnixMs(1000)).err().map(|refusal| refusal.code), expected);
    }

    #[test]
    fn who_may_use_a_key() {
        check_use(|_, _, _| (), None);
        check_use(|key, _, _| key.enabled = false, Some(Code::KeyDisabled));
        check_use(|key, _, _| key.expires = Some(UnixMs(1000)), Some(Code::KeyExpired));
        check_use(|key, _, _| key.expires = Some(UnixMs(1001)), None);
        check_use(|key, _, _| key.allow_from = Some(vec!["10.0.0.0/8".parse().unwrap()]), None);
        check_use(|key, _, _| key.allow_from = Some(vec!["10.0.1.0/24".parse().unwrap()]), Some(Code::AddressNotAllowed));
        check_use(|key, _, _| key.allow_from = Some(vec![]), Some(Code::AddressNotAllowed));
        check_use(|_, _, user| user.enabled = false, Some(Code::UserDisabled));
        check_use(|_, group, _| group.enabled = false, Some(Code::GroupDisabled));
    }

    use crate::config::snapshot::{Enterprise, Failover, Group, Mode, Role, Timeouts, User, Wishes};
    use crate::words::{Factor, Nanodollars, Operations};

    fn usable() -> (Key, Group, User) {
        let second = std::time::Duration::from_secs(1);
        let timeouts = Timeouts { connect: second, first_byte: second, stream_start: second, idle: second, total: second };
        let group = || Group {
            id: Id::from("frontend"),
            enterprise: Arc::new(Enterprise {
                id: Id::from("default"),
                name: String::new(),
                charge_factor: Factor::ONE,
                fixed_cost: Nanodollars(0),
                departments: vec![],
                projects: vec![],
            }),
            department: None,
            project: None,
            mode: Mode::Dedicated,
            tiers: vec![],
            strategy: None,
            sticky: true,
            models: None,
            operations: Operations::DEFAULT,
            wishes: Wishes { service: true, strategy: true, tag: true },
            model_fallbacks: vec![],
            failover: Failover { max_attempts: 3, deadline: second, timeouts },
            max_members: None,
            enabled: true,
            priority_level: crate::config::snapshot::PriorityLevel::Medium,
        };
        let user = || User {
            id: Id::from("alice"),
            name: String::new(),
            email: None,
            groups: vec![],
            role: Role::Member,
            enabled: true,
            preference: vec![],
            own_keys: vec![],
        };
        let key = Key {
            hash: hash(KEY),
            name: "laptop".into(),
            group: Arc::new(group()),
            user: Arc::new(user()),
            services: None,
            models: None,
            operations: None,
            expires: None,
            allow_from: None,
            enabled: true,
            buffered: Default::default(),
        };
        (key, group(), user())
    }

    proptest! {
        #[test]
        fn nothing_panics(query: String, value in "[ -~]{0,40}") {
            let headers = headers(&[&format!("authorization: {value}"), &format!("sec-websocket-protocol: {value}")]);
            let found = find(&headers, Some(&query));
            let shown = format!("{:?}", found);
            prop_assert!(!shown.contains("aicp_"));
            let _query = strip_query(&query);
            let _parts = Parts::of(&query);
        }

        #[test]
        fn no_secret_stays(before in "[a-z=&%0-9]{0,20}", after in "[a-z=&%0-9]{0,20}") {
            let left = strip_query(&format!("{before}&key=aicp_secret&{after}")).unwrap_or_default();
            prop_assert!(!left.contains("aicp_secret"));
        }
    }
}
