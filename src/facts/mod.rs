//! What the body says: read once, forward, and edited in place.
//!
//! A body stays the bytes that the client sent, since prompt caches and signatures hang on them. Of a JSON body one walk checks
//! the structure, counts text, and remembers where the few members stand that matter; those are then read again where they
//! stand. What must be altered (a mapped model's name, the wish for usage in a stream) is spliced by byte range.
//!
//! What we read and what a provider reads must agree: of a duplicate member the last counts, names are compared after their
//! escapes are undone, and a member that differs from one of ours only by case is refused, since some parsers take it for that.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::json;
use crate::route::{Kind, Route};
use crate::words::{Code, Dialect, Refusal};

pub use decode::decode;
pub use text::TextBytes;

mod decode;
mod members;
mod multipart;
mod session;
mod text;

/// Longest name of a model, in bytes; the longest known (of fine-tuned ones) stay below 100.
const MODEL_MAX: usize = 256;

/// Most stored objects (files, containers …) that one request may name, and the longest of their ids.
const PREVIOUS_MAX: usize = 256;
const PREVIOUS_ID_MAX: usize = 512;

/// What a request's body and headers say, as far as anything depends on it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The asked-for model, from the path or the body.
    pub model: Option<Arc<str>>,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// The asked-for maximum of output tokens; of several the largest.
    pub max_output: Option<u64>,
    /// How many answers or pictures are asked for; at least 1.
    pub choices: u64,
    /// A hash of the session's id as the client gave it, else of the conversation's beginning.
    pub session: Option<u64>,
    /// The client gave the session's id.
    pub session_given: bool,
    pub body_bytes: u64,
    /// Ids of objects that a provider stores and that bind the request to the account that made them: a previous response, a
    /// conversation, files, containers, vector stores, cached contents.
    pub previous: Vec<String>,
    /// `background: true`.
    pub background: bool,
    /// `store`, where it is given.
    pub store: Option<bool>,
    /// What an uploaded file is for.
    pub purpose: Option<String>,
    pub service_tier: Option<String>,
    /// `quality/WxH` of pictures, where both are given.
    pub image_kind: Option<String>,
    /// The search context size asked for.
    pub search_context: Option<String>,
    /// Bytes of text in the body, for estimating its tokens.
    pub text_bytes: TextBytes,
    edits: Edits,
}

/// Where the body may have to be altered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Edits {
    model: ModelPlace,
    usage: UsagePlace,
}

/// Where the model's name stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum ModelPlace {
    /// Not in the body: in the path, or in no place at all that could be altered.
    #[default]
    Elsewhere,
    /// A JSON string, quotes included.
    Json(Range<usize>),
    /// In a JSON object that names none: to be inserted here, with a comma if more members follow.
    Insert { at: usize, comma: bool },
    /// The content of a part.
    Part(Range<usize>),
}

/// What must be written so that a stream of OpenAI's chat ends with its usage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum UsagePlace {
    /// No such stream, or it cannot be asked for.
    #[default]
    None,
    /// It is asked for already.
    Asked,
    /// This text goes in the place of that range (which is empty to insert).
    Write { range: Range<usize>, text: &'static str },
}

/// Reads what the body says. `body` is decoded (see [`decode`]).
pub fn read(route: &Route, headers: &HeaderMap, body: &Bytes) -> Result<Facts, Refusal> {
    let mut facts = Facts {
        model: route.model.clone(),
        stream: route.stream.unwrap_or(false),
        choices: 1,
        body_bytes: body.len() as u64,
        ..Facts::default()
    };
    let mut said = Said::default();
    if route.kind.has_body() {
        match multipart::boundary(headers).filter(|_| route.kind.takes_multipart()) {
            Some(boundary) => multipart::read(boundary?.as_bytes(), body, &mut facts)?,
            None => said = members::read(route, body, &mut facts)?,
        }
    }
    if route.kind.body_names_model() && facts.model.is_none() {
        return Err(bad("the body names no model; add \"model\""));
    }
    let given = session::from_headers(headers, &said);
    facts.session_given = given.is_some();
    facts.session = given.or(said.opening);
    Ok(facts)
}

/// What a JSON body says of its session, in the order in which it counts.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    given: Option<u64>,
    /// A hash of the conversation's beginning.
    opening: Option<u64>,
}

impl Facts {
    /// The body to send: with `model` as its model's name (unless that stands in the path), and asking for usage if `force_usage`
    /// and the client did not. The same bytes, not copied, if there is nothing to alter.
    pub fn edited(&self, body: &Bytes, model: Option<&str>, force_usage: bool) -> Bytes {
        let mut splices: Vec<(Range<usize>, String)> = Vec::new();
        if let Some(model) = model {
            match &self.edits.model {
                ModelPlace::Elsewhere => {}
                ModelPlace::Json(range) => splices.push((range.clone(), json::quote(model))),
                ModelPlace::Insert { at, comma } => {
                    let comma = if *comma { "," } else { "" };
                    splices.push((*at..*at, format!("\"model\":{}{comma}", json::quote(model))));
                }
                ModelPlace::Part(range) => splices.push((range.clone(), model.to_string())),
            }
        }
        if let (UsagePlace::Write { range, text }, true) = (&self.edits.usage, force_usage) {
            splices.push((range.clone(), text.to_string()));
        }
        spliced(body, splices)
    }

    /// Whether the client itself asked for usage at the end of its stream.
    pub fn usage_asked(&self) -> bool {
        self.edits.usage == UsagePlace::Asked
    }
}

/// `body` with each range replaced; the ranges do not overlap.
fn spliced(body: &Bytes, mut splices: Vec<(Range<usize>, String)>) -> Bytes {
    if splices.is_empty() {
        return body.clone();
    }
    splices.sort_by_key(|(range, _)| range.start);
    let removed: usize = splices.iter().map(|(range, _)| range.len()).sum();
    let added: usize = splices.iter().map(|(_, text)| text.len()).sum();
    let mut new = Vec::with_capacity(body.len() + added - removed);
    let mut at = 0;
    for (range, text) in &splices {
        new.extend_from_slice(&body[at..range.start]);
        new.extend_from_slice(text.as_bytes());
        at = range.end;
    }
    new.extend_from_slice(&body[at..]);
    Bytes::from(new)
}

/// A refusal because of what the body says.
fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadRequest, message)
}

/// A model's name, if it may stand as one.
fn model_name(name: &str) -> Result<Arc<str>, Refusal> {
    if name.is_empty() || name.len() > MODEL_MAX || name.chars().any(char::is_control) {
        return Err(bad(format!("\"model\" must be a name of 1 to {MODEL_MAX} characters")));
    }
    Ok(name.into())
}

/// The names of members (or parts) that a differently-cased twin may not imitate.
const GUARDED: [&str; 5] = ["model", "stream", "max_tokens", "max_completion_tokens", "max_output_tokens"];

/// Refuses a name that is one of ours but for its case. Some parsers (Go's) fold `ſ` and the Kelvin sign too.
fn guard_case(name: &str) -> Result<(), Refusal> {
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212A}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    let twin = |ours: &&&str| name.len() < 64 && name != **ours && name.chars().map(fold).eq(ours.chars());
    match GUARDED.iter().find(twin) {
        Some(ours) => Err(bad(format!("{name:?} differs from \"{ours}\" only by case; write it as \"{ours}\""))),
        None => Ok(()),
    }
}

/// Whether a stream of this route ends with its usage only if the client asks for it.
fn asks_for_usage(route: &Route) -> bool {
    route.dialect == Dialect::Openai && matches!(route.kind, Kind::Chat | Kind::Completions)
}

#[cfg(test)]
mod tests;
