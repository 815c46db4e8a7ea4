//! The recorded exchanges whose cost is known: usage from the expectation, terms from the answer. Skipped where the corpus is not
//! there (`shared/corpus`, in a folder above this project).

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::words::{Basis, Class, Factor, Metered, Round, Terms, UnixMs, Usage};

fn corpus() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().map(|folder| folder.join("shared/corpus/cases")).find(|cases| cases.is_dir())
}

/// Whose entries apply, by the provider of a case.
fn provider(case: &str) -> &str {
    match case {
        "relay" => "anthropic",
        "kimi" => "moonshot",
        "glm" => "zhipu",
        "qwen" => "dashscope",
        other => other,
    }
}

#[test]
fn recorded_exchanges_cost_what_they_should() {
    let Some(cases) = corpus() else { return };
    let mut folders: Vec<_> = std::fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for folder in folders {
        let case: Value = serde_json::from_slice(&std::fs::read(folder.join("case.json")).unwrap()).unwrap();
        let Some(expected) = case["expect"]["cost"].as_u64() else { continue };
        let got = price(&case, &folder);
        checked += 1;
        if got.cost.total.0 != expected || expected > 0 && !got.priced {
            wrong.push(format!("{}: {got:?}, expected {expected}", case["id"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 200, "only {checked} cases");
}

fn price(case: &Value, folder: &Path) -> Priced {
    let expect = &case["expect"];
    let answer = objects(&std::fs::read(folder.join("response.body")).unwrap(), case);
    let none = expect["basis"] == "none";
    let metered = Metered {
        usage: if none { Usage::default() } else { usage(&expect["usage"]) },
        basis: if none { Basis::None } else { Basis::Reported },
        model: expect["model_answered"].as_str().map(str::to_owned),
        rounds: rounds(&answer),
        terms: terms(&answer),
        ..Metered::default()
    };
    let ask = Ask {
        scope: Scope { account: "a", service: "s", provider: provider(case["provider"].as_str().unwrap()) },
        sent: expect["model"].as_str().unwrap_or_default(),
        entry: None,
        by_answer: true,
        price_factor: Factor::ONE,
        now: UnixMs(0),
    };
    price_all(&Book::builtin(), &ask, &metered)
}

fn usage(expected: &Value) -> Usage {
    let mut usage = Usage::default();
    for (name, count) in expected.as_object().into_iter().flatten() {
        let class = Class::ALL.into_iter().find(|class| class.name() == name).unwrap();
        let count =
            if class == Class::Seconds { (count.as_f64().unwrap() * 1000.0).round() as u64 } else { count.as_u64().unwrap() };
        usage.set(class, count);
    }
    usage
}

/// The JSON values of an answer: the whole body, or the data of each event.
fn objects(body: &[u8], case: &Value) -> Vec<Value> {
    let mut body = body.to_vec();
    if case["response"]["headers"]["content-encoding"] == "gzip" {
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain).unwrap();
        body = plain;
    }
    let text = String::from_utf8_lossy(&body);
    if let Ok(whole) = serde_json::from_str(&text) {
        return vec![whole];
    }
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok()).collect()
}

/// All values of `key` outside of content.
fn search<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == key {
                    found.push(value);
                }
                if !["content", "choices", "output", "candidates", "delta"].contains(&name.as_str()) {
                    search(value, key, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| search(item, key, found)),
        _ => {}
    }
}

fn last<'v>(answer: &'v [Value], key: &str) -> Option<&'v Value> {
    let mut found = Vec::new();
    answer.iter().for_each(|value| search(value, key, &mut found));
    found.into_iter().rfind(|value| !value.is_null())
}

fn terms(answer: &[Value]) -> Terms {
    let text = |key: &str| last(answer, key).and_then(Value::as_str).map(str::to_owned);
    Terms {
        service_tier: text("service_tier").or_else(|| text("serviceTier")),
        speed_fast: text("speed").as_deref() == Some("fast"),
        inference_geo: text("inference_geo"),
        ..Terms::default()
    }
}

/// Rounds of other models, as Anthropic reports them.
fn rounds(answer: &[Value]) -> Vec<Round> {
    let count = |round: &Value, key: &str| round[key].as_u64().unwrap_or(0);
    let rounds = last(answer, "iterations").and_then(Value::as_array).into_iter().flatten();
    rounds
        .filter_map(|round| {
            let model = round["model"].as_str()?.to_owned();
            let writes = count(round, "cache_creation_input_tokens");
            let hour = count(&round["cache_creation"], "ephemeral_1h_input_tokens");
            let usage = [
                (Class::Input, count(round, "input_tokens")),
                (Class::CacheRead, count(round, "cache_read_input_tokens")),
                (Class::CacheWrite1h, hour),
                (Class::CacheWrite5m, writes.saturating_sub(hour)),
                (Class::Output, count(round, "output_tokens")),
            ];
            Some(Round { model, usage: usage.into_iter().collect() })
        })
        .collect()
}
