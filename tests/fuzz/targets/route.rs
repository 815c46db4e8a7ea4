//! The route: `METHOD path?query` in the first line, headers in the others.
#![no_main]

use aicarpool::dialect;
use aicarpool::key::{self, Found};
use aicarpool::route::{self, Kind, Matched, Route};
use aicarpool::words::{Dialect, Refusal, UnixMs};
use aicarpool_fuzz::{first_line, headers};
use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (line, lines) = first_line(input);
    let Ok(line) = std::str::from_utf8(line) else { return };
    let (method, target) = line.split_once(' ').unwrap_or(("POST", line));
    let Ok(method) = Method::try_from(method) else { return };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let headers = headers(lines);
    let (dialect, responses) = route::dialect_looks_like(path, &headers);
    assert!(!responses || dialect == Dialect::Openai);
    match route::find(&method, path, query, &headers) {
        Ok(Matched::Hello | Matched::Health { .. }) => {}
        Ok(Matched::Route(route)) => check_route(&route, &method, &headers),
        Err(refusal) => check_refusal(&refusal, dialect, responses),
    }
});

fn check_route(route: &Route, method: &Method, headers: &HeaderMap) {
    assert_eq!(route.operation, route.kind.operation());
    assert!(is_clean(&route.tail), "{:?}", route.tail);
    assert_eq!(key::find(&HeaderMap::new(), route.query.as_deref()), Found::None, "a key stays in the query");
    assert!(route.object.as_deref().is_none_or(|id| is_clean(&format!("/{id}"))), "{:?}", route.object);
    assert_eq!(route.model.is_some(), route.model_span.is_some());
    if let (Some(model), Some(span)) = (&route.model, &route.model_span) {
        assert_eq!(route.tail[span.clone()], **model);
        assert_eq!(route.tail_for(model), route.tail);
        let other = route.tail_for("other");
        assert!(other.starts_with(&route.tail[..span.start]) && other.ends_with(&route.tail[span.end..]));
    }
    // What is sent upstream leads to the same, asked once more.
    if !matches!(route.kind, Kind::ModelList | Kind::ModelGet) {
        match route::find(method, &route.tail, route.query.as_deref(), headers) {
            Ok(Matched::Route(again)) => assert_eq!(again, *route),
            other => panic!("{}: {other:?}", route.tail),
        }
    }
}

/// Whether no server could take the path for another.
fn is_clean(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@+".contains(&byte);
    let segment = |text: &str| !text.is_empty() && text != "." && text != ".." && text.bytes().all(plain);
    path.len() <= 2048 && path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment))
}

fn check_refusal(refusal: &Refusal, dialect: Dialect, responses: bool) {
    let answer = dialect::refusal(dialect, responses, refusal, "req_1", UnixMs(1_800_000_000_000));
    assert!((400..600).contains(&answer.status));
    serde_json::from_slice::<serde_json::Value>(&answer.body).expect("a refusal is JSON");
    assert!(answer.body.len() < 4096, "a refusal repeats what it was sent");
    for (_, value) in &answer.headers {
        http::HeaderValue::from_str(value).expect("a header's value");
    }
}
