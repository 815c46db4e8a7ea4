//! The worked examples of the rules, and what must hold of every cost.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::words::{Basis, Class, Factor, Metered, Nanodollars, Round, Terms, UnixMs, Usage};

/// A Wednesday, 08:00 UTC: DeepSeek's peak.
const PEAK: UnixMs = UnixMs(1_795_593_600_000);
/// The same day, 05:00 UTC.
const OFF_PEAK: UnixMs = UnixMs(PEAK.0 - 3 * 3_600_000);

fn scope(provider: &str) -> Scope<'_> {
    Scope { account: "a", service: "s", provider }
}

fn entry(provider: &str, model: &str) -> Arc<Entry> {
    Book::builtin().find(scope(provider), model).unwrap_or_else(|| panic!("{provider} {model} is in the book"))
}

fn usage(counts: &[(Class, u64)]) -> Usage {
    counts.iter().copied().collect()
}

fn terms(tier: &str) -> Terms {
    Terms { service_tier: (!tier.is_empty()).then(|| tier.to_owned()), ..Terms::default() }
}

/// `model` is `provider model`, then perhaps a service tier.
fn check(model: &str, counts: &[(Class, u64)], expected: u64) {
    let mut words = model.split(' ');
    let (provider, model, tier) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
    let cost = cost(&entry(provider, model), &usage(counts), &terms(tier), PEAK, Factor::ONE);
    assert_eq!((cost.total.0, cost.complete), (expected, true), "{provider} {model} {tier} {counts:?}");
    assert_eq!(cost.input.0 + cost.output.0 + cost.rest.0, cost.total.0);
}

use Class::{CacheRead, CacheWrite1h, CacheWrite5m, Images, Input, InputAudio, InputImage};
use Class::{Output, OutputImage, Reasoning, Searches, Seconds};

#[test]
fn the_worked_examples_cost_what_the_rules_say() {
    let sonnet = [(Input, 1234), (CacheRead, 18900), (CacheWrite5m, 2048), (CacheWrite1h, 512), (Output, 777)];
    check("anthropic claude-sonnet-4-5-20250929", &sonnet, 31_779_000); // 1
    let haiku = |input| [(Input, input), (CacheRead, 98_000), (CacheWrite5m, 1000), (Output, 500)];
    check("anthropic claude-haiku-5-5", &haiku(1000), 1_455_000); // 2, 3
    check("anthropic claude-haiku-5-5", &haiku(1001), 7_275_500);
    let opus = [(Input, 333), (CacheRead, 50_000), (Output, 101)];
    check("anthropic claude-opus-5-5 batch", &opus, 6_676_000); // 5
    let sol = |cached| [(Input, 20_000), (CacheRead, cached), (Output, 1000)];
    check("openai gpt-6.1-sol", &sol(252_000), 75_200_000); // 6, 7, 8
    check("openai gpt-6.1-sol", &sol(252_001), 145_400_200);
    check("openai gpt-6.1-sol flex", &sol(252_001), 72_700_100);
    check("openai gpt-5-nano batch", &[(CacheRead, 1)], 3); // 9, 10: half up, once
    check("openai gpt-5-nano flex", &[(Input, 3), (CacheRead, 7), (Output, 5)], 1093);
    check("openai text-embedding-3-small", &[(Input, 12_345)], 246_900); // 11
    check("openai gpt-image-1.5", &[(Input, 40), (InputImage, 300), (OutputImage, 4160)], 135_720_000); // 12
    let flash = [(Input, 1500), (InputAudio, 320), (CacheRead, 1000), (Output, 200), (Reasoning, 450)];
    check("gemini gemini-2.5-flash", &flash, 2_425_000); // 13
    let pro = |input| [(Input, input), (CacheRead, 50_000), (Output, 10), (Reasoning, 90)];
    check("gemini gemini-2.5-pro", &pro(150_000), 194_750_000); // 14, 15
    check("gemini gemini-2.5-pro", &pro(150_001), 389_002_500);
    check("xai grok-4.7", &[(Input, 199_999), (Output, 1)], 400_004_000); // 18
    check("xai grok-4.7", &[(Input, 200_000), (Output, 1)], 800_012_000);
    check("dashscope qwen3-coder-plus", &[(Input, 32_000), (Output, 100)], 32_500_000); // 19
    check("dashscope qwen3-coder-plus", &[(Input, 32_001), (Output, 100)], 58_501_800);
    check("openai whisper-1", &[(Seconds, 12_340)], 1_234_000); // 20, 21
    check("groq whisper-large-v3-turbo", &[(Seconds, 10_000)], 111_111);
    check("anthropic claude-3-5-haiku-20241022", &[(Input, 11), (Output, 13)], 60_800); // 22
}

#[test]
fn multipliers_multiply_together() {
    let usage = usage(&[(Input, 333), (CacheRead, 50_000), (Output, 101)]);
    let geo = Some("us".to_owned());
    let terms = Terms { speed_fast: true, inference_geo: geo, ..Terms::default() };
    let cost = cost(&entry("anthropic", "claude-opus-5-5"), &usage, &terms, PEAK, Factor::ONE);
    assert_eq!(cost.total.0, 29_374_400); // example 4
}

#[test]
fn deepseek_costs_half_in_its_quiet_hours() {
    let usage = usage(&[(Input, 100), (CacheRead, 9900), (Output, 250)]);
    let at = |now| cost(&entry("deepseek", "deepseek-v4-pro"), &usage, &Terms::default(), now, Factor::ONE).total.0;
    assert_eq!((at(PEAK), at(OFF_PEAK)), (1_557_600, 778_800)); // 16, 17
    let weekend = PEAK.plus_ms(3 * 86_400_000);
    assert_eq!(at(weekend), 778_800);
    assert_eq!(at(PEAK.plus_ms(2 * 3_600_000 - 1)), 1_557_600); // to 10:00, and from there
    assert_eq!(at(PEAK.plus_ms(2 * 3_600_000)), 778_800);
}

#[test]
fn tiers_without_a_block_are_standard() {
    let one = [(Input, 1_000_000)];
    check("openai gpt-5.5", &one, 10_000_000_000);
    check("openai gpt-5.5 unheard-of", &one, 10_000_000_000);
    check("openai gpt-5.5 default", &[(Input, 1000)], 5_000_000);
    check("openai gpt-5.5 fast", &[(Input, 1000)], 12_500_000);
    check("openai gpt-5.5 priority", &one, 10_000_000_000); // no long prompts at that tier: as standard
    check("anthropic claude-opus-5-5 priority", &[(Input, 1000)], 4_000_000);
    check("openai gpt-4.1 Batch", &[(Input, 1000)], 1_000_000);
}

#[test]
fn absent_classes_fall_back() {
    check("openai gpt-4o", &[(Class::CacheWrite12h, 1000)], 2_500_000);
    check("openai gpt-4o", &[(CacheWrite1h, 1000)], 2_500_000);
    check("gemini gemini-2.5-flash", &[(Class::OutputVideo, 1000)], 2_500_000);
    check("gemini gemini-2.5-flash", &[(Class::CacheReadImage, 1000)], 30_000);
    check("anthropic claude-3-opus", &[(Input, 4)], 60_000);
}

#[test]
fn units_cost_by_the_piece() {
    check("anthropic claude-sonnet-5", &[(Input, 1000), (Searches, 3)], 32_000_000);
    check("gemini gemini-2.5-flash", &[(Input, 1000), (Searches, 3)], 35_300_000); // by the prompt
    check("gemini gemini-3.5-flash", &[(Searches, 3)], 42_000_000); // by the query
    check("gemini imagen-3.0-generate-001", &[(Images, 2)], 80_000_000);
    check("openai gpt-image-1.5", &[(Images, 1), (OutputImage, 1000)], 32_000_000); // paid by tokens
    let kind = Terms { image_kind: Some("High/1024x1536".to_owned()), ..Terms::default() };
    let cost = cost(&entry("openai", "gpt-image-1.5"), &usage(&[(Images, 2)]), &kind, PEAK, Factor::ONE);
    assert_eq!((cost.total.0, cost.rest.0), (400_000_000, 400_000_000));
}

#[test]
fn what_has_no_price_says_so() {
    let complete = |provider: &str, model: &str, counts: &[(Class, u64)]| {
        cost(&entry(provider, model), &usage(counts), &Terms::default(), PEAK, Factor::ONE).complete
    };
    assert!(!complete("openai", "gpt-image-1.5", &[(Images, 1)])); // of which size?
    assert!(!complete("xai", "grok-4.7", &[(Input, 1), (Searches, 1)]));
    assert!(!complete("openai", "tts-1", &[(Input, 10)])); // by the character
    assert!(!complete("openai", "whisper-1", &[(Input, 10)])); // estimated, by no hour
    assert!(complete("openai", "whisper-1", &[(Input, 10), (Seconds, 10)]));
    assert!(!complete("mistral", "mistral-embed", &[(Output, 1)]));
    assert!(complete("openai", "whisper-1", &[]));
}

#[test]
fn names_lead_to_entries() {
    let book = Book::builtin();
    let id = |provider: &str, model: &str| book.find(scope(provider), model).map(|entry| entry.id.to_string());
    let check = |provider: &str, model: &str, expected: &str| {
        assert_eq!(id(provider, model).as_deref().unwrap_or("none"), expected, "{provider} {model}");
    };
    check("anthropic", "claude-opus-5-5[1m]", "claude-opus-5-5");
    check("anthropic", "anthropic/Claude-Sonnet-4-5-20250929", "claude-sonnet-4-5");
    check("vertex", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5");
    check("vertex", "projects/p/locations/global/publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro");
    check("vertex", "claude-opus-5@default", "claude-opus-5");
    check("bedrock", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5");
    check("azure", "gpt-4o-2024-08-06", "gpt-4o");
    check("groq", "openai/gpt-oss-120b", "openai/gpt-oss-120b");
    check("minimax", "minimax-m2.1", "MiniMax-M2.1");
    check("openai", "claude-sonnet-4-5", "none");
    check("openai", "my-deployment", "none");
    check("elsewhere", "gpt-4o", "gpt-4o"); // a service of the operator's own that names no `prices`
    check("elsewhere", "our-own-model", "none");
    check("openrouter", "anthropic/claude-sonnet-4.5", "claude-sonnet-4-5");
    check("openrouter", "openai/gpt-5-nano", "gpt-5-nano");
    check("openrouter", "google/gemini-2.5-flash", "gemini-2.5-flash");
    check("openrouter", "openai/gpt-4o:free", "none");
    check("openrouter", "deepseek/deepseek-v4-pro", "none"); // whoever hosts it
    check("openrouter", "gpt-4o", "none");
    check("demo", "claude-sonnet-4-5", "claude-sonnet-4-5");
    check("demo", "gpt-4o", "gpt-4o");
    check("openai", "", "none");
}

#[test]
fn places_have_multipliers() {
    let per_million = |provider: &str, model: &str| {
        let entry = entry(provider, model);
        cost(&entry, &usage(&[(Input, 1_000_000)]), &Terms::default(), PEAK, Factor::ONE).total.0 / 1_000_000
    };
    assert_eq!(per_million("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"), 3000);
    assert_eq!(per_million("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"), 3300);
    assert_eq!(per_million("bedrock", "us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0"), 3600);
    assert_eq!(per_million("bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0"), 3000);
    assert_eq!(per_million("bedrock", "us.anthropic.claude-3-opus-20240229-v1:0"), 15000);
    assert_eq!(per_million("anthropic", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"), 3000);
    assert_eq!(per_million("azure", "gpt-4o"), 2500);
    assert_eq!(per_million("azure-eu", "gpt-4o"), 2750);
    assert_eq!(per_million("azure-eu", "gpt-6.1-sol"), 4800); // a long prompt at 1.2
    assert_eq!(per_million("openai-us", "gpt-6.1-sol"), 4400);
    assert_eq!(per_million("openai-us", "gpt-4o"), 2500);
}

#[test]
fn the_built_in_book_is_whole() {
    let (read, faults) = super::read::read(std::path::Path::new("prices.yaml"), include_str!("prices.yaml"));
    assert_eq!(faults, []);
    assert_eq!(read.models.len(), 476);
    let book = Book::builtin();
    assert_eq!(&**book.version(), "2026-11-21");
    assert_eq!(book.models_of("azure").count(), book.models_of("openai").count());
    let haiku = entry("anthropic", "claude-haiku-4-5");
    assert_eq!((haiku.max_input, haiku.max_output, haiku.mode), (Some(200_000), Some(64_000), Mode::Chat));
    for provider in ["anthropic", "openai", "gemini", "demo", "openrouter", "azure-eu"] {
        assert!(book.knows(provider) && book.providers().contains(&provider), "{provider}");
    }
    assert!(!book.knows("claude"));
}

// ------------------------------------------------------------------ whole requests

fn ask<'a>(provider: &'a str, sent: &'a str) -> Ask<'a> {
    let (entry, by_answer) = (None, true);
    Ask { scope: scope(provider), sent, entry, by_answer, price_factor: Factor::ONE, now: PEAK }
}

fn metered(model: Option<&str>, counts: &[(Class, u64)]) -> Metered {
    Metered { usage: usage(counts), basis: Basis::Reported, model: model.map(str::to_owned), ..Metered::default() }
}

#[test]
fn the_answered_model_is_priced_where_the_book_knows_it() {
    let book = Book::builtin();
    let check = |answered: Option<&str>, by_answer: bool, expected: u64| {
        let ask = Ask { by_answer, ..ask("openai", "gpt-4o") };
        let priced = price_all(&book, &ask, &metered(answered, &[(Input, 1000)]));
        assert_eq!((priced.cost.total.0, priced.priced), (expected, true), "{answered:?}");
    };
    check(None, true, 2_500_000);
    check(Some("gpt-4o-2024-08-06"), true, 2_500_000);
    check(Some("gpt-5-nano"), true, 50_000);
    check(Some("gpt-5-nano"), false, 2_500_000);
    check(Some("my-deployment"), true, 2_500_000);
}

#[test]
fn an_unknown_model_costs_nothing_and_says_so() {
    let priced = price_all(&Book::builtin(), &ask("openai", "who-knows"), &metered(None, &[(Input, 1000)]));
    assert_eq!((priced.cost.total.0, priced.priced, priced.entry.is_none()), (0, false, true));
}

#[test]
fn rounds_are_priced_by_their_own_model() {
    let book = Book::builtin();
    let advice = Round { model: "claude-opus-5".to_owned(), usage: usage(&[(Input, 1000), (Output, 100)]) };
    let mut answer = metered(None, &[(Input, 3000), (Output, 300), (Searches, 1)]);
    answer.rounds.push(advice.clone());
    let alone =
        |model: &str, counts: &[(Class, u64)]| price_all(&book, &ask("anthropic", model), &metered(None, counts)).cost.total.0;
    let main = alone("claude-sonnet-5", &[(Input, 2000), (Output, 200), (Searches, 1)]);
    let round = alone("claude-opus-5", &[(Input, 1000), (Output, 100)]);
    assert_eq!(price_all(&book, &ask("anthropic", "claude-sonnet-5"), &answer).cost.total.0, main + round);

    let by_sent = Ask { by_answer: false, ..ask("anthropic", "claude-sonnet-5") };
    let all = alone("claude-sonnet-5", &[(Input, 3000), (Output, 300), (Searches, 1)]);
    assert_eq!(price_all(&book, &by_sent, &answer).cost.total.0, all);

    answer.rounds[0].model = "who-knows".to_owned();
    let priced = price_all(&book, &ask("anthropic", "claude-sonnet-5"), &answer);
    assert_eq!((priced.cost.total.0, priced.priced), (main, false));
}

#[test]
fn an_answer_without_anything_to_charge_costs_nothing() {
    let mut answer = metered(Some("gpt-4o"), &[]);
    answer.basis = Basis::None;
    let priced = price_all(&Book::builtin(), &ask("openai", "gpt-4o"), &answer);
    assert_eq!((priced.cost.total.0, priced.priced), (0, true));
}

#[test]
fn charges_round_half_up_once() {
    let check = |cost: u64, fixed: u64, factor: u64, expected: u64| {
        assert_eq!(charged(Nanodollars(cost), Nanodollars(fixed), Factor(factor)), Nanodollars(expected));
    };
    check(1000, 0, Factor::SCALE, 1000);
    check(1, 0, 500_000_000, 1);
    check(1, 0, 499_999_999, 0);
    check(1_234_567, 100_000, 900_000_000, 1_201_110);
    check(10, 5, 0, 0);
    check(u64::MAX, u64::MAX, u64::MAX, u64::MAX);
}

#[test]
fn the_price_factor_is_part_of_the_one_rounding() {
    let usage = usage(&[(CacheRead, 1)]); // 2.5 nano-dollars at flex
    let at = |factor| cost(&entry("openai", "gpt-5-nano"), &usage, &terms("flex"), PEAK, Factor(factor)).total.0;
    assert_eq!((at(Factor::SCALE), at(2 * Factor::SCALE), at(0)), (3, 5, 0));
}

// ------------------------------------------------------------------ what always holds

fn any_usage() -> impl Strategy<Value = Usage> {
    let count = prop_oneof![0u64..5, 0u64..2_000_000, Just(u64::MAX), any::<u64>()];
    proptest::collection::vec(count, Class::COUNT).prop_map(|counts| Class::ALL.into_iter().zip(counts).collect())
}

fn any_terms() -> impl Strategy<Value = Terms> {
    let tier = prop_oneof![Just(None), "batch|flex|priority|fast|standard|default|ultrafast|x".prop_map(Some)];
    (tier, any::<bool>(), proptest::option::of("us|eu|global"), proptest::option::of("low|high|medium")).prop_map(
        |(service_tier, speed_fast, inference_geo, search_context)| Terms {
            service_tier,
            speed_fast,
            inference_geo,
            search_context,
            image_kind: None,
        },
    )
}

proptest! {
    #[test]
    fn costs_sum_exactly_and_never_fall_with_use(
        at in 0usize..476, usage in any_usage(), terms in any_terms(), now in any::<i64>(),
        factor in prop_oneof![Just(Factor::SCALE), 0u64..3_000_000_000, any::<u64>()], class in 0usize..Class::COUNT, more in 0u64..1000,
    ) {
        let book = Book::builtin();
        let entry = book.models_of("demo").chain(book.models_of("zhipu-cn")).nth(at).expect("that many");
        let (now, factor) = (UnixMs(now), Factor(factor));
        let first = cost(entry, &usage, &terms, now, factor);
        let parts = u128::from(first.input.0) + u128::from(first.output.0) + u128::from(first.rest.0);
        prop_assert_eq!(parts, u128::from(first.total.0));
        let mut greater = usage;
        greater.add(Class::ALL[class], more);
        let second = cost(entry, &greater, &terms, now, factor);
        // Two ways to cost less with more: a tier that is cheaper (none is), and tokens that pay for pictures.
        let pictures = entry.mode == Mode::Image || entry.standard.is_some() && Class::ALL[class] == Class::OutputImage;
        prop_assert!(second.total >= first.total || pictures, "{:?}: {:?} then {:?}", entry.id, first, second);
    }

    /// Against the sum in plain integers, where nothing rounds.
    #[test]
    fn tokens_cost_their_price(input in 0u64..200_000, cached in 0u64..1000, output in 0u64..100_000) {
        let usage = usage(&[(Input, input), (CacheRead, cached), (Output, output)]);
        let cost = cost(&entry("anthropic", "claude-sonnet-4-5"), &usage, &Terms::default(), PEAK, Factor::ONE);
        prop_assert_eq!(cost.input.0, input * 3000 + cached * 300);
        prop_assert_eq!(cost.output.0, output * 15_000);
        prop_assert_eq!(cost.rest.0, 0);
    }

    #[test]
    fn no_name_panics(provider in "anthropic|bedrock|openrouter|demo|x", model in "\\PC{0,80}") {
        let _found = Book::builtin().find(scope(&provider), &model);
    }
}
