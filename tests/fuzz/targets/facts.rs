//! The facts: three bytes of settings (path, content encoding, what to alter), then the body as it came.
//!
//! What we read must be what a provider's parser reads: of JSON, serde's stands in for it.
#![no_main]

use aicarpool::facts::{self, Facts};
use aicarpool::json::Value;
use aicarpool::route::{self, Kind, Matched, Route};
use aicarpool::words::{Code, Dialect, Refusal};
use aicarpool_fuzz::{Settings, headers};
use bytes::Bytes;
use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value as Json;

const PATHS: [&str; 16] = [
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/responses",
    "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
    "/v1/completions",
    "/v1/messages/count_tokens",
    "/v1beta/models/imagen-4:predict",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/audio/transcriptions",
    "/v1/files",
    "/v1/audio/speech",
    "/v1/embeddings",
    "/v1/batches",
    "/v1/responses/compact",
    "/v1/rerank",
];
const ENCODINGS: [Option<&str>; 8] =
    [None, None, None, Some("zstd"), Some("gzip"), Some("deflate"), Some("br"), Some("identity")];
const FORM: &[u8] = b"content-type: multipart/form-data; boundary=b1";
/// The most that a body may decode to, in bytes.
const MAX: u64 = 64 * 1024;
const OTHER: &str = "other/\"model\"-é";

fuzz_target!(|input: &[u8]| {
    let Some((mut settings, body)) = Settings::split(input, 3) else { return };
    let path = settings.pick(&PATHS);
    let Ok(Matched::Route(route)) = route::find(&Method::POST, path, None, &HeaderMap::new()) else { panic!("{path}") };
    let encoding = settings.pick(&ENCODINGS);
    let given = Bytes::copy_from_slice(body);
    let Ok(body) = facts::decode(given.clone(), encoding, MAX) else { return };
    assert!(body.len() as u64 <= MAX);
    assert!(!matches!(encoding, None | Some("identity")) || body == given);
    let form = settings.flag() && route.kind.takes_multipart();
    let headers = headers(if form { FORM } else { b"" });
    let facts = facts::read(&route, &headers, &body);
    if !form {
        check_against_serde(&route, &body, &facts);
    }
    if let Ok(facts) = facts {
        check_facts(&facts, &body);
        check_edits(&route, &headers, &body, &facts, form);
    }
});

fn check_facts(facts: &Facts, body: &Bytes) {
    assert!(facts.choices >= 1);
    assert_eq!(facts.body_bytes, body.len() as u64);
    assert!(facts.model.as_deref().is_none_or(|model| (1..=256).contains(&model.len())));
    assert!(facts.previous.len() <= 256 && facts.previous.iter().all(|id| !id.is_empty() && id.len() <= 1024));
}

fn check_edits(route: &Route, headers: &HeaderMap, body: &Bytes, facts: &Facts, form: bool) {
    let same = facts.edited(body, None, false);
    assert_eq!((same.as_ptr(), same.len()), (body.as_ptr(), body.len()), "copied without need");
    for (model, usage) in [(Some(OTHER), false), (None, true), (Some(OTHER), true)] {
        let edited = facts.edited(body, model, usage);
        let again = facts::read(route, headers, &edited).expect("what was edited can be read");
        let named_by_path = route.model.is_some();
        match model {
            Some(model) if !named_by_path && (facts.model.is_some() || !form) && route.dialect != Dialect::Gemini => {
                assert_eq!(again.model.as_deref(), Some(model));
            }
            _ => assert_eq!(again.model, facts.model),
        }
        assert!(again.usage_asked() >= facts.usage_asked());
        if usage && facts.stream && matches!(route.kind, Kind::Chat | Kind::Completions) && has_no_odd_options(body) {
            assert!(again.usage_asked());
        }
        // Nothing else is altered.
        let rest = |facts: &Facts| {
            let Facts { stream, max_output, choices, session, session_given, background, store, .. } = facts.clone();
            let texts =
                (facts.purpose.clone(), facts.service_tier.clone(), facts.image_kind.clone(), facts.search_context.clone());
            (stream, max_output, choices, session, session_given, background, store, facts.previous.clone(), texts)
        };
        assert_eq!(rest(&again), rest(facts));
    }
}

/// `stream_options` that are no object are the provider's to refuse.
fn has_no_odd_options(body: &[u8]) -> bool {
    let options = Value::of(body).ok().and_then(|body| body.get("stream_options"));
    options.is_none_or(|options| options.is_object() || options.is_null())
}

fn check_against_serde(route: &Route, body: &Bytes, facts: &Result<Facts, Refusal>) {
    if std::str::from_utf8(body).is_err() {
        return; // both look at what they use only
    }
    let ours = Value::of(body);
    let theirs = serde_json::from_slice::<IgnoredAny>(body);
    let too_deep = ours.as_ref().is_err_and(|fault| fault.what.contains("nested"));
    assert!(too_deep || ours.is_ok() == theirs.is_ok(), "{ours:?} {theirs:?}");
    let (Ok(Json::Object(members)), Ok(facts)) = (serde_json::from_slice::<Json>(body), facts) else {
        if let (Ok(value), Err(refusal)) = (&ours, facts) {
            assert!(refusal.code == Code::BadRequest && !(value.is_object() && refusal.message.contains("is not JSON")));
        }
        return;
    };
    let member = |name: &str| members.get(name).filter(|value| !value.is_null());
    let number = |name: &str| member(name).and_then(Json::as_u64);
    if route.model.is_none() {
        assert_eq!(facts.model.as_deref(), member("model").and_then(Json::as_str));
    }
    if route.stream.is_none() && route.kind != Kind::Speech {
        assert_eq!(Some(facts.stream), member("stream").map_or(Some(false), Json::as_bool));
    }
    if !members.contains_key("generationConfig") && !members.contains_key("generation_config") {
        let asked = ["max_tokens", "max_completion_tokens", "max_output_tokens"].into_iter().filter_map(number).max();
        assert_eq!(facts.max_output, asked);
        if route.kind != Kind::Predict {
            assert_eq!(facts.choices, number("n").unwrap_or(1).max(1));
        }
    }
    if let Some(id) = member("previous_response_id").and_then(Json::as_str).filter(|id| !id.is_empty()) {
        assert!(facts.previous.iter().any(|known| known == id));
    }
    assert_eq!(facts.background, member("background") == Some(&Json::Bool(true)));
}
