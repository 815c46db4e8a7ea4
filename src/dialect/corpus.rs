//! Every exchange of the corpus, where it is there, through route, facts, first event and errors with a 200.

use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value as Json;

use super::{First, FirstEvent, error_in_json};
use crate::facts;
use crate::route::{self, Matched, Route};
use crate::words::Operation;

fn corpus() -> Option<PathBuf> {
    let mut folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    while !folder.join("shared/corpus/cases").is_dir() {
        if !folder.pop() {
            return None;
        }
    }
    Some(folder.join("shared/corpus/cases"))
}

#[test]
fn every_case_of_the_corpus() {
    let Some(corpus) = corpus() else { return };
    let (mut seen, mut wrong) = (0, Vec::new());
    for folder in std::fs::read_dir(corpus).unwrap() {
        let folder = folder.unwrap().path();
        let case: Json = serde_json::from_slice(&std::fs::read(folder.join("case.json")).unwrap()).unwrap();
        seen += 1;
        if let Err(what) = check_case(&folder, &case) {
            wrong.push(format!("{}: {what}", case["id"]));
        }
    }
    assert!(seen > 300 && wrong.is_empty(), "{seen} cases\n{}", wrong.join("\n"));
}

fn check_case(folder: &Path, case: &Json) -> Result<(), String> {
    let request = &case["request"];
    let mut headers = HeaderMap::new();
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        let value = HeaderValue::from_str(value.as_str().unwrap()).unwrap();
        headers.append(HeaderName::try_from(name.as_str()).unwrap(), value);
    }
    let full = request["path"].as_str().unwrap();
    let (path, query) = full.split_once('?').map_or((full, None), |(path, query)| (path, Some(query)));
    let method = Method::try_from(request["method"].as_str().unwrap()).unwrap();
    let route = match route::find(&method, path, query, &headers) {
        Ok(Matched::Route(route)) => route,
        other => return Err(format!("{full}: {other:?}")),
    };
    check_request(folder, case, &route, &headers)?;
    if case["response"]["status"].as_u64().is_some_and(|status| (200..300).contains(&status)) {
        check_answer(folder, case, &route)?;
    }
    Ok(())
}

fn check_request(folder: &Path, case: &Json, route: &Route, headers: &HeaderMap) -> Result<(), String> {
    let operation = case["operation"].as_str().unwrap_or_default();
    if route.dialect.name() != case["dialect"] {
        return Err(format!("{:?} {operation}", route));
    }
    let body = Bytes::from(std::fs::read(folder.join("request.body")).unwrap_or_default());
    let facts = facts::read(route, headers, &body).map_err(|refusal| refusal.message)?;
    match (facts.model.as_deref(), case["expect"]["model"].as_str()) {
        (Some(model), Some(expected)) if model != expected => Err(format!("model {model}, not {expected}")),
        (None, Some(expected)) if route.kind.body_names_model() => Err(format!("no model, not {expected}")),
        _ => Ok(()),
    }
}

fn check_answer(folder: &Path, case: &Json, route: &Route) -> Result<(), String> {
    let raw = std::fs::read(folder.join("response.body")).unwrap();
    let header = |name: &str| case["response"]["headers"][name].as_str().unwrap_or_default();
    let mut body = raw.clone();
    if header("content-encoding") == "gzip" {
        body.clear();
        flate2::read::GzDecoder::new(&*raw).read_to_end(&mut body).map_err(|error| error.to_string())?;
    }
    let class = case["class"].as_str().unwrap_or_default();
    let streams = header("content-type").starts_with("text/event-stream") || class.contains("-array/");
    if !streams {
        let found = error_in_json(case["provider"].as_str().unwrap(), route.dialect, route.operation, &body);
        return match (found, class.ends_with("error-in-200")) {
            (Some(failure), false) => Err(format!("took it for an error: {failure:?}")),
            (None, true) => Err("the error was not found".to_string()),
            _ => Ok(()),
        };
    }
    let expected = match class {
        _ if class.ends_with("/error-first") => "error",
        _ if class.ends_with("/empty") => "empty",
        _ => "meaningful",
    };
    for size in [1, 7, 512, usize::MAX] {
        let told = run(route.operation, route, &body, size);
        if told != expected {
            return Err(format!("{told}, not {expected}, in pieces of {size}"));
        }
    }
    Ok(())
}

fn run(operation: Operation, route: &Route, body: &[u8], size: usize) -> &'static str {
    let mut watch = FirstEvent::new(route.dialect, operation);
    let mut first = First::More;
    for piece in body.chunks(size) {
        first = watch.feed(piece);
        if first != First::More {
            break;
        }
    }
    match if first == First::More { watch.end() } else { first } {
        First::More => "more",
        First::Meaningful => "meaningful",
        First::Error(_) => "error",
        First::Empty => "empty",
    }
}
