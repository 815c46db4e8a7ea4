//! The operator's files over the built-in book.

use std::path::PathBuf;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::words::{Class, Factor, Terms, UnixMs, Usage};

fn with(text: &str) -> Result<(Book, Vec<String>), Vec<Fault>> {
    Book::builtin().with(&[(PathBuf::from("our.yaml"), text.to_owned())])
}

fn book(text: &str) -> Book {
    with(text).unwrap_or_else(|faults| panic!("{faults:?}")).0
}

/// Nano-dollars for a thousand tokens of `class`; `None` where nothing is found.
fn thousand(book: &Book, scope: (&str, &str, &str), model: &str, class: Class) -> Option<u64> {
    let (account, service, provider) = scope;
    let entry = book.find(Scope { account, service, provider }, model)?;
    let usage: Usage = [(class, 1000)].into_iter().collect();
    Some(cost(&entry, &usage, &Terms::default(), UnixMs(0), Factor::ONE).total.0)
}

fn check_faults(text: &str, expected: Expect) {
    let faults = with(text).map(|(book, _)| format!("{book:?}")).expect_err("has faults");
    let lines: Vec<_> =
        faults.iter().map(|(file, line, path, what)| format!("{}:{line}: {path}: {what}\n", file.display())).collect();
    expected.assert_eq(&lines.concat());
}

fn check_notes(text: &str, expected: Expect) {
    let (_, notes) = with(text).unwrap_or_else(|faults| panic!("{faults:?}"));
    expected.assert_eq(&notes.into_iter().map(|note| note + "\n").collect::<String>());
}

const SCOPES: &str = r#"
models:
  - {account: relay-1, model: gpt-4o, price: {input: "4", output: "16"}}
  - {service: corp, model: "gpt-*", price: {input: 3, output: 12}}
  - {provider: openai, model: gpt-4o, price: {input: 2.6, output: "10.4"}}
  - {provider: openai, model: "gpt-*", price: {input: 9, output: 9}}
  - provider: corp
    model: llama-3
    aliases: [Llama, "llama-3-*"]
    mode: chat
    price: {input: "0.1", output: 0.2}
    tiers: [{above_input_tokens: 500, price: {input: 1, output: 2}}]
    max_input: 128_000
"#;

#[test]
fn account_beats_service_beats_provider() {
    let book = book(SCOPES);
    let check = |scope, model: &str, expected: Option<u64>| {
        assert_eq!(thousand(&book, scope, model, Class::Input), expected, "{scope:?} {model}");
    };
    check(("relay-1", "corp", "openai"), "gpt-4o", Some(4_000_000));
    check(("relay-2", "corp", "openai"), "gpt-4o", Some(3_000_000));
    check(("relay-2", "openai", "openai"), "gpt-4o", Some(2_600_000));
    check(("relay-1", "corp", "openai"), "gpt-5-nano", Some(3_000_000));
    // A pattern for the provider prices what the book does not know, not what it does.
    check(("x", "openai", "openai"), "gpt-5-nano", Some(50_000));
    check(("x", "openai", "openai"), "gpt-99", Some(9_000_000));
    check(("x", "x", "corp"), "llama", Some(1_000_000));
    check(("x", "x", "corp"), "LLAMA-3-70b", Some(1_000_000));
    check(("x", "x", "openai"), "llama-3", None);
    check(("x", "x", "azure"), "gpt-4o", Some(2_600_000));
}

#[test]
fn an_override_of_an_id_counts_for_its_dated_names_and_keeps_the_rest() {
    let book = book(
        r#"
models:
  - {provider: anthropic, model: claude-sonnet-4-5, price: {input: "2", output: "8"}}
  - {account: relay-1, model: claude-opus-5-5, price: {input: "1", output: "5"}, multiplier: {speed_fast: 1.5}}
  - {service: openrouter, model: claude-sonnet-4-5, price: {input: "6", output: "7"}}
"#,
    );
    let provider = ("x", "claude", "anthropic");
    assert_eq!(thousand(&book, provider, "claude-sonnet-4-5-20250929", Class::Input), Some(2_000_000));
    // The cache falls back on the new price, by Anthropic's factor; a search costs what it did.
    assert_eq!(thousand(&book, provider, "claude-sonnet-4-5", Class::CacheWrite5m), Some(2_500_000));
    assert_eq!(thousand(&book, provider, "claude-sonnet-4-5", Class::Searches), Some(10_000_000_000));
    let entry = book.find(Scope { account: "x", service: "x", provider: "anthropic" }, "claude-sonnet-4-5").unwrap();
    assert_eq!((entry.max_input, entry.is_exact(), &*entry.id), (Some(200_000), true, "claude-sonnet-4-5"));
    assert_eq!(thousand(&book, ("relay-1", "x", "anthropic"), "claude-opus-5-5-20261101", Class::Output), Some(5_000_000));
    assert_eq!(thousand(&book, ("x", "openrouter", "openrouter"), "anthropic/claude-sonnet-4.5", Class::Output), Some(7_000_000));
    let listed: Vec<_> = book.models_of("anthropic").filter(|entry| &*entry.id == "claude-sonnet-4-5").collect();
    assert_eq!(listed.len(), 1);
}

#[test]
fn a_name_given_beats_one_taken_over() {
    let book = book(
        r#"
models:
  - {provider: anthropic, model: claude-sonnet-4-5-20250929, price: {input: 1, output: 1}}
  - {provider: anthropic, model: claude-sonnet-4-5, price: {input: 2, output: 2}}
"#,
    );
    let at = |model| thousand(&book, ("x", "x", "anthropic"), model, Class::Input);
    assert_eq!((at("claude-sonnet-4-5-20250929"), at("claude-sonnet-4-5-20251201")), (Some(1_000_000), Some(2_000_000)));
}

#[test]
fn service_tiers_and_hours_can_be_overridden() {
    let book = book(
        r#"
models:
  - service: corp
    model: llama-3
    price: {input: 1, output: 1}
    service_tiers: {batch: {price: {input: 0.5, output: 0.5}}}
    off_peak: {price: {input: 0.25, output: 0.25}, windows: [{weekdays_utc: [4], hours_utc: ["22:00-02:00"]}]}
    per_search: {low: "0.01", medium: "0.02", high: "0.03"}
    per_image: "0.04"
  - {provider: corp, model: x, price: {input: 1, output: 1}, service: {flex: {price: {input: 3, output: 3}}}}
"#,
    );
    let entry = book.find(Scope { account: "x", service: "corp", provider: "corp" }, "llama-3").unwrap();
    let input: Usage = [(Class::Input, 1000)].into_iter().collect();
    let at = |tier: Option<&str>, hour: i64| {
        let terms = Terms { service_tier: tier.map(str::to_owned), ..Terms::default() };
        cost(&entry, &input, &terms, UnixMs(hour * 3_600_000), Factor::ONE).total.0
    };
    // 1970-01-01 was a Thursday.
    assert_eq!([21, 22, 23, 24, 25, 26].map(|hour| at(None, hour)), [1_000_000, 250_000, 250_000, 250_000, 250_000, 1_000_000]);
    assert_eq!((at(Some("batch"), 22), at(None, 22 + 24), at(None, -1)), (500_000, 1_000_000, 1_000_000));
    let searches: Usage = [(Class::Searches, 1), (Class::Images, 1)].into_iter().collect();
    let sized = |size: Option<&str>| {
        let terms = Terms { search_context: size.map(str::to_owned), ..Terms::default() };
        cost(&entry, &searches, &terms, UnixMs(0), Factor::ONE).rest.0
    };
    assert_eq!((sized(None), sized(Some("low")), sized(Some("high"))), (60_000_000, 50_000_000, 70_000_000));
}

#[test]
fn the_version_names_the_files_content() {
    let one = book(SCOPES);
    assert!(one.version().starts_with("2026-11-21+") && one.version().len() == 19, "{}", one.version());
    assert_eq!(one.version(), book(SCOPES).version());
    assert_ne!(one.version(), book("models: []").version());
    assert_eq!(Book::builtin().with(&[]).unwrap().0.version(), Book::builtin().version());
    let named: Vec<_> = one.named().iter().map(|named| (named.kind, &*named.id, named.line, &*named.path)).collect();
    assert_eq!(named[0], ("account", "relay-1", 3, "models[0].account"));
    assert_eq!(named[4], ("provider", "corp", 7, "models[4].provider"));
}

#[test]
fn every_fault_is_told_with_its_line() {
    check_faults(
        r#"
models:
  - {provider: openai, model: gpt-4o, price: {input: "-3", outptu: "1"}}
  - {provider: openai, model: gpt-4o, prise: {input: "3"}}
  - {model: gpt-4o, price: {input: "3", output: "3"}}
  - {account: a, price: {input: 1e3, output: ~}}
  - {account: a, model: b, price: {input: 0.0000001, output: "1.0000000001"}}
  - {service: a, model: b, mode: chatty, max_input: many, status: old}
  - account: a
    model: c
    price: {input: 1, output: 1}
    tiers: [{above_input_tokens: 5, price: {input: 1}}, {above_input_tokens: 5, price: {input: 1}}, {price: {}}]
    service_tiers: {bulk: {price: {input: 1}}, flex: {tiers: []}}
    off_peak: {price: {input: 1}, windows: [{weekdays_utc: [0], hours_utc: [late]}]}
    multiplier: {fast: 2}
  - not an entry
  - {account: a, model: d}
  - {account: a, model: d}
  - {account: a, model: e, aliases: [D], tiers: [{above_input_tokens: 1, price: {input: 1}}]}
surprise: 1
unit: usd
"#,
        expect![[r#"
            our.yaml:3: models[0].price.input: -3 is negative; a price is 0 or more
            our.yaml:3: models[0].price.outptu: unknown field; did you mean "output"?
            our.yaml:4: models[1].prise: unknown field; did you mean "price"?
            our.yaml:5: models[2]: says not for whom it counts; give provider, service or account
            our.yaml:6: models[3].price.input: "1e3" is not a decimal number such as 12.50
            our.yaml:6: models[3].price.output: must be a decimal such as "0.25"
            our.yaml:7: models[4].price.input: has more than six decimals; a millionth of a dollar per million tokens is the least there is
            our.yaml:7: models[4].price.output: 1.0000000001 has more than nine decimals
            our.yaml:8: models[5].mode: "chatty" is none of chat, completion, embedding, image, transcription, speech, realtime, moderation, ocr, rerank
            our.yaml:8: models[5].max_input: "many" is not a whole number such as 200000
            our.yaml:8: models[5].status: "old" is none of retired, active
            our.yaml:12: models[6].tiers[1]: tiers must ascend by above_input_tokens
            our.yaml:12: models[6].tiers[2]: needs above_input_tokens and price
            our.yaml:13: models[6].service_tiers.bulk: unknown field; known here: batch, flex, priority, ultrafast
            our.yaml:13: models[6].service_tiers.flex: needs price
            our.yaml:14: models[6].off_peak.windows[0].weekdays_utc[0]: must be 1 (Monday) to 7 (Sunday)
            our.yaml:14: models[6].off_peak.windows[0].hours_utc[0]: must be hours such as "22:00-06:00"
            our.yaml:15: models[6].multiplier.fast: unknown field; known here: speed_fast, inference_geo_us, region_us, region_eu
            our.yaml:16: models[7]: must be a mapping: write name: value pairs
            our.yaml:18: models[9].model: "d" is taken; it was first given at our.yaml:17; keep one of them
            our.yaml:19: models[10]: has tiers or off_peak, but no price that they differ from; give price
            our.yaml:20: surprise: unknown field; known here: version, as_of, unit, sources, provider_aliases, models
            our.yaml:21: unit: must be usd_per_million_tokens, the only unit there is
        "#]],
    );
    check_faults(
        "",
        expect![[r#"
        our.yaml:1: : is empty; write models: [...]
    "#]],
    );
    check_faults(
        "models:\n  - {provider: a, model: b, model: c}\n",
        expect![[r#"
        our.yaml:2: : is not YAML: duplicated key in mapping
    "#]],
    );
    check_faults(
        "models: [\n",
        expect![[r#"
        our.yaml:2: : is not YAML: while parsing a node, did not find expected node content
    "#]],
    );
}

#[test]
fn strange_prices_get_a_word() {
    check_notes(
        r#"
models:
  - {provider: openai, model: gpt-4o, price: {input: "25", output: "10", cache_read: "0"}}
  - {account: a, model: gpt-4o-2024-08-06, price: {input: "0.4", output: "2.0"}}
  - {account: b, model: whisper-1, per_audio_hour: 36, per_page: 1}
  - {service: b, model: gpt-5, price: {input: 1.25}}
  - {service: b, model: else, mode: embedding, price: {input: 1.25}}
"#,
        expect![[r#"
            our.yaml:3: models[0].price.input: gpt-4o costs 25 here, more than fivefold off the built-in 2.5; check the decimal point
            our.yaml:3: models[0].price.cache_read: gpt-4o costs nothing here
            our.yaml:4: models[1].price.input: gpt-4o-2024-08-06 costs 0.4 here, more than fivefold off the built-in 2.5; check the decimal point
            our.yaml:5: models[2].per_audio_hour: whisper-1 costs 36 here, more than fivefold off the built-in 0.36; check the decimal point
            our.yaml:5: models[2].per_page: no answer reports what this would price; it is charged nowhere
            our.yaml:6: models[3].price: gpt-5 has no price for output; requests with output count as unpriced
        "#]],
    );
}

proptest! {
    /// Whatever the text: faults or a book, never a panic.
    #[test]
    fn no_text_panics(text in "(models:\n)?(  - \\{?)?[a-z{}\\[\\]:,\"'0-9.\n -]{0,80}") {
        let _read = with(&text);
    }
}
