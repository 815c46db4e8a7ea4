//! Which operation a request's path asks for. A path that is not in the table reaches no provider.
//!
//! Clients put their own version segments behind a base URL that may have one already, so a path is read from its tail:
//! `mount? version* tail`, where
//!
//! 1. the mount is at most one of `/api/v1`, `/api/ai-proxy`, `/api`, then at most one of `/anthropic`, `/openai`, `/gemini`;
//! 2. versions are any repetition of `/v1`, `/v1beta`, `/v1beta1`, `/openai/v1`;
//! 3. the tail is a row of [`TABLE`], or a Gemini model's method.
//!
//! Fixed segments are compared as they are written, without undoing `%XX`; ids hold a strict set of characters. What goes
//! upstream is put together from these parts, never cut out of the caller's path.

use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::key;
use crate::words::{Code, Dialect, Operation, Refusal};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub dialect: Dialect,
    pub operation: Operation,
    pub kind: Kind,
    /// The upstream path below the service's base: `/chat/completions` (openai, whose base has its version), `/v1/messages`
    /// (anthropic), `/v1beta/models/M:generateContent` (gemini, with the caller's version).
    pub tail: String,
    /// The model, where the path names it (gemini).
    pub model: Option<Arc<str>>,
    /// Where it stands in `tail`.
    pub model_span: Option<Range<usize>>,
    /// Whether the answer is a stream, where path or query say so (gemini; a stored response with `stream=true`).
    pub stream: Option<bool>,
    /// The stream is one JSON array rather than events (gemini without `alt=sse`).
    pub array: bool,
    /// The query to send on: the caller's, without keys.
    pub query: Option<String>,
    /// The id of what the path is about: a response, file, batch or model.
    pub object: Option<String>,
}

impl Route {
    /// The upstream path with this model in the place of the asked-for one; as it is where the path names none.
    pub fn tail_for(&self, model: &str) -> String {
        match &self.model_span {
            Some(span) => [&self.tail[..span.start], model, &self.tail[span.end..]].concat(),
            None => self.tail.clone(),
        }
    }
}

/// What a request does, finer than its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Messages,
    CountTokens,
    Chat,
    ResponseCreate,
    ResponseGet,
    ResponseItems,
    ResponseDelete,
    ResponseCancel,
    ResponseCompact,
    Completions,
    Generate,
    Embeddings,
    /// Gemini's `embedContent` and `batchEmbedContents`.
    Embed,
    ImageGeneration,
    ImageEdit,
    ImageVariation,
    /// Gemini's `predict`: Imagen.
    Predict,
    Speech,
    Transcription,
    Translation,
    Moderations,
    Rerank,
    ModelList,
    ModelGet,
    FileUpload,
    FileList,
    FileGet,
    FileContent,
    FileDelete,
    BatchCreate,
    BatchList,
    BatchGet,
    BatchCancel,
    BatchResults,
    BatchDelete,
}

impl Kind {
    pub fn operation(self) -> Operation {
        match self {
            Kind::Messages => Operation::Messages,
            Kind::CountTokens => Operation::CountTokens,
            Kind::Chat => Operation::Chat,
            Kind::ResponseCreate
            | Kind::ResponseGet
            | Kind::ResponseItems
            | Kind::ResponseDelete
            | Kind::ResponseCancel
            | Kind::ResponseCompact => Operation::Responses,
            Kind::Completions => Operation::Completions,
            Kind::Generate => Operation::Generate,
            Kind::Embeddings | Kind::Embed => Operation::Embeddings,
            Kind::ImageGeneration | Kind::ImageEdit | Kind::ImageVariation | Kind::Predict => Operation::Images,
            Kind::Speech | Kind::Transcription | Kind::Translation => Operation::Audio,
            Kind::Moderations => Operation::Moderations,
            Kind::Rerank => Operation::Rerank,
            Kind::ModelList | Kind::ModelGet => Operation::Models,
            Kind::FileUpload | Kind::FileList | Kind::FileGet | Kind::FileContent | Kind::FileDelete => Operation::Files,
            Kind::BatchCreate | Kind::BatchList | Kind::BatchGet | Kind::BatchCancel | Kind::BatchResults | Kind::BatchDelete => {
                Operation::Batches
            }
        }
    }

    /// Whether the body (not the path) must name a model. Moderations cost nothing and have a default model.
    pub fn body_names_model(self) -> bool {
        match self {
            Kind::Messages
            | Kind::CountTokens
            | Kind::Chat
            | Kind::ResponseCreate
            | Kind::ResponseCompact
            | Kind::Completions
            | Kind::Embeddings
            | Kind::ImageGeneration
            | Kind::ImageEdit
            | Kind::ImageVariation
            | Kind::Speech
            | Kind::Transcription
            | Kind::Translation
            | Kind::Rerank => true,
            Kind::Generate
            | Kind::Embed
            | Kind::Predict
            | Kind::Moderations
            | Kind::ResponseGet
            | Kind::ResponseItems
            | Kind::ResponseDelete
            | Kind::ResponseCancel
            | Kind::ModelList
            | Kind::ModelGet
            | Kind::FileUpload
            | Kind::FileList
            | Kind::FileGet
            | Kind::FileContent
            | Kind::FileDelete
            | Kind::BatchCreate
            | Kind::BatchList
            | Kind::BatchGet
            | Kind::BatchCancel
            | Kind::BatchResults
            | Kind::BatchDelete => false,
        }
    }

    /// Whether the request carries a body that is read.
    pub fn has_body(self) -> bool {
        match self {
            Kind::Messages
            | Kind::CountTokens
            | Kind::Chat
            | Kind::ResponseCreate
            | Kind::ResponseCompact
            | Kind::Completions
            | Kind::Generate
            | Kind::Embeddings
            | Kind::Embed
            | Kind::ImageGeneration
            | Kind::ImageEdit
            | Kind::ImageVariation
            | Kind::Predict
            | Kind::Speech
            | Kind::Transcription
            | Kind::Translation
            | Kind::Moderations
            | Kind::Rerank
            | Kind::FileUpload
            | Kind::BatchCreate => true,
            Kind::ResponseGet
            | Kind::ResponseItems
            | Kind::ResponseDelete
            | Kind::ResponseCancel
            | Kind::ModelList
            | Kind::ModelGet
            | Kind::FileList
            | Kind::FileGet
            | Kind::FileContent
            | Kind::FileDelete
            | Kind::BatchList
            | Kind::BatchGet
            | Kind::BatchCancel
            | Kind::BatchResults
            | Kind::BatchDelete => false,
        }
    }

    /// Whether the body may be `multipart/form-data` (else it is JSON, whatever `content-type` says).
    pub fn takes_multipart(self) -> bool {
        matches!(self, Kind::ImageEdit | Kind::ImageVariation | Kind::Transcription | Kind::Translation | Kind::FileUpload)
    }
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matched {
    /// `GET /`, `HEAD /`: a line of text, without a key.
    Hello,
    /// `/healthz`, or `/readyz` where `ready` is set: without a key.
    Health {
        ready: bool,
    },
    Route(Route),
}

/// A tail and what its methods do. `{id}` stands for one id. Of two rows with the same path the first is anthropic's and wants
/// the header `anthropic-version`.
struct Row {
    dialect: Dialect,
    path: &'static [&'static str],
    methods: &'static [(&'static str, Kind)],
}

const fn row(dialect: Dialect, path: &'static [&'static str], methods: &'static [(&'static str, Kind)]) -> Row {
    Row { dialect, path, methods }
}

/// Every tail but models' (see [`models`] and [`gemini_method`]).
#[rustfmt::skip]
const TABLE: &[Row] = {
    use Dialect::{Anthropic, Openai};
    &[
        row(Anthropic, &["messages"], &[("POST", Kind::Messages)]),
        row(Anthropic, &["messages", "count_tokens"], &[("POST", Kind::CountTokens)]),
        row(Anthropic, &["messages", "batches"], &[("POST", Kind::BatchCreate), ("GET", Kind::BatchList)]),
        row(Anthropic, &["messages", "batches", "{id}"], &[("GET", Kind::BatchGet), ("DELETE", Kind::BatchDelete)]),
        row(Anthropic, &["messages", "batches", "{id}", "cancel"], &[("POST", Kind::BatchCancel)]),
        row(Anthropic, &["messages", "batches", "{id}", "results"], &[("GET", Kind::BatchResults)]),
        row(Anthropic, &["files"], &[("POST", Kind::FileUpload), ("GET", Kind::FileList)]),
        row(Anthropic, &["files", "{id}"], &[("GET", Kind::FileGet), ("DELETE", Kind::FileDelete)]),
        row(Anthropic, &["files", "{id}", "content"], &[("GET", Kind::FileContent)]),
        row(Openai, &["chat", "completions"], &[("POST", Kind::Chat)]),
        row(Openai, &["responses"], &[("POST", Kind::ResponseCreate)]),
        row(Openai, &["responses", "compact"], &[("POST", Kind::ResponseCompact)]),
        row(Openai, &["responses", "input_tokens"], &[("POST", Kind::CountTokens)]),
        row(Openai, &["responses", "{id}"], &[("GET", Kind::ResponseGet), ("DELETE", Kind::ResponseDelete)]),
        row(Openai, &["responses", "{id}", "cancel"], &[("POST", Kind::ResponseCancel)]),
        row(Openai, &["responses", "{id}", "input_items"], &[("GET", Kind::ResponseItems)]),
        row(Openai, &["completions"], &[("POST", Kind::Completions)]),
        row(Openai, &["embeddings"], &[("POST", Kind::Embeddings)]),
        row(Openai, &["images", "generations"], &[("POST", Kind::ImageGeneration)]),
        row(Openai, &["images", "edits"], &[("POST", Kind::ImageEdit)]),
        row(Openai, &["images", "variations"], &[("POST", Kind::ImageVariation)]),
        row(Openai, &["audio", "speech"], &[("POST", Kind::Speech)]),
        row(Openai, &["audio", "transcriptions"], &[("POST", Kind::Transcription)]),
        row(Openai, &["audio", "translations"], &[("POST", Kind::Translation)]),
        row(Openai, &["moderations"], &[("POST", Kind::Moderations)]),
        row(Openai, &["rerank"], &[("POST", Kind::Rerank)]),
        row(Openai, &["files"], &[("POST", Kind::FileUpload), ("GET", Kind::FileList)]),
        row(Openai, &["files", "{id}"], &[("GET", Kind::FileGet), ("DELETE", Kind::FileDelete)]),
        row(Openai, &["files", "{id}", "content"], &[("GET", Kind::FileContent)]),
        row(Openai, &["batches"], &[("POST", Kind::BatchCreate), ("GET", Kind::BatchList)]),
        row(Openai, &["batches", "{id}"], &[("GET", Kind::BatchGet)]),
        row(Openai, &["batches", "{id}", "cancel"], &[("POST", Kind::BatchCancel)]),
    ]
};

/// The methods of a Gemini model that are served: name, kind, and whether the answer is a stream.
const GEMINI_METHODS: [(&str, Kind, bool); 6] = [
    ("generateContent", Kind::Generate, false),
    ("streamGenerateContent", Kind::Generate, true),
    ("countTokens", Kind::CountTokens, false),
    ("embedContent", Kind::Embed, false),
    ("batchEmbedContents", Kind::Embed, false),
    ("predict", Kind::Predict, false),
];

/// Longest path that is looked at, in bytes; ids and models are far shorter.
const PATH_MAX: usize = 1024;

/// Which operation this request asks for. `path` is raw, as it came.
pub fn find(method: &Method, path: &str, query: Option<&str>, headers: &HeaderMap) -> Result<Matched, Refusal> {
    let reading = is_method(method, "GET") || is_method(method, "HEAD");
    match path {
        "/" if reading => return Ok(Matched::Hello),
        "/" => return Err(wrong_method(method, path, &["GET", "HEAD"])),
        "/healthz" | "/readyz" if reading => return Ok(Matched::Health { ready: path == "/readyz" }),
        "/healthz" | "/readyz" => return Err(wrong_method(method, path, &["GET", "HEAD"])),
        "/api/ai/chat" | "/api/ai-proxy/chat" => {
            return Err(Refusal::new(
                Code::UnknownPath,
                format!("{path} is not served yet; use /v1/messages, /v1/chat/completions, /v1/responses or /v1beta/models/…"),
            ));
        }
        _ => {}
    }
    let segments = segments(path)?;
    let (mount, rest) = without_mount(&segments);
    let (version, tail) = without_versions(rest);
    let caller = Caller { method, path, query, headers, mount, version };
    let route = match tail {
        ["models", ..] | ["publishers", "google", "models", _] => match gemini_method(&caller, tail)? {
            Some(route) => route,
            None => models(&caller, tail)?,
        },
        tail => in_table(&caller, tail)?,
    };
    Ok(Matched::Route(route))
}

/// What the steps below look at.
struct Caller<'a> {
    method: &'a Method,
    path: &'a str,
    query: Option<&'a str>,
    headers: &'a HeaderMap,
    /// The provider's name in the mount.
    mount: Option<Dialect>,
    /// The version nearest to the tail.
    version: Option<&'a str>,
}

impl Caller<'_> {
    fn route(&self, dialect: Dialect, kind: Kind, tail: String) -> Route {
        Route {
            dialect,
            operation: kind.operation(),
            kind,
            tail,
            model: None,
            model_span: None,
            stream: None,
            array: false,
            query: self.query.and_then(key::strip_query),
            object: None,
        }
    }
}

/// The segments of a path in which nothing is odd: no empty ones, no dot segments, no encoded slashes, plain characters only.
fn segments(path: &str) -> Result<Vec<&str>, Refusal> {
    let Some(rest) = path.strip_prefix('/').filter(|_| path.len() <= PATH_MAX) else {
        return Err(Refusal::new(Code::BadRequest, "the request's target must be a path that starts with /"));
    };
    let segments: Vec<&str> = rest.split('/').collect();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:@+%".contains(&b);
    let odd = |segment: &str| {
        let decoded = key::percent_decoded(segment);
        decoded.is_empty() || decoded == "." || decoded == ".." || !segment.bytes().all(plain)
    };
    if segments.iter().any(|segment| odd(segment)) {
        return Err(unknown(path));
    }
    Ok(segments)
}

fn without_mount<'a, 'b>(segments: &'b [&'a str]) -> (Option<Dialect>, &'b [&'a str]) {
    let rest = match segments {
        ["api", "v1" | "ai-proxy", rest @ ..] | ["api", rest @ ..] => rest,
        rest => rest,
    };
    match rest {
        ["anthropic", rest @ ..] => (Some(Dialect::Anthropic), rest),
        ["openai", rest @ ..] => (Some(Dialect::Openai), rest),
        ["gemini", rest @ ..] => (Some(Dialect::Gemini), rest),
        rest => (None, rest),
    }
}

fn without_versions<'a, 'b>(segments: &'b [&'a str]) -> (Option<&'a str>, &'b [&'a str]) {
    let (mut version, mut rest) = (None, segments);
    loop {
        rest = match rest {
            [here @ ("v1" | "v1beta" | "v1beta1"), rest @ ..] => {
                version = Some(*here);
                rest
            }
            ["openai", "v1", rest @ ..] => {
                version = Some("v1");
                rest
            }
            rest => return (version, rest),
        };
    }
}

/// `models/{model}:{method}`, also below `publishers/google`; the colon may be written `%3A`.
fn gemini_method(caller: &Caller, tail: &[&str]) -> Result<Option<Route>, Refusal> {
    let (publisher, last) = match tail {
        ["models", last] => ("", key::percent_decoded(last)),
        ["publishers", "google", "models", last] => ("publishers/google/", key::percent_decoded(last)),
        _ => return Ok(None),
    };
    let Some((model, name)) = last.rsplit_once(':') else {
        return if publisher.is_empty() { Ok(None) } else { Err(unknown(caller.path)) };
    };
    let Some((name, kind, stream)) = GEMINI_METHODS.into_iter().find(|(served, ..)| *served == name) else {
        return if publisher.is_empty() { Ok(None) } else { Err(unknown(caller.path)) };
    };
    if !is_id(model) {
        return Err(unknown(caller.path));
    }
    if !is_method(caller.method, "POST") {
        return Err(wrong_method(caller.method, caller.path, &["POST"]));
    }
    let before = format!("/{}/{publisher}models/", caller.version.unwrap_or("v1beta"));
    let span = before.len()..before.len() + model.len();
    let mut route = caller.route(Dialect::Gemini, kind, format!("{before}{model}:{name}"));
    route.model = Some(model.into());
    route.model_span = Some(span);
    route.stream = Some(stream);
    let events = key::pairs(caller.query.unwrap_or_default()).any(|(name, value)| name == "alt" && value == "sse");
    route.array = stream && !events;
    Ok(Some(route))
}

/// `models` and `models/{id}`, which the gateway answers itself, in the dialect that the headers tell.
fn models(caller: &Caller, tail: &[&str]) -> Result<Route, Refusal> {
    if is_method(caller.method, "POST") && tail.len() > 1 {
        return Err(unknown(caller.path)); // a method of a Gemini model that is not served
    }
    if !is_method(caller.method, "GET") {
        return Err(wrong_method(caller.method, caller.path, &["GET"]));
    }
    let dialect = models_dialect(caller);
    let Some(id) = tail.get(1..).filter(|id| !id.is_empty()) else {
        return Ok(caller.route(dialect, Kind::ModelList, "/models".to_string()));
    };
    // Some names hold slashes (`openrouter`'s); they are compared with names we know and go nowhere.
    let id = id.iter().map(|segment| key::percent_decoded(segment)).collect::<Vec<_>>().join("/");
    if !id.split('/').all(is_id) {
        return Err(unknown(caller.path));
    }
    let mut route = caller.route(dialect, Kind::ModelGet, "/models".to_string());
    route.object = Some(id);
    Ok(route)
}

fn models_dialect(caller: &Caller) -> Dialect {
    let has = |name: &str| caller.headers.contains_key(name);
    let key_in_query = || key::pairs(caller.query.unwrap_or_default()).any(|(name, _)| key::percent_decoded(name) == "key");
    if has("anthropic-version") {
        Dialect::Anthropic
    } else if has("x-goog-api-key") || has("x-goog-api-client") || key_in_query() {
        Dialect::Gemini
    } else if let Some(dialect) = caller.mount {
        dialect
    } else if matches!(caller.version, Some("v1beta" | "v1beta1")) {
        Dialect::Gemini
    } else {
        Dialect::Openai
    }
}

fn in_table(caller: &Caller, tail: &[&str]) -> Result<Route, Refusal> {
    let versioned = caller.headers.contains_key("anthropic-version");
    let files_of_anthropic = |row: &Row| row.dialect == Dialect::Anthropic && row.path[0] == "files";
    let mut rows = TABLE.iter().filter(|row| versioned || !files_of_anthropic(row));
    let Some(row) = rows.find(|row| fits(row.path, tail)) else {
        return Err(unknown(caller.path));
    };
    let Some((_, kind)) = row.methods.iter().find(|(method, _)| is_method(caller.method, method)) else {
        if row.path == ["responses"] && is_websocket(caller) {
            return Err(Refusal::new(Code::UpgradeRequired, "WebSockets are not served here; send the request by POST"));
        }
        let methods: Vec<&str> = row.methods.iter().map(|(method, _)| *method).collect();
        return Err(wrong_method(caller.method, caller.path, &methods));
    };
    let base = match row.dialect {
        Dialect::Anthropic => "/v1/",
        Dialect::Openai | Dialect::Gemini => "/",
    };
    let mut route = caller.route(row.dialect, *kind, format!("{base}{}", tail.join("/")));
    if *kind == Kind::ResponseGet {
        let asked = |(name, value)| name == "stream" && value == "true";
        route.stream = Some(key::pairs(caller.query.unwrap_or_default()).any(asked));
    }
    route.object = row.path.iter().position(|part| *part == "{id}").map(|at| tail[at].to_string());
    Ok(route)
}

fn fits(pattern: &[&str], tail: &[&str]) -> bool {
    pattern.len() == tail.len()
        && pattern.iter().zip(tail).all(|(part, segment)| part == segment || *part == "{id}" && is_id(segment))
}

/// The characters of models and of providers' ids (`resp_…`, `file-…`, `msgbatch_…`, `ft:gpt-4o:org::x`, `claude@2026`).
fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=256).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-._:@+".contains(b))
}

/// Some clients write methods in lower case, and their providers take it; so it is taken, and sent on as it is.
fn is_method(method: &Method, name: &str) -> bool {
    method.as_str().eq_ignore_ascii_case(name)
}

fn is_websocket(caller: &Caller) -> bool {
    let upgrade = caller.headers.get("upgrade").and_then(|value| value.to_str().ok()).unwrap_or_default();
    is_method(caller.method, "GET") && upgrade.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
}

fn unknown(path: &str) -> Refusal {
    let shown: String = path.chars().take(100).collect();
    Refusal::new(
        Code::UnknownPath,
        format!("nothing is served at {shown}; the base URL should end in /api/v1 or in the bare host"),
    )
}

fn wrong_method(method: &Method, path: &str, allowed: &[&str]) -> Refusal {
    let (method, shown): (String, String) = (method.as_str().chars().take(20).collect(), path.chars().take(100).collect());
    let what = format!("{method} is not allowed at {shown}; use {}", allowed.join(" or "));
    Refusal { allow: Some(allowed.join(", ")), ..Refusal::new(Code::MethodNotAllowed, what) }
}

/// The dialect that a request looks like before its route is known (or where it has none), and whether it is about `responses`:
/// for the form of a refusal.
pub fn dialect_looks_like(path: &str, headers: &HeaderMap) -> (Dialect, bool) {
    let has = |name: &str| headers.contains_key(name);
    let mut segments = path.split('/');
    if segments.clone().any(|segment| segment == "responses") {
        return (Dialect::Openai, true);
    }
    let by_path = segments.find_map(|segment| match segment {
        "messages" | "anthropic" => Some(Dialect::Anthropic),
        "chat" | "completions" | "embeddings" | "images" | "audio" | "moderations" | "rerank" | "batches" => {
            Some(Dialect::Openai)
        }
        "v1beta" | "v1beta1" | "gemini" => Some(Dialect::Gemini),
        segment => {
            let decoded = key::percent_decoded(segment);
            let method = decoded.rsplit_once(':').map(|(_, method)| method);
            GEMINI_METHODS.iter().any(|(served, ..)| method == Some(*served)).then_some(Dialect::Gemini)
        }
    });
    let by_header = || {
        if has("anthropic-version") {
            Dialect::Anthropic
        } else if has("x-goog-api-key") || has("x-goog-api-client") {
            Dialect::Gemini
        } else {
            Dialect::Openai
        }
    };
    (by_path.unwrap_or_else(by_header), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PREFIXES: [&str; 20] = [
        "",
        "/v1",
        "/v1/v1",
        "/v1beta",
        "/v1beta1",
        "/v1/v1beta",
        "/openai/v1",
        "/openai/openai/v1",
        "/openai",
        "/anthropic",
        "/anthropic/v1",
        "/gemini/v1beta",
        "/api",
        "/api/v1",
        "/api/v1/v1",
        "/api/v1/openai/v1/v1",
        "/api/ai-proxy",
        "/api/ai-proxy/v1beta",
        "/api/anthropic/v1",
        "/api/ai-proxy/gemini/v1",
    ];

    fn headers(names: &[&str]) -> HeaderMap {
        names.iter().map(|line| line.split_once(": ").unwrap_or((line, "x"))).fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
            map
        })
    }

    fn route(method: &str, path: &str, names: &[&str]) -> Result<Matched, Refusal> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        find(&Method::try_from(method).unwrap(), path, query, &headers(names))
    }

    /// What a path leads to, in one line: `dialect kind tail object? ?query`; or the code of its refusal.
    fn told(method: &str, path: &str, names: &[&str]) -> String {
        match route(method, path, names) {
            Ok(Matched::Route(route)) => {
                let object = route.object.map(|id| format!(" {id}")).unwrap_or_default();
                let query = route.query.map(|query| format!(" ?{query}")).unwrap_or_default();
                format!("{} {:?} {}{object}{query}", route.dialect.name(), route.kind, route.tail)
            }
            Ok(other) => format!("{other:?}"),
            Err(refusal) => format!("{:?}", refusal.code),
        }
    }

    #[track_caller]
    fn check(request: &str, names: &[&str], expected: &str) {
        let (method, path) = request.split_once(' ').unwrap();
        assert_eq!(told(method, path, names), expected, "{request}");
    }

    #[test]
    fn every_tail_under_every_prefix() {
        for prefix in PREFIXES {
            for row in TABLE {
                let names: &[&str] = if row.dialect == Dialect::Anthropic { &["anthropic-version"] } else { &[] };
                let tail = row.path.join("/").replace("{id}", "resp_68-A.b:c");
                for (method, kind) in row.methods {
                    let Ok(Matched::Route(found)) = route(method, &format!("{prefix}/{tail}?beta=true"), names) else {
                        panic!("{method} {prefix}/{tail}");
                    };
                    let upstream = if row.dialect == Dialect::Anthropic { format!("/v1/{tail}") } else { format!("/{tail}") };
                    assert_eq!((found.dialect, found.kind, found.tail), (row.dialect, *kind, upstream));
                    assert_eq!(found.query.as_deref(), Some("beta=true"));
                    assert_eq!(found.object.is_some(), row.path.contains(&"{id}"));
                }
                for method in ["PUT", "PATCH", "OPTIONS", "HEAD", "CONNECT"] {
                    check(&format!("{method} {prefix}/{tail}"), names, "MethodNotAllowed");
                }
            }
        }
    }

    #[test]
    fn every_gemini_method_under_every_prefix() {
        for prefix in PREFIXES {
            for (name, kind, stream) in GEMINI_METHODS {
                for (publisher, colon) in [("", ":"), ("", "%3A"), ("publishers/google/", ":"), ("", "%3a")] {
                    let path = format!("{prefix}/{publisher}models/gemini-2.5-pro{colon}{name}?alt=sse&key=k");
                    let Ok(Matched::Route(found)) = route("POST", &path, &[]) else { panic!("{path}") };
                    let version = prefix.rsplit('/').find(|part| part.starts_with("v1") && !prefix.ends_with("/api/v1"));
                    let version = version.unwrap_or("v1beta");
                    assert_eq!(found.tail, format!("/{version}/{publisher}models/gemini-2.5-pro:{name}"));
                    assert_eq!((found.dialect, found.kind, found.stream), (Dialect::Gemini, kind, Some(stream)));
                    assert_eq!(found.query.as_deref(), Some("alt=sse"));
                    assert!(!found.array);
                    assert_eq!(&found.tail[found.model_span.clone().unwrap()], "gemini-2.5-pro");
                    assert_eq!(found.tail_for("x"), format!("/{version}/{publisher}models/x:{name}"));
                    check(&format!("GET {path}"), &[], "MethodNotAllowed");
                }
            }
        }
    }

    #[test]
    fn streams_without_alt_are_arrays() {
        let Ok(Matched::Route(found)) = route("POST", "/v1beta/models/m:streamGenerateContent", &[]) else { panic!() };
        assert!(found.array);
        let Ok(Matched::Route(found)) = route("POST", "/v1beta/models/m:generateContent", &[]) else { panic!() };
        assert!(!found.array);
    }

    #[test]
    fn model_lists_go_by_header() {
        check("GET /v1/models", &[], "openai ModelList /models");
        check("GET /api/v1/v1/models?limit=1000", &["anthropic-version"], "anthropic ModelList /models ?limit=1000");
        check("GET /v1/models", &["x-goog-api-key"], "gemini ModelList /models");
        check("GET /v1/models", &["x-goog-api-client"], "gemini ModelList /models");
        check("GET /v1/models?key=aicp_x&pageSize=3", &[], "gemini ModelList /models ?pageSize=3");
        check("GET /v1/models?k%65y=aicp_x", &[], "gemini ModelList /models");
        check("GET /v1beta/models", &[], "gemini ModelList /models");
        check("GET /anthropic/v1/models", &[], "anthropic ModelList /models");
        check("GET /gemini/models", &[], "gemini ModelList /models");
        check("GET /models", &[], "openai ModelList /models");
        check("GET /v1/models/gpt-5", &[], "openai ModelGet /models gpt-5");
        check("GET /v1/models/ft:gpt-4o:org::x", &[], "openai ModelGet /models ft:gpt-4o:org::x");
        check("GET /v1/models/anthropic/claude-3.7", &[], "openai ModelGet /models anthropic/claude-3.7");
        check("GET /v1/models/anthropic%2Fclaude-3.7", &[], "openai ModelGet /models anthropic/claude-3.7");
        check("GET /v1beta/models/gemini-2.5-pro", &["x-goog-api-key"], "gemini ModelGet /models gemini-2.5-pro");
        check("POST /v1/models", &[], "MethodNotAllowed");
        check("DELETE /v1/models/ft:x", &[], "MethodNotAllowed");
        check("GET /v1/models/..%2fmodels", &[], "UnknownPath");
    }

    #[test]
    fn files_go_by_header() {
        check("GET /v1/files", &[], "openai FileList /files");
        check("GET /v1/files", &["anthropic-version"], "anthropic FileList /v1/files");
        check("GET /v1/files/file-1/content", &[], "openai FileContent /files/file-1/content file-1");
    }

    #[test]
    fn methods_in_lower_case() {
        check("post /v1/messages", &[], "anthropic Messages /v1/messages");
        check("post /v1beta/models/m:countTokens", &[], "gemini CountTokens /v1beta/models/m:countTokens");
        check("get /v1/models", &[], "openai ModelList /models");
        check("get /v1/messages", &[], "MethodNotAllowed");
    }

    #[test]
    fn without_a_key() {
        check("GET /", &[], "Hello");
        check("HEAD /", &[], "Hello");
        check("POST /", &[], "MethodNotAllowed");
        check("GET /healthz", &[], "Health { ready: false }");
        check("GET /readyz", &[], "Health { ready: true }");
    }

    #[test]
    fn websockets_are_sent_to_post() {
        check("GET /v1/responses", &["upgrade: WebSocket"], "UpgradeRequired");
        check("GET /api/v1/responses", &["upgrade: h2c, websocket"], "UpgradeRequired");
        check("GET /v1/responses", &[], "MethodNotAllowed");
        check("GET /v1/chat/completions", &["upgrade: websocket"], "MethodNotAllowed");
        check("GET /v1/realtime", &["upgrade: websocket"], "UnknownPath");
    }

    #[test]
    fn everything_else_is_unknown() {
        for path in [
            "/v1",
            "/api",
            "/api/v1",
            "/v1/",
            "/v1/messages/",
            "//v1/messages",
            "/v1//messages",
            "/v1/./messages",
            "/v1/../v1/messages",
            "/v1/%2e%2e/messages",
            "/v1/%2E/messages",
            "/v1/files/..",
            "/v1/files/.hidden",
            "/v1/files/%2e%2e",
            "/v1/files/a%2f..%2fb",
            "/v1/files/a%2Fb/content",
            "/v1/responses/a%00",
            "/v1/m%65ssages",
            "/v1%2fmessages",
            "/v1/messages;x=1",
            "/v1/messages\\x",
            "/v1/messages/x",
            "/V1/messages",
            "/v1/Messages",
            "/v2/messages",
            "/api/api/v1/messages",
            "/api/v1/api/v1/messages",
            "/openai/anthropic/v1/messages",
            "/v1/anthropic/messages",
            "/v1beta/openai/chat/completions",
            "/openai/deployments/gpt-4/chat/completions",
            "/v1/chat",
            "/v1/realtime",
            "/v1/fine_tuning/jobs",
            "/v1/chat/completions/chatcmpl-1",
            "/v1internal:generateContent",
            "/v1beta/models/m:batchGenerateContent",
            "/v1beta/models/:generateContent",
            "/v1beta/models/a/b:generateContent",
            "/v1beta/models/a%2Fb:generateContent",
            "/v1beta/models/..:generateContent",
            "/v1beta/models/a%3Fx:generateContent",
            "/v1beta/cachedContents",
            "/v1beta1/publishers/anthropic/models/claude:generateContent",
            "/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
            "/v1beta/tunedModels/m:generateContent",
            "/api/internal",
            "/health",
            "/metrics",
            "/api/ai/chat",
            "/api/ai-proxy/chat",
            "/v1/é",
        ] {
            check(&format!("POST {path}"), &[], "UnknownPath");
        }
        for path in ["", "*", "v1/messages", "http://host/v1/messages", "https://api.anthropic.com/v1/messages"] {
            check(&format!("POST {path}"), &[], "BadRequest");
        }
        check(&format!("POST /{}", "v1/".repeat(1000)), &[], "BadRequest");
    }

    #[test]
    fn what_a_request_looks_like() {
        let looks = |path: &str, names: &[&str]| dialect_looks_like(path, &headers(names));
        assert_eq!(looks("/v1/messages/x", &[]), (Dialect::Anthropic, false));
        assert_eq!(looks("/v1/responses/x/y", &["anthropic-version"]), (Dialect::Openai, true));
        assert_eq!(looks("/x/m%3AstreamGenerateContent", &[]), (Dialect::Gemini, false));
        assert_eq!(looks("/v1beta/foo", &[]), (Dialect::Gemini, false));
        assert_eq!(looks("/v1/models", &["x-goog-api-key"]), (Dialect::Gemini, false));
        assert_eq!(looks("/foo", &["anthropic-version"]), (Dialect::Anthropic, false));
        assert_eq!(looks("/v1/chat/completions", &["anthropic-version"]), (Dialect::Openai, false));
        assert_eq!(looks("/foo", &[]), (Dialect::Openai, false));
    }

    #[test]
    fn a_refusal_repeats_little_of_what_was_sent() {
        let (method, path) = ("X".repeat(5000), format!("/{}", "x/".repeat(3000)));
        for (method, path) in [(&*method, "/v1/messages"), ("POST", &*path), (&*method, "/"), (&*method, "/v1/models/x")] {
            let refusal = route(method, path, &[]).unwrap_err();
            assert!(refusal.message.len() < 300, "{}", refusal.message);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_tails_are_clean(path in "(/|v1|api|messages|files|models|m:generateContent|%2[eEfF]|[a-z.:%@~é-]|//){0,12}", query: String) {
            for method in [Method::GET, Method::POST] {
                if let Ok(Matched::Route(route)) = find(&method, &path, Some(&query), &HeaderMap::new()) {
                    prop_assert!(!route.tail.split('/').any(|segment| segment == ".." || segment == "."));
                    prop_assert!(!route.tail.contains("//") && !route.tail.contains('%'));
                }
            }
        }

        #[test]
        fn any_text_does(path: String) {
            let _found = find(&Method::POST, &path, None, &HeaderMap::new());
            let _look = dialect_looks_like(&path, &HeaderMap::new());
        }
    }
}
