//! What looks at a stream on its way to the client: framing, the strip of the usage chunk, the first event. Five bytes of settings
//! (operation, bound, three sizes of pieces), then the stream.
#![no_main]

use std::fmt;
use std::ops::ControlFlow;

use aicarpool::dialect::{self, First, FirstEvent};
use aicarpool::meter::Strip;
use aicarpool::sse::Events;
use aicarpool::words::{Dialect, Operation};
use aicarpool_fuzz::{Settings, pieces};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::Value as Json;

const OPERATIONS: [(Dialect, Operation); 8] = [
    (Dialect::Openai, Operation::Chat),
    (Dialect::Anthropic, Operation::Messages),
    (Dialect::Openai, Operation::Responses),
    (Dialect::Gemini, Operation::Generate),
    (Dialect::Openai, Operation::Completions),
    (Dialect::Openai, Operation::Images),
    (Dialect::Openai, Operation::Audio),
    (Dialect::Openai, Operation::Embeddings),
];
const BOUNDS: [usize; 4] = [1 << 20, 64, 8, 0];
const KINDS: [&str; 5] = ["claude", "openai", "gemini", "qwen", "minimax"];

fuzz_target!(|input: &[u8]| {
    let Some((mut settings, stream)) = Settings::split(input, 5) else { return };
    let (dialect, operation) = settings.pick(&OPERATIONS);
    let bound = settings.pick(&BOUNDS);
    let sizes = [settings.below(255), settings.below(64), settings.below(16)];
    check_framing(stream, &sizes, bound);
    check_strip(stream, &sizes);
    check_first(stream, &sizes, dialect, operation);
    for kind in KINDS {
        if let Some(failure) = dialect::error_in_json(kind, dialect, operation, stream) {
            check_failure(&failure);
        }
    }
});

type Framed = Vec<(Vec<u8>, Vec<u8>, bool)>;

/// The events, and the one that came without its blank line.
fn events<'a>(chunks: impl Iterator<Item = &'a [u8]>, bound: usize) -> (Framed, Framed) {
    let mut events = Events::new(bound);
    let (mut found, mut last) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let flow = events.feed(chunk, |event| {
            assert!(event.name.len() <= bound && event.data.len() <= bound);
            found.push((event.name.to_vec(), event.data.to_vec(), event.truncated));
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
    }
    last.extend(events.end().map(|event| (event.name.to_vec(), event.data.to_vec(), event.truncated)));
    (found, last)
}

fn check_framing(stream: &[u8], sizes: &[usize], bound: usize) {
    assert_eq!(events(pieces(stream, sizes), bound), events(std::iter::once(stream), bound));
}

fn strip<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut strip = Strip::new();
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend_from_slice(&strip.feed(Bytes::copy_from_slice(chunk)));
    }
    out.extend_from_slice(&strip.end());
    out
}

fn check_strip(stream: &[u8], sizes: &[usize]) {
    let out = strip(std::iter::once(stream));
    assert_eq!(strip(pieces(stream, sizes)).escape_ascii().to_string(), out.escape_ascii().to_string());
    let mut given = stream.iter();
    assert!(out.iter().all(|byte| given.any(|here| here == byte)), "bytes that were not there");
    check_what_was_stripped(stream, &out);
}

/// Exactly the usage chunks are gone, as another parser reads them; where it can read all.
fn check_what_was_stripped(stream: &[u8], out: &[u8]) {
    if stream.contains(&0xEF) {
        return; // a byte order mark that comes to stand first counts as one
    }
    let (given, last) = events(std::iter::once(stream), usize::MAX);
    let mut expected = Vec::new();
    for event in given.iter().chain(&last) {
        match is_usage_chunk(&event.1) {
            Some(true) => {}
            Some(false) => expected.push(event),
            None => return,
        }
    }
    let (found, last) = events(std::iter::once(out), usize::MAX);
    assert!(found.iter().chain(&last).eq(expected), "{}", out.escape_ascii());
}

/// `None`: cannot be told.
fn is_usage_chunk(data: &[u8]) -> Option<bool> {
    if data.trim_ascii() == b"[DONE]" {
        return Some(false);
    }
    let value: Json = serde_json::from_slice(data).ok()?;
    let members = serde_json::Deserializer::from_slice(data).deserialize_any(Members).ok();
    let Some(members) = members.filter(|_| value.is_object()) else { return Some(false) };
    let all = |name: &str| members.iter().filter(|(here, _)| here == name).map(|(_, value)| value).collect::<Vec<_>>();
    match (all("usage")[..].as_ref(), all("choices")[..].as_ref()) {
        ([], _) | (_, []) => Some(false),
        ([usage], [choices]) => {
            let has_usage = usage.as_object().is_some_and(|usage| !usage.is_empty());
            Some(has_usage && (choices.is_null() || choices.as_array().is_some_and(Vec::is_empty)))
        }
        _ => None,
    }
}

/// The members of an object, also those of one name.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Json)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

fn check_first(stream: &[u8], sizes: &[usize], dialect: Dialect, operation: Operation) {
    let mut whole = FirstEvent::new(dialect, operation);
    let mut torn = whole.clone();
    let by_now = whole.feed(stream);
    let mut told = First::More;
    for piece in pieces(stream, sizes) {
        let here = torn.feed(piece);
        assert!(told == First::More || told == here, "decided twice: {told:?}, {here:?}");
        told = here;
    }
    assert_eq!(told, by_now);
    let last = whole.end();
    assert_ne!(last, First::More);
    assert!(by_now == First::More || by_now == last);
    assert_eq!(torn.end(), last);
    if let First::Error(failure) = last {
        check_failure(&failure);
    }
}

fn check_failure(failure: &dialect::Failure) {
    assert!((400..600).contains(&failure.status), "{failure:?}");
    assert!(
        serde_json::from_slice::<serde::de::IgnoredAny>(&failure.body).is_ok() || std::str::from_utf8(&failure.body).is_err()
    );
}
