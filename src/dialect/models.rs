//! Model lists, in the three forms that the official SDKs parse.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::key::{pairs, percent_decoded};
use crate::words::Dialect;

/// One model as it is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelEntry {
    /// The name to ask for.
    pub id: String,
    /// Seconds since 1970, where it is known.
    pub created: Option<i64>,
    /// Who makes it: the provider in the price book, else the service.
    pub owned_by: String,
    /// A name for people; the id if there is none.
    pub display_name: Option<String>,
    /// Tokens.
    pub max_input: Option<u64>,
    pub max_output: Option<u64>,
}

/// What each API gives if the caller asks for no number, and the most it gives.
const ANTHROPIC_PAGE: (usize, usize) = (20, 1000);
const GEMINI_PAGE: (usize, usize) = (50, 1000);

/// The list of these models in this dialect, or the page of it that `query` asks for.
pub fn model_list(dialect: Dialect, models: &[ModelEntry], query: Option<&str>) -> Bytes {
    let list = match dialect {
        Dialect::Anthropic => anthropic_list(models, query.unwrap_or_default()),
        Dialect::Openai => json!({"object": "list", "data": models.iter().map(openai).collect::<Vec<_>>()}),
        Dialect::Gemini => gemini_list(models, query.unwrap_or_default()),
    };
    Bytes::from(list.to_string())
}

/// One model in this dialect.
pub fn model_entry(dialect: Dialect, model: &ModelEntry) -> Bytes {
    let entry = match dialect {
        Dialect::Anthropic => anthropic(model),
        Dialect::Openai => openai(model),
        Dialect::Gemini => gemini(model),
    };
    Bytes::from(entry.to_string())
}

fn openai(model: &ModelEntry) -> Value {
    json!({"id": model.id, "object": "model", "created": model.created.unwrap_or(0), "owned_by": model.owned_by})
}

fn anthropic(model: &ModelEntry) -> Value {
    let created = jiff::Timestamp::from_second(model.created.unwrap_or(0)).unwrap_or_default();
    let mut entry = json!({
        "type": "model",
        "id": model.id,
        "display_name": model.display_name.as_ref().unwrap_or(&model.id),
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    if let Some(max_input) = model.max_input {
        entry["max_input_tokens"] = max_input.into();
    }
    if let Some(max_output) = model.max_output {
        entry["max_tokens"] = max_output.into();
    }
    entry
}

fn gemini(model: &ModelEntry) -> Value {
    let mut entry = json!({
        "name": format!("models/{}", model.id),
        "version": "1",
        "displayName": model.display_name.as_ref().unwrap_or(&model.id),
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    });
    if let Some(max_input) = model.max_input {
        entry["inputTokenLimit"] = max_input.into();
    }
    if let Some(max_output) = model.max_output {
        entry["outputTokenLimit"] = max_output.into();
    }
    entry
}

/// Pages by `limit`, `after_id`, `before_id`. An id that is not in the list gives an empty page.
fn anthropic_list(models: &[ModelEntry], query: &str) -> Value {
    let size = page_size(parameter(query, "limit"), ANTHROPIC_PAGE);
    let place = |id: &str| models.iter().position(|model| model.id == id);
    let (page, has_more) = match (parameter(query, "after_id"), parameter(query, "before_id")) {
        (Some(after), _) => from_start(place(&after).map_or(&[], |at| &models[at + 1..]), size),
        (None, Some(before)) => {
            let earlier = place(&before).map_or(&models[..0], |at| &models[..at]);
            (&earlier[earlier.len().saturating_sub(size)..], earlier.len() > size)
        }
        (None, None) => from_start(models, size),
    };
    json!({
        "data": page.iter().map(anthropic).collect::<Vec<_>>(),
        "has_more": has_more,
        "first_id": page.first().map(|model| &model.id),
        "last_id": page.last().map(|model| &model.id),
    })
}

/// Pages by `pageSize` and `pageToken`, which is the last id of the page before.
fn gemini_list(models: &[ModelEntry], query: &str) -> Value {
    let size = page_size(parameter(query, "pageSize").or_else(|| parameter(query, "page_size")), GEMINI_PAGE);
    let token = parameter(query, "pageToken").or_else(|| parameter(query, "page_token")).filter(|token| !token.is_empty());
    let rest = match token {
        Some(token) => models.iter().position(|model| model.id == token).map_or(&models[..0], |at| &models[at + 1..]),
        None => models,
    };
    let (page, has_more) = from_start(rest, size);
    let mut list = json!({"models": page.iter().map(gemini).collect::<Vec<_>>()});
    if let (true, Some(last)) = (has_more, page.last()) {
        list["nextPageToken"] = last.id.as_str().into();
    }
    list
}

fn from_start(models: &[ModelEntry], size: usize) -> (&[ModelEntry], bool) {
    (&models[..models.len().min(size)], models.len() > size)
}

fn page_size(asked: Option<String>, (usual, most): (usize, usize)) -> usize {
    asked.and_then(|text| text.parse().ok()).filter(|size| *size > 0).unwrap_or(usual).min(most)
}

fn parameter(query: &str, wanted: &str) -> Option<String> {
    pairs(query).find(|(name, _)| percent_decoded(name) == wanted).map(|(_, value)| percent_decoded(value).into_owned())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn model(id: &str) -> ModelEntry {
        ModelEntry { id: id.to_string(), owned_by: "anthropic".to_string(), ..ModelEntry::default() }
    }

    #[test]
    fn one_model() {
        let model = ModelEntry {
            created: Some(1_758_000_000),
            display_name: Some("Claude Sonnet".to_string()),
            max_input: Some(200_000),
            max_output: Some(64_000),
            ..model("claude-sonnet-4-5")
        };
        let told =
            Dialect::ALL.map(|dialect| String::from_utf8_lossy(&model_entry(dialect, &model)).into_owned() + "\n").concat();
        expect![[r#"
            {"created_at":"2025-09-16T05:20:00Z","display_name":"Claude Sonnet","id":"claude-sonnet-4-5","max_input_tokens":200000,"max_tokens":64000,"type":"model"}
            {"created":1758000000,"id":"claude-sonnet-4-5","object":"model","owned_by":"anthropic"}
            {"displayName":"Claude Sonnet","inputTokenLimit":200000,"name":"models/claude-sonnet-4-5","outputTokenLimit":64000,"supportedGenerationMethods":["generateContent","countTokens"],"version":"1"}
        "#]].assert_eq(&told);
    }

    /// The ids on the page, and what leads to the next.
    fn page(dialect: Dialect, query: &str) -> String {
        let models: Vec<_> = ["a", "b", "c", "d", "e"].map(model).into();
        let list: Value = serde_json::from_slice(&model_list(dialect, &models, Some(query))).unwrap();
        let entries = list["data"].as_array().or_else(|| list["models"].as_array()).unwrap();
        let ids: String = entries.iter().map(|entry| entry["id"].as_str().or_else(|| entry["name"].as_str()).unwrap()).collect();
        let more = if dialect == Dialect::Anthropic { &list["has_more"] } else { &list["nextPageToken"] };
        format!("{ids} {more}")
    }

    #[test]
    fn pages() {
        let anthropic = |query| page(Dialect::Anthropic, query);
        assert_eq!(anthropic(""), "abcde false");
        assert_eq!(anthropic("limit=1000"), "abcde false");
        assert_eq!(anthropic("limit=2"), "ab true");
        assert_eq!(anthropic("limit=2&after_id=b"), "cd true");
        assert_eq!(anthropic("limit=2&after_id=d"), "e false");
        assert_eq!(anthropic("limit=2&before_id=d"), "bc true");
        assert_eq!(anthropic("before_id=c"), "ab false");
        assert_eq!(anthropic("after_id=x"), " false");
        assert_eq!(anthropic("limit=0"), "abcde false");
        let gemini = |query| page(Dialect::Gemini, query);
        assert_eq!(gemini("pageSize=2"), "models/amodels/b \"b\"");
        assert_eq!(gemini("pageSize=2&pageToken=b"), "models/cmodels/d \"d\"");
        assert_eq!(gemini("pageSize=2&pageToken=d"), "models/e null");
        assert_eq!(page(Dialect::Openai, "limit=2"), "abcde null");
    }
}
