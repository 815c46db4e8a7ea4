//! To which conversation a request belongs, so that it stays on the account whose prompt cache knows it.
//!
//! The id is what the client gives, looked for in the order of the clients' habits; else a hash over what is stable at the
//! beginning of a conversation: the system prompt and the first user message. Only their texts are hashed: clients move
//! `cache_control` about and turn a plain string into a list of blocks between turns. An id proves nothing; whoever chooses by
//! it adds group and key.

use std::ops::ControlFlow;

use http::HeaderMap;

use super::Said;
use crate::json::{Raw, Sink, Value};

/// Headers that name a session, in the order in which they count: Claude Code, Codex, opencode.
const HEADERS: [&str; 7] = [
    "x-claude-code-session-id",
    "session-id",
    "session_id",
    "conversation_id",
    "thread-id",
    "x-session-id",
    "x-session-affinity",
];

/// Auggie's, which counts after what the body says.
const LAST_HEADER: &str = "x-request-session-id";

/// How much text of the system prompt, and of the first user message, is hashed; what follows seldom tells conversations apart.
const OPENING_MAX: usize = 64 * 1024;

/// The session that the client gives: in a header, else in the body, else in the last header.
pub(super) fn from_headers(headers: &HeaderMap, said: &Said) -> Option<u64> {
    let header = |name: &str| {
        let value = headers.get(name)?.as_bytes().trim_ascii();
        (!value.is_empty()).then(|| hash(value))
    };
    HEADERS.iter().find_map(|name| header(name)).or(said.given).or_else(|| header(LAST_HEADER))
}

/// The session that `metadata.user_id` names: a JSON text with `session_id` (Claude Code), what follows `_session_` (its older
/// versions), or `session_<uuid>` (Kimi Code). Any other user id names a person, not a session.
pub(super) fn from_user_id(user_id: &str) -> Option<u64> {
    let in_json = || Value::of(user_id.as_bytes()).ok()?.get("session_id")?.as_str().map(|id| id.into_owned());
    let id = match user_id.split_once("_session_") {
        _ if user_id.starts_with('{') => in_json()?,
        Some((_, id)) => id.to_string(),
        None => user_id.strip_prefix("session_")?.to_string(),
    };
    (!id.is_empty()).then(|| hash(id.as_bytes()))
}

/// A hash over the texts of a conversation's beginning; `None` if there is no text.
pub(super) fn opening<'a>(parts: impl Iterator<Item = Value<'a>>) -> Option<u64> {
    let mut hash = Hash::default();
    let mut any = false;
    for part in parts {
        let mut texts = Texts { hash: &mut hash, left: OPENING_MAX, passed_over: false };
        let _enough = part.walk(&mut texts);
        any |= texts.left < OPENING_MAX;
    }
    any.then(|| hash.finish())
}

/// Hashes the strings that are content, up to a bound.
struct Texts<'h> {
    hash: &'h mut Hash,
    left: usize,
    /// The last name was one of those whose value is no content.
    passed_over: bool,
}

impl Sink for Texts<'_> {
    fn name(&mut self, name: Raw) {
        self.passed_over =
            matches!(name.bytes, b"type" | b"role" | b"id" | b"status" | b"ttl" | b"detail" | b"scope" | b"name" | b"phase");
    }

    fn string(&mut self, string: Raw) -> ControlFlow<()> {
        let raw = string.bytes;
        if self.passed_over {
            return ControlFlow::Continue(());
        }
        let taken = &raw[..raw.len().min(self.left)];
        self.hash.write(taken);
        self.left -= taken.len();
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// The hash of an id.
pub(super) fn hash(id: &[u8]) -> u64 {
    let mut hash = Hash::default();
    hash.write(id);
    hash.finish()
}

/// A hash that is the same on every instance, in every version and on every machine: eight bytes at a time, folded by a wide
/// multiplication. It guards against nothing, and need not.
#[derive(Clone)]
struct Hash(u64);

/// Two odd numbers with bits all over: the golden ratio, and one of SplitMix64's.
const FOLD: u64 = 0x9E37_79B9_7F4A_7C15;
const SEED: u64 = 0xBF58_476D_1CE4_E5B9;

impl Default for Hash {
    fn default() -> Hash {
        Hash(SEED)
    }
}

impl Hash {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(word.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
        }
        let rest = words.remainder().iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        self.mix(rest ^ (bytes.len() as u64) << 56);
    }

    fn mix(&mut self, word: u64) {
        let wide = u128::from(self.0 ^ word) * u128::from(FOLD);
        let (low, high) = (wide & u128::from(u64::MAX), wide >> 64);
        self.0 = u64::try_from(low ^ high).unwrap_or(0).rotate_left(23) ^ word;
    }

    fn finish(&self) -> u64 {
        let mut last = self.clone();
        last.mix(SEED);
        last.mix(FOLD);
        last.0
    }
}

/// The names of all headers that may name a session, for the tests of `facts`.
#[cfg(test)]
pub(super) fn tests_headers() -> impl Iterator<Item = &'static str> {
    HEADERS.into_iter().chain([LAST_HEADER])
}
