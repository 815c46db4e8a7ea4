//! Walks the recorded exchanges, where their folder is at hand: `AICARPOOL_CORPUS`, else `shared/corpus` somewhere above the
//! crate. The rules that they show are also covered by the fixtures of `tests.rs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::estimate::ScriptBytes;
use super::{End, Form, Meter, Spec, Strip};
use crate::words::{Class, Dialect, Metered, Nanodollars, Operation};

const SIZES: [usize; 5] = [1, 7, 512, 16_384, usize::MAX];

fn folder() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("AICARPOOL_CORPUS") {
        return Some(PathBuf::from(given));
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().map(|above| above.join("shared/corpus")).find(|corpus| corpus.is_dir())
}

struct Case {
    id: String,
    case: Value,
    request: Vec<u8>,
    response: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let Some(folder) = folder() else { return Vec::new() };
    let folder = if folder.join("cases").is_dir() { folder.join("cases") } else { folder };
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found.into_iter().filter(|path| path.join("case.json").is_file()).map(|path| read(&path)).collect()
}

fn read(path: &Path) -> Case {
    let case: Value = serde_json::from_slice(&std::fs::read(path.join("case.json")).unwrap()).unwrap();
    let stored = std::fs::read(path.join("response.body")).unwrap();
    let grow = &case["response"]["generate"];
    let response = match grow["marker"].as_str() {
        None => stored,
        Some(marker) => {
            let bytes = usize::try_from(grow["bytes"].as_u64().unwrap()).unwrap();
            let at = memchr::memmem::find(&stored, marker.as_bytes()).unwrap();
            [&stored[..at], "corpus ".repeat(bytes / 7).as_bytes(), &stored[at + marker.len()..]].concat()
        }
    };
    let request = std::fs::read(path.join("request.body")).unwrap_or_default();
    Case { id: path.file_name().unwrap().to_string_lossy().into_owned(), case, request, response }
}

fn dialect(name: &str) -> Dialect {
    Dialect::ALL.into_iter().find(|dialect| dialect.name() == name).unwrap()
}

/// The corpus names operations by their paths.
fn operation(name: &str) -> Operation {
    match name {
        "generateContent" | "streamGenerateContent" => Operation::Generate,
        "embedContent" | "batchEmbedContents" => Operation::Embeddings,
        "predict" => Operation::Images,
        "countTokens" => Operation::CountTokens,
        "speech" | "transcriptions" | "translations" => Operation::Audio,
        other => other.parse().unwrap_or_else(|()| panic!("an operation {other}")),
    }
}

impl Case {
    fn text(&self, pointer: &str) -> Option<&str> {
        self.case.pointer(pointer).and_then(Value::as_str)
    }

    fn meter(&self) -> Meter {
        let dialect = dialect(self.text("/dialect").unwrap());
        let mut input = ScriptBytes::default();
        input.add(&self.request);
        Meter::new(Spec {
            dialect,
            form: Form::of(dialect, operation(self.text("/operation").unwrap())),
            status: u16::try_from(self.case["response"]["status"].as_u64().unwrap()).unwrap(),
            content_type: self.text("/response/headers/content-type").unwrap_or_default(),
            content_encoding: self.text("/response/headers/content-encoding"),
            model: self.text("/expect/model").map(Arc::from),
            input,
            limits: None,
        })
    }

    fn metered(&self, size: usize) -> Metered {
        let mut meter = self.meter();
        self.response.chunks(size).for_each(|chunk| meter.feed(chunk));
        meter.end(if self.text("/response/end") == Some("cut") { End::Cut } else { End::Complete })
    }

    /// What differs from what is expected.
    fn faults(&self, metered: &Metered) -> Vec<String> {
        let expect = &self.case["expect"];
        let mut faults = Vec::new();
        let bases: Vec<&str> = match &expect["basis"] {
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        let basis = metered.basis.name();
        if !bases.contains(&basis) {
            return vec![format!("basis {basis}, not {bases:?} (usage {:?})", metered.usage)];
        }
        if let Some(model) = expect["model_answered"].as_str().filter(|_| basis != "none")
            && metered.model.as_deref() != Some(model)
        {
            faults.push(format!("model {:?}, not {model}", metered.model));
        }
        let usage =
            |class: Class| if class == Class::Seconds { metered.usage.get(class) / 1000 } else { metered.usage.get(class) };
        if let Some(cost) = expect["provider_cost"].as_u64()
            && metered.provider_cost != Some(Nanodollars(cost))
        {
            faults.push(format!("provider_cost {:?}, not {cost}", metered.provider_cost));
        }
        if basis == "none" && !metered.usage.is_empty() {
            faults.push(format!("usage {:?} although nothing is to be charged", metered.usage));
        }
        if basis == "estimated" && metered.usage.is_empty() {
            faults.push("estimated, but no usage".into());
        }
        if expect["usage"].is_object() && matches!(basis, "reported" | "partial") {
            for class in Class::ALL {
                let (name, count) = (class.name(), usage(class));
                let bounds = expect["bounds"][name].as_array().filter(|_| basis == "partial");
                let (low, high) = match bounds {
                    Some(bounds) => (bounds[0].as_u64().unwrap(), bounds[1].as_u64().unwrap()),
                    None => {
                        let wanted = expect["usage"][name].as_u64().unwrap_or(0);
                        (wanted, wanted)
                    }
                };
                if !(low..=high).contains(&count) {
                    faults.push(format!("{name} {count}, not {low}..={high}"));
                }
            }
        }
        faults
    }

    /// The answer without the bytes that the client must not see.
    fn without_removed(&self) -> Vec<u8> {
        let mut rest = self.response.clone();
        for range in self.case["expect"]["removed"].as_array().into_iter().flatten().rev() {
            let at = |end: usize| usize::try_from(range[end].as_u64().unwrap()).unwrap();
            rest.drain(at(0)..at(1));
        }
        rest
    }

    fn stripped(&self, size: usize) -> Vec<u8> {
        let mut strip = Strip::new();
        let mut out: Vec<u8> = Vec::new();
        for chunk in self.response.chunks(size) {
            out.extend_from_slice(&strip.feed(Bytes::copy_from_slice(chunk)));
        }
        out.extend_from_slice(&strip.end());
        out
    }
}

#[test]
fn every_exchange_is_metered_as_expected() {
    let mut faulty = Vec::new();
    for case in cases() {
        for size in SIZES {
            let faults = case.faults(&case.metered(size));
            if !faults.is_empty() {
                faulty.push(format!("{} in pieces of {size}: {}", case.id, faults.join("; ")));
                break;
            }
        }
    }
    assert!(faulty.is_empty(), "\n{}", faulty.join("\n"));
}

#[test]
fn only_the_forced_usage_chunk_is_removed() {
    let mut faulty = Vec::new();
    for case in cases() {
        if case.text("/operation") != Some("chat") || case.text("/response/headers/content-encoding").is_some() {
            continue;
        }
        let forced = case.case["response"]["forced"].as_bool() == Some(true);
        let first = case.stripped(1);
        for size in SIZES {
            let out = case.stripped(size);
            if forced && out != case.without_removed() || out != first {
                faulty.push(format!("{} in pieces of {size}", case.id));
            }
        }
    }
    assert!(faulty.is_empty(), "\n{}", faulty.join("\n"));
}
