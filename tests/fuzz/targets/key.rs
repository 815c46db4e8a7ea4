//! The key: a query in the first line, headers in the others.
#![no_main]

use aicarpool::key::{self, Found, Parts, Place};
use aicarpool::words::Id;
use aicarpool_fuzz::{first_line, headers};
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (query, lines) = first_line(input);
    let Ok(query) = std::str::from_utf8(query) else { return };
    let headers = headers(lines);
    check_find(&headers, query);
    check_strip(query);
    check_parts(query);
    if let Ok(text) = std::str::from_utf8(lines) {
        check_parts(text);
    }
});

fn check_find(headers: &HeaderMap, query: &str) {
    let found = key::find(headers, Some(query));
    let shown = format!("{found:?}");
    match &found {
        Found::Key(place, key) => {
            assert!(key.starts_with(key::PREFIX));
            assert_eq!(shown, format!("Key({place:?}, ***)"));
            check_parts(key);
        }
        Found::Foreign(_) | Found::None => {
            // Nowhere is there a key then; a credential that is none of ours does not hide one.
            assert!(!matches!(key::find(headers, None), Found::Key(..)));
            assert!(!matches!(key::find(&HeaderMap::new(), Some(query)), Found::Key(..)));
        }
    }
    // Headers count before the query, but for the one of WebSockets.
    if let Found::Key(place, key) = key::find(headers, None)
        && place != Place::WebsocketProtocol
    {
        assert_eq!(found, Found::Key(place, key));
    }
}

fn check_strip(query: &str) {
    let left = key::strip_query(query);
    let text = left.as_deref().unwrap_or_default();
    assert_eq!(key::find(&HeaderMap::new(), Some(text)), Found::None, "a key stays");
    assert_eq!(key::strip_query(text).as_deref().unwrap_or_default(), text, "what is left is stripped again");
    let mut given = query.split('&');
    for pair in text.split('&').filter(|_| left.is_some()) {
        assert!(given.any(|here| here == pair), "{pair:?} was not there, or not in this order");
    }
}

fn check_parts(text: &str) {
    let Some(parts) = Parts::of(text) else { return };
    assert!(Id::is_valid(parts.group) && Id::is_valid(parts.user));
    let random = text.strip_prefix(&format!("{}{}_{}_", key::PREFIX, parts.group, parts.user)).expect("one way to read it");
    assert!((16..=64).contains(&random.len()) && random.bytes().all(|byte| byte.is_ascii_alphanumeric()));
}
