//! One exchange for each rule, made for this crate in the providers' documented formats.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::words::{Nanodollars, Round};

fn spec(form: Form) -> Spec<'static> {
    let dialect = match form {
        Form::Messages => Dialect::Anthropic,
        Form::Generate | Form::Predict => Dialect::Gemini,
        _ => Dialect::Openai,
    };
    let mut input = ScriptBytes::default();
    input.add(b"What is the answer to life, the universe and everything?");
    Spec {
        dialect,
        form,
        status: 200,
        content_type: "application/json",
        content_encoding: None,
        model: None,
        input,
        limits: None,
    }
}

fn metered(spec: &Spec<'_>, body: &[u8], size: usize, how: End) -> Metered {
    let mut meter = Meter::new(spec.clone());
    body.chunks(size.max(1)).for_each(|chunk| meter.feed(chunk));
    meter.end(how)
}

/// Basis and usage in one line, as `reported input 5 output 2`.
fn line(metered: &Metered) -> String {
    let mut line = metered.basis.name().to_owned();
    for (class, count) in metered.usage.iter() {
        line += &format!(" {} {count}", class.name());
    }
    line
}

#[track_caller]
fn check_spec(spec: &Spec<'_>, body: &str, how: End, expected: &str) -> Metered {
    let whole = metered(spec, body.as_bytes(), usize::MAX, how);
    for size in [1, 2, 7, 100] {
        let pieces = metered(spec, body.as_bytes(), size, how);
        assert_eq!(format!("{pieces:?}"), format!("{whole:?}"), "in pieces of {size}");
    }
    assert_eq!(line(&whole), expected);
    whole
}

#[track_caller]
fn check(form: Form, body: &str, expected: &str) -> Metered {
    check_spec(&spec(form), body, End::Complete, expected)
}

#[track_caller]
fn check_cut(form: Form, body: &str, expected: &str) -> Metered {
    check_spec(&spec(form), body, End::Cut, expected)
}

/// Events of these data.
fn events(data: &[&str]) -> String {
    data.iter().map(|data| format!("data: {data}\n\n")).collect()
}

// ------------------------------------------------------------------ anthropic

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","model":"claude-x","content":[],"usage":{"input_tokens":12,"cache_creation_input_tokens":30,"cache_read_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":1,"service_tier":"standard"}}}"#;
const EMPTY_START: &str = r#"{"type":"message_start","message":{"model":"kimi","usage":{"input_tokens":0,"output_tokens":0}}}"#;
const TEXT: &str = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello there, world"}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

fn delta(usage: &str) -> String {
    format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{usage}}}"#)
}

#[test]
fn anthropic_figures_of_the_start_and_the_delta_are_put_together() {
    let body = events(&[
        START,
        TEXT,
        &delta(r#"{"output_tokens":50,"output_tokens_details":{"thinking_tokens":20},"input_tokens":null}"#),
        STOP,
    ]);
    let metered =
        check(Form::Messages, &body, "reported input 12 cache_read 7 cache_write_5m 10 cache_write_1h 20 output 30 reasoning 20");
    assert_eq!(metered.model.as_deref(), Some("claude-x"));
    assert_eq!(metered.terms.service_tier.as_deref(), Some("standard"));
    assert!(metered.complete && metered.content && metered.object_id.is_none());
}

#[test]
fn anthropic_writes_of_the_delta_keep_the_share_of_an_hour() {
    let grown = delta(
        r#"{"input_tokens":40,"cache_creation_input_tokens":35,"cache_read_input_tokens":0,"output_tokens":5,"server_tool_use":{"web_search_requests":2}}"#,
    );
    check(
        Form::Messages,
        &events(&[START, TEXT, &grown]),
        "reported input 40 cache_write_5m 15 cache_write_1h 20 output 5 searches 2",
    );
    let shrunk = delta(r#"{"input_tokens":40,"cache_creation_input_tokens":15,"output_tokens":5}"#);
    check(Form::Messages, &events(&[START, TEXT, &shrunk]), "reported input 40 cache_read 7 cache_write_1h 15 output 5");
}

#[test]
fn anthropic_relays_say_all_in_the_delta_or_zeros_there() {
    let all = delta(r#"{"input_tokens":9,"cache_read_input_tokens":0,"output_tokens":5}"#);
    check(Form::Messages, &events(&[EMPTY_START, TEXT, &all]), "reported input 9 output 5");
    let zeros = delta(r#"{"input_tokens":0,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"output_tokens":5}"#);
    check(
        Form::Messages,
        &events(&[START, TEXT, &zeros]),
        "reported input 12 cache_read 7 cache_write_5m 10 cache_write_1h 20 output 5",
    );
    check(Form::Messages, &events(&[EMPTY_START, TEXT, &delta("{}"), STOP]), "estimated input 15 output 5");
}

#[test]
fn anthropic_cuts() {
    check_cut(Form::Messages, &events(&[START]), "partial input 12 cache_read 7 cache_write_5m 10 cache_write_1h 20");
    check(Form::Messages, &events(&[START, TEXT]), "partial input 12 cache_read 7 cache_write_5m 10 cache_write_1h 20 output 5");
    let torn = events(&[START, TEXT, &delta(r#"{"output_tokens":99}"#)]);
    check_cut(
        Form::Messages,
        &torn[..torn.len() - 4],
        "partial input 12 cache_read 7 cache_write_5m 10 cache_write_1h 20 output 5",
    );
    let whole_json = check_cut(
        Form::Messages,
        &torn[..torn.len() - 2],
        "reported input 12 cache_read 7 cache_write_5m 10 cache_write_1h 20 output 99",
    );
    assert!(!whole_json.complete);
}

#[test]
fn anthropic_errors_are_charged_after_content_only() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#;
    let first = check(Form::Messages, &events(&[START, r#"{"type":"ping"}"#, error]), "none");
    assert_eq!(first.error.as_deref(), Some("overloaded_error"));
    check(
        Form::Messages,
        &events(&[START, TEXT, error]),
        "partial input 12 cache_read 7 cache_write_5m 10 cache_write_1h 20 output 5",
    );
    check(Form::Messages, error, "none");
    check(Form::Messages, ": nothing\n\n", "none");
    check(Form::Messages, "", "none");
}

#[test]
fn anthropic_rounds_of_other_models_stand_apart() {
    let usage = r#"{"input_tokens":10,"output_tokens":9,"output_tokens_details":{"thinking_tokens":4},"iterations":[
        {"type":"message","input_tokens":10,"output_tokens":9},
        {"type":"advisor_message","model":"claude-o","input_tokens":100,"cache_read_input_tokens":5,"output_tokens":3},
        {"type":"compaction","model":"claude-x","input_tokens":1,"cache_creation_input_tokens":6,"cache_creation":{"ephemeral_1h_input_tokens":2},"output_tokens":2}]}"#;
    let body = format!(r#"{{"usage":{usage},"type":"message","model":"claude-x","content":[{{"type":"text","text":"hi"}}]}}"#);
    let metered =
        check(Form::Messages, &body, "reported input 111 cache_read 5 cache_write_5m 4 cache_write_1h 2 output 10 reasoning 4");
    let other = Usage::from_iter([(Class::Input, 100), (Class::CacheRead, 5), (Class::Output, 3)]);
    assert_eq!(metered.rounds, [Round { model: "claude-o".into(), usage: other }]);
}

#[test]
fn anthropic_terms_and_container() {
    let body = r#"{"type":"message","model":"m","content":[{"type":"tool_use","input":{"usage":{"input_tokens":5}}}],"container":{"id":"container_1"},"usage":{"input_tokens":1,"output_tokens":2,"speed":"fast","inference_geo":"us","service_tier":"priority"}}"#;
    let metered = check(Form::Messages, body, "reported input 1 output 2");
    assert!(metered.terms.speed_fast);
    assert_eq!(metered.terms.inference_geo.as_deref(), Some("us"));
    assert_eq!(metered.object_id.as_deref(), Some("container_1"));
}

#[test]
fn a_json_answer_cut_behind_its_usage_is_reported() {
    let body = r#"{"model":"m","usage":{"input_tokens":1,"output_tokens":2},"content":[{"type":"text","text":"hel"#;
    check_cut(Form::Messages, body, "reported input 1 output 2");
    check_cut(Form::Messages, &body[..40], "estimated input 15");
    let chat = r#"{"model":"m","usage":{"prompt_tokens":1,"completion_tokens":2},"choices":[{"mess"#;
    check_cut(Form::Chat, chat, "reported input 1 output 2");
    let unfinished = r#"{"choices":[{"message":{"content":"Hello there"}}],"usage":{"prompt_tokens":1"#;
    check_cut(Form::Chat, unfinished, "estimated input 15 output 3");
}

// ------------------------------------------------------------------ openai

fn chat(usage: &str) -> String {
    format!(r#"{{"id":"c","model":"gpt-x","choices":[{{"message":{{"content":"Hi"}},"finish_reason":"stop"}}],"usage":{usage}}}"#)
}

#[test]
fn chat_figures_are_taken_apart() {
    for (usage, expected) in [
        (
            r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":10,"audio_tokens":5},"completion_tokens_details":{"reasoning_tokens":20,"audio_tokens":3,"image_tokens":2,"accepted_prediction_tokens":9}}"#,
            "input 25 cache_read 60 cache_write_5m 10 input_audio 5 output 25 reasoning 20 output_audio 3 output_image 2",
        ),
        // xAI: reasoning beside; Vercel: more of it than of the answer; Gemini: hidden in the total.
        (
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":27,"completion_tokens_details":{"reasoning_tokens":12}}"#,
            "input 10 output 5 reasoning 12",
        ),
        (
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"completion_tokens_details":{"reasoning_tokens":12}}"#,
            "input 10 output 5 reasoning 12",
        ),
        (r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":27}"#, "input 10 output 5 reasoning 12"),
        // DeepSeek, Kimi, DashScope, Azure's Grok.
        (
            r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_cache_hit_tokens":8,"prompt_tokens_details":{"cached_tokens":8}}"#,
            "input 2 cache_read 8 output 5",
        ),
        (r#"{"prompt_tokens":10,"completion_tokens":5,"cached_tokens":8}"#, "input 2 cache_read 8 output 5"),
        (
            r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":4},"cache_creation_input_tokens":4}}"#,
            "input 6 cache_write_5m 4 output 5",
        ),
        (
            r#"{"prompt_tokens":7,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":161,"audio_tokens":3}}"#,
            "cache_read 7 output 1",
        ),
        // Mistral, OpenRouter, embeddings.
        (
            r#"{"prompt_audio_seconds":4,"prompt_tokens":9,"total_tokens":585,"completion_tokens":201,"prompt_tokens_details":{"audio_tokens":375}}"#,
            "input 9 output 201 seconds 4000",
        ),
        (
            r#"{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10,"server_tool_use_details":{"web_search_requests":2}}"#,
            "input 9 output 1 searches 2",
        ),
        (r#"{"total_tokens":79}"#, "input 79"),
        // The last of two counts.
        (r#"{"prompt_tokens":9,"prompt_tokens":8,"\u0063ompletion_tokens":1}"#, "input 8 output 1"),
        (r#"{"prompt_tokens":12.0,"completion_tokens":1}"#, "input 12 output 1"),
    ] {
        check(Form::Chat, &chat(usage), &format!("reported {expected}"));
    }
    check(Form::Chat, &chat(r#"{"prompt_tokens":0,"completion_tokens":0}"#), "estimated input 15 output 1");
    check(Form::Chat, &chat("null"), "estimated input 15 output 1");
    check(Form::Chat, &chat(r#""none""#), "estimated input 15 output 1");
    check(Form::Chat, &chat("[1]"), "estimated input 15 output 1");
    check(Form::Chat, &chat(r#"{"prompt_tokens":1,"completion_tokens":2},"usage":null"#), "estimated input 15 output 1");
}

#[test]
fn implausible_figures_give_way_to_the_estimate() {
    for usage in [
        r#"{"prompt_tokens":-5,"completion_tokens":3}"#,
        r#"{"prompt_tokens":5,"completion_tokens":2.5}"#,
        r#"{"prompt_tokens":5,"completion_tokens":1e400}"#,
        r#"{"prompt_tokens":5,"completion_tokens":"34"}"#,
        r#"{"prompt_tokens":5,"completion_tokens":18446744073709551615}"#,
        r#"{"prompt_tokens":18446744073709551615,"completion_tokens":5}"#,
    ] {
        assert!(check(Form::Chat, &chat(usage), "estimated input 15 output 1").implausible, "{usage}");
    }
    let mut limited = spec(Form::Chat);
    limited.limits = Some((1000, 100));
    let body = |prompt, answer| chat(&format!(r#"{{"prompt_tokens":{prompt},"completion_tokens":{answer}}}"#));
    assert!(!check_spec(&limited, &body(10_000, 1_000), End::Complete, "reported input 10000 output 1000").implausible);
    assert!(check_spec(&limited, &body(10_001, 1), End::Complete, "estimated input 15 output 1").implausible);
    assert!(check_spec(&limited, &body(1, 1_001), End::Complete, "estimated input 15 output 1").implausible);
    limited.form = Form::Embed; // holds many inputs
    assert!(
        !check_spec(&limited, r#"{"data":[{}],"usage":{"prompt_tokens":10001}}"#, End::Complete, "reported input 10001")
            .implausible
    );
}

const ROLE: &str = r#"{"id":"c","model":"gpt-x","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#;
const PIECE: &str =
    r#"{"id":"c","model":"gpt-x","choices":[{"index":0,"delta":{"content":"Hello there, world"},"finish_reason":null}]}"#;
const FINISH: &str = r#"{"id":"c","model":"gpt-x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"id":"c","model":"gpt-x","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":9}}"#;

#[test]
fn chat_streams() {
    let whole = check(Form::Chat, &events(&[ROLE, PIECE, FINISH, USAGE, "[DONE]"]), "reported input 5 output 9");
    assert!(whole.complete && whole.content);
    assert!(check(Form::Chat, &events(&[ROLE, PIECE, FINISH]), "estimated input 15 output 5").complete);
    assert!(!check_cut(Form::Chat, &events(&[ROLE, PIECE]), "estimated input 15 output 5").complete);
    assert!(!check_cut(Form::Chat, &events(&[ROLE, PIECE, FINISH, USAGE]), "reported input 5 output 9").complete);
    check(Form::Chat, &events(&[ROLE, r#"{"error":{"message":"x","type":"server_error"}}"#]), "none");
    let late =
        check(Form::Chat, &events(&[ROLE, PIECE, r#"{"error":{"message":"x","code":502}}"#]), "estimated input 15 output 5");
    assert_eq!(late.error.as_deref(), Some("502"));
}

#[test]
fn chat_usage_on_every_chunk_is_final_only_at_the_end() {
    let chunk = |done: u64, finish: &str| {
        format!(
            r#"{{"choices":[{{"delta":{{"content":"a"}},"finish_reason":{finish}}}],"usage":{{"prompt_tokens":5,"completion_tokens":{done}}}}}"#
        )
    };
    let (first, second, last) = (chunk(40, "null"), chunk(41, "null"), chunk(42, "\"stop\""));
    check_cut(Form::Chat, &events(&[&first, &second]), "partial input 5 output 41");
    check(Form::Chat, &events(&[&first, &second]), "partial input 5 output 41");
    check_cut(Form::Chat, &events(&[&first, &second, &last]), "reported input 5 output 42");
    check(Form::Chat, &events(&[&first, &second, "[DONE]"]), "reported input 5 output 41");
}

#[test]
fn chat_usage_stands_in_other_places() {
    let kimi = r#"{"choices":[{"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":3,"completion_tokens":4}}]}"#;
    check(Form::Chat, &events(&[PIECE, kimi]), "reported input 3 output 4");
    let groq =
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":3,"completion_tokens":4}}}"#;
    check(Form::Chat, &events(&[PIECE, groq]), "reported input 3 output 4");
    check(Form::Chat, &events(&[PIECE, groq, USAGE]), "reported input 5 output 9");
    check(Form::Chat, &events(&[PIECE, USAGE, groq]), "reported input 5 output 9");
}

#[test]
fn stated_costs_are_read_exactly() {
    let openrouter =
        check(Form::Chat, &chat(r#"{"prompt_tokens":1,"completion_tokens":2,"cost":0.00341475}"#), "reported input 1 output 2");
    assert_eq!(openrouter.provider_cost, Some(Nanodollars(3_414_750)));
    let xai = check(
        Form::Chat,
        &chat(r#"{"prompt_tokens":1,"completion_tokens":2,"cost_in_usd_ticks":739650}"#),
        "reported input 1 output 2",
    );
    assert_eq!(xai.provider_cost, Some(Nanodollars(73_965)));
    let perplexity = chat(
        r#"{"prompt_tokens":1,"completion_tokens":2,"cost":{"total_cost":5},"search_context_size":"low","service_tier":"standard"}"#,
    );
    let metered = check(Form::Chat, &perplexity, "reported input 1 output 2");
    assert_eq!((metered.provider_cost, metered.terms.search_context.as_deref()), (None, Some("low")));
    assert_eq!(metered.terms.service_tier.as_deref(), Some("standard"));
}

#[test]
fn errors_in_a_200() {
    assert_eq!(
        check(Form::Chat, r#"{"error":{"type":null,"code":"content_filter"}}"#, "none").error.as_deref(),
        Some("content_filter")
    );
    assert_eq!(check(Form::Chat, r#"{"code":"x","error":"text"}"#, "none").error.as_deref(), Some("error"));
    assert_eq!(check(Form::Chat, r#"{"choices":null,"base_resp":{"status_code":1008}}"#, "none").error.as_deref(), Some("1008"));
    check(
        Form::Chat,
        &chat(r#"{"prompt_tokens":1,"completion_tokens":2},"error":null,"base_resp":{"status_code":0}"#),
        "reported input 1 output 2",
    );
    check(Form::Chat, "<html>no</html>", "none");
}

#[test]
fn an_error_status_is_never_charged() {
    let mut failed = spec(Form::Chat);
    failed.status = 429;
    let body = chat(r#"{"prompt_tokens":1,"completion_tokens":2},"error":{"type":"tokens","code":"x"}"#);
    check_spec(&failed, &body, End::Complete, "none");
    let metered = check_spec(&failed, r#"{"error":{"type":"tokens"}}"#, End::Complete, "none");
    assert_eq!(metered.error.as_deref(), Some("tokens"));
}

#[test]
fn free_forms_tell_their_ids_only() {
    let metered = check(Form::Free, r#"{"id":"batch_1","object":"batch","usage":{"input_tokens":5,"output_tokens":5}}"#, "none");
    assert_eq!(metered.object_id.as_deref(), Some("batch_1"));
    let mut anthropic = spec(Form::Free);
    anthropic.dialect = Dialect::Anthropic;
    let metered = check_spec(&anthropic, r#"{"id":"msgbatch_1","type":"message_batch"}"#, End::Complete, "none");
    assert_eq!(metered.object_id.as_deref(), Some("msgbatch_1"));
}

#[test]
fn images() {
    let one = r#"{"created":1,"quality":"high","size":"1024x1024","data":[{"b64_json":"eHg="},{"url":"u"}],"usage":{"input_tokens":12,"output_tokens":100,"input_tokens_details":{"text_tokens":2,"image_tokens":10}}}"#;
    let metered = check(Form::Images, one, "reported input 2 input_image 10 output_image 100 images 2");
    assert_eq!(metered.terms.image_kind.as_deref(), Some("high/1024x1024"));
    let split = r#"{"data":[{}],"usage":{"input_tokens":2,"output_tokens":100,"output_tokens_details":{"image_tokens":90,"text_tokens":10}}}"#;
    check(Form::Images, split, "reported input 2 output 10 output_image 90 images 1");
    check(Form::Images, r#"{"data":[{"url":"u"}]}"#, "reported images 1");
    let stream = events(&[
        r#"{"type":"image_generation.partial_image","b64_json":"eHg="}"#,
        r#"{"type":"image_generation.completed","b64_json":"eHg=","usage":{"input_tokens":2,"output_tokens":100}}"#,
    ]);
    check(Form::Images, &stream, "reported input 2 output_image 100 images 1");
}

#[test]
fn audio() {
    check(
        Form::Audio,
        r#"{"text":"Hi","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":5}}"#,
        "reported input 4 input_audio 10 output 5",
    );
    check(Form::Audio, r#"{"text":"Hi","usage":{"type":"duration","seconds":7}}"#, "reported seconds 7000");
    check(Form::Audio, r#"{"task":"transcribe","duration":8.470000267028809,"text":"Hi"}"#, "reported seconds 8470");
    check(Form::Audio, r#"{"text":"Hello there, world"}"#, "estimated input 15 input_audio 15 output 5");
    let transcript = events(&[
        r#"{"type":"transcript.text.delta","delta":"Hi"}"#,
        r#"{"type":"transcript.text.done","text":"Hi","usage":{"input_tokens":10,"input_token_details":{"audio_tokens":10},"output_tokens":5}}"#,
    ]);
    check(Form::Audio, &transcript, "reported input_audio 10 output 5");
    let speech = events(&[
        r#"{"type":"speech.audio.delta","audio":"eHg="}"#,
        r#"{"type":"speech.audio.done","usage":{"input_tokens":10,"output_tokens":5}}"#,
    ]);
    assert!(check(Form::Audio, &speech, "reported input 10 output_audio 5").complete);
    let mut sound = spec(Form::Audio);
    sound.content_type = "audio/mpeg";
    let metered = check_spec(&sound, &"{".repeat(7700), End::Complete, "estimated input 15 output_audio 10");
    assert!(metered.complete && metered.content);
    sound.content_type = "text/plain; charset=utf-8";
    sound.model = Some(Arc::from("whisper-1"));
    check_spec(&sound, "Hello there, world", End::Complete, "estimated seconds 1500");
}

#[test]
fn rerank_and_embeddings() {
    check(Form::Rerank, r#"{"results":[{"index":0}],"usage":{"total_tokens":79}}"#, "reported input 79");
    check(Form::Rerank, r#"{"results":[{"index":0}],"meta":{"billed_units":{"search_units":3}}}"#, "reported searches 3");
    check(Form::Rerank, r#"{"results":[{"index":0}]}"#, "estimated input 15");
    check(
        Form::Embed,
        r#"{"data":[{"embedding":[0.1,-2e-3]}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#,
        "reported input 8",
    );
}

// ------------------------------------------------------------------ responses

#[test]
fn responses() {
    let usage = r#""usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":60,"cache_write_tokens":10},"output_tokens":50,"output_tokens_details":{"reasoning_tokens":20},"total_tokens":150}"#;
    let items = r#""output":[{"type":"web_search_call","action":{"type":"search"}},{"type":"web_search_call","action":{"type":"open_page"}},{"type":"web_search_call"},{"type":"image_generation_call","result":"eHg=","quality":"low","size":"1x1"},{"type":"image_generation_call","result":null},{"type":"message","content":[{"type":"output_text","text":"Hi"}]}]"#;
    let body = format!(
        r#"{{"id":"resp_1","object":"response","status":"completed","model":"gpt-x","service_tier":"flex",{items},{usage}}}"#
    );
    let metered = check(
        Form::Responses,
        &body,
        "reported input 30 cache_read 60 cache_write_5m 10 output 30 reasoning 20 images 1 searches 2",
    );
    assert_eq!(metered.object_id.as_deref(), Some("resp_1"));
    assert_eq!(metered.terms.service_tier.as_deref(), Some("flex"));
    assert_eq!(metered.terms.image_kind.as_deref(), Some("low/1x1"));
    let said = body.replace(r#""status""#, r#""tool_usage":{"web_search":{"num_requests":5}},"status""#);
    check(Form::Responses, &said, "reported input 30 cache_read 60 cache_write_5m 10 output 30 reasoning 20 images 1 searches 5");
    let xai = body.replace(r#""total_tokens""#, r#""server_side_tool_usage_details":{"web_search_calls":0},"total_tokens""#);
    check(Form::Responses, &xai, "reported input 30 cache_read 60 cache_write_5m 10 output 30 reasoning 20 images 1");
    check(
        Form::Responses,
        r#"{"id":"resp_1","object":"response","status":"queued","background":true,"error":null,"output":[],"usage":null}"#,
        "none",
    );
    check(
        Form::Responses,
        r#"{"id":"resp_1","object":"response","status":"failed","error":{"code":"server_error"},"output":[],"usage":null}"#,
        "none",
    );
}

#[test]
fn responses_streams() {
    let created = r#"{"type":"response.created","response":{"id":"resp_1","object":"response","status":"in_progress","model":"gpt-x","error":null,"output":[],"usage":null}}"#;
    let piece = r#"{"type":"response.output_text.delta","delta":"Hello \"usage\": there","sequence_number":3}"#;
    let done = r#"{"type":"response.output_item.done","item":{"type":"web_search_call","action":{"type":"search","query":"x"}}}"#;
    let completed = r#"{"type":"response.completed","response":{"id":"resp_1","object":"response","status":"completed","model":"gpt-x","output":[],"usage":{"input_tokens":5,"output_tokens":6}}}"#;
    let failed = r#"{"type":"response.failed","response":{"id":"resp_1","object":"response","status":"failed","error":{"code":"rate_limit_exceeded"},"usage":null}}"#;
    let metered = check(Form::Responses, &events(&[created, done, piece, completed]), "reported input 5 output 6 searches 1");
    assert!(metered.complete && metered.object_id.as_deref() == Some("resp_1"));
    assert!(!check_cut(Form::Responses, &events(&[created, piece]), "estimated input 15 output 6").complete);
    let first = check(Form::Responses, &events(&[created, failed]), "none");
    assert_eq!((first.error.as_deref(), first.complete), (Some("rate_limit_exceeded"), true));
    check(Form::Responses, &events(&[created, piece, failed]), "estimated input 15 output 6");
}

// ------------------------------------------------------------------ gemini

#[test]
fn gemini_modalities() {
    let body = r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}],"modelVersion":"gemini-2.5-flash","usageMetadata":{"promptTokenCount":1000,"candidatesTokenCount":30,"thoughtsTokenCount":100,"toolUsePromptTokenCount":7,"cachedContentTokenCount":400,"promptTokensDetails":[{"modality":"TEXT","tokenCount":200},{"modality":"AUDIO","tokenCount":450},{"modality":"IMAGE","tokenCount":250},{"modality":"VIDEO","tokenCount":100}],"cacheTokensDetails":[{"modality":"AUDIO","tokenCount":150},{"modality":"IMAGE","tokenCount":250}],"candidatesTokensDetails":[{"tokenCount":20,"modality":"IMAGE"},{"modality":"TEXT","tokenCount":10}]}}"#;
    let metered = check(
        Form::Generate,
        body,
        "reported input 207 input_audio 300 input_video 100 cache_read_audio 150 cache_read_image 250 output 10 reasoning 100 output_image 20",
    );
    assert_eq!(metered.model.as_deref(), Some("gemini-2.5-flash"));
    check(
        Form::Generate,
        r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":17}}"#,
        "reported input 17",
    );
    check(
        Form::Generate,
        r#"{"candidates":[{"content":{"parts":[{"text":"Hello there, world"}]}}]}"#,
        "estimated input 15 output 5",
    );
    check(Form::Generate, r#"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}]"#, "none");
    check(Form::Predict, r#"{"predictions":[{"bytesBase64Encoded":"eHg="},{"raiFilteredReason":"x"}]}"#, "reported images 1");
    let mut embed = spec(Form::Embed);
    embed.dialect = Dialect::Gemini;
    check_spec(&embed, r#"{"embedding":{"values":[0.1]}}"#, End::Complete, "estimated input 15");
    let some = r#"{"embeddings":[{"values":[0.1]}],"usageMetadata":{"promptTokenDetails":[{"modality":"TEXT","tokenCount":6}]}}"#;
    check_spec(&embed, some, End::Complete, "reported input 6");
}

#[test]
fn gemini_streams() {
    let first = r#"{"candidates":[{"content":{"parts":[{"text":"I think so","thought":true},{"text":"Hello"}]}}],"usageMetadata":{"promptTokenCount":12,"candidatesTokenCount":5,"thoughtsTokenCount":60}}"#;
    let last = r#"{"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":12,"thoughtsTokenCount":70}}"#;
    let error = r#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#;
    // The last figures hold as a whole: those that are missing are zero.
    assert!(check(Form::Generate, &events(&[first, last]), "reported input 12 reasoning 70").complete);
    check(Form::Generate, &format!("[{first}\n,\r\n{last}\n]\n"), "reported input 12 reasoning 70");
    check_cut(Form::Generate, &format!("[{first},{}", &last[..last.len() - 1]), "partial input 12 output 5 reasoning 60");
    check_cut(Form::Generate, &events(&[first]), "partial input 12 output 5 reasoning 60");
    check(Form::Generate, &events(&[first, error]), "partial input 12 output 5 reasoning 60");
    assert_eq!(check(Form::Generate, &events(&[error]), "none").error.as_deref(), Some("UNAVAILABLE"));
}

#[test]
fn gemini_searches() {
    let body = |queries: &str| {
        format!(
            r#"{{"candidates":[{{"content":{{}},"groundingMetadata":{{"webSearchQueries":{queries},"searchEntryPoint":{{"renderedContent":"x"}}}}}}],"usageMetadata":{{"promptTokenCount":5}}}}"#
        )
    };
    for (model, expected) in
        [("gemini-3-pro", " searches 2"), ("gemini-2.5-flash", " searches 1"), ("gemini-10-x", " searches 2")]
    {
        let mut asked = spec(Form::Generate);
        asked.model = Some(Arc::from(model));
        check_spec(&asked, &body(r#"["a","b","","a"]"#), End::Complete, &format!("reported input 5{expected}"));
    }
    let mut asked = spec(Form::Generate);
    asked.model = Some(Arc::from("gemini-3-pro"));
    check_spec(&asked, &body("[]"), End::Complete, "reported input 5");
    check(Form::Generate, &body("[]"), "reported input 5 searches 1");
}

// ------------------------------------------------------------------ whatever comes

#[test]
fn the_shape_is_told_by_the_bytes() {
    let mut wrong = spec(Form::Chat);
    wrong.content_type = "text/event-stream";
    check_spec(
        &wrong,
        &format!("\n\n {}", chat(r#"{"prompt_tokens":1,"completion_tokens":2}"#)),
        End::Complete,
        "reported input 1 output 2",
    );
    check(Form::Chat, &format!("\u{feff}: hi\n\n{}", events(&[PIECE, USAGE])), "reported input 5 output 9");
}

#[test]
fn a_terminal_event_is_known_at_once() {
    for (form, last) in [
        (Form::Messages, events(&[STOP])),
        (Form::Chat, events(&["[DONE]"])),
        (Form::Responses, events(&[r#"{"type":"response.incomplete","response":{}}"#])),
        (Form::Generate, events(&[r#"{"candidates":[{"finishReason":"STOP"}]}"#])),
    ] {
        let mut meter = Meter::new(spec(form));
        meter.feed(events(&[PIECE]).as_bytes());
        assert!(!meter.terminal());
        meter.feed(last.as_bytes());
        assert!(meter.terminal(), "{form:?}");
    }
}

#[test]
fn compressed_answers_are_read_in_a_copy() {
    use std::io::Write;
    let body = events(&[ROLE, PIECE, FINISH, USAGE, "[DONE]"]);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let mut gzip = spec(Form::Chat);
    gzip.content_encoding = Some("gzip");
    for size in [1, 9, 10_000] {
        let metered = metered(&gzip, &packed, size, End::Complete);
        assert_eq!(line(&metered), "reported input 5 output 9");
        assert!(metered.complete);
    }
    let torn = metered(&gzip, &packed[..packed.len() / 2], 9, End::Cut);
    assert!(matches!(torn.basis, Basis::Estimated | Basis::Partial | Basis::None));
}

#[test]
fn megabytes_in_one_line_are_not_kept() {
    let long = "x".repeat(3_000_000);
    let body = events(&[START, &TEXT.replace("Hello there, world", &long), &delta(r#"{"output_tokens":9}"#)]);
    check(Form::Messages, &body, "reported input 12 cache_read 7 cache_write_5m 10 cache_write_1h 20 output 9");
}

const FORMS: [Form; 10] = [
    Form::Messages,
    Form::Chat,
    Form::Responses,
    Form::Generate,
    Form::Embed,
    Form::Predict,
    Form::Images,
    Form::Audio,
    Form::Rerank,
    Form::Free,
];

fn anything() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        START,
        EMPTY_START,
        TEXT,
        STOP,
        ROLE,
        PIECE,
        FINISH,
        USAGE,
        "data: ",
        "data:",
        "event: x",
        "\n",
        "\n\n",
        "\r\n\r\n",
        "\r",
        ": c\n",
        "[DONE]",
        "{",
        "}",
        "[",
        "]",
        "\"usage\":",
        "\"usageMetadata\":{",
        "\"choices\":[",
        "\"iterations\":[",
        "\"type\":\"message\",",
        "-1",
        "1e400",
        "null",
        ",",
        "\"",
        "\\",
        "\u{feff}",
        "你",
    ];
    let word = prop_oneof![
        4 => proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(word, 0..14).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_cut_meters_the_same(body in anything(), size in 1usize..40, form in 0usize..10, cut: bool) {
        let how = if cut { End::Cut } else { End::Complete };
        let spec = spec(FORMS[form]);
        let whole = metered(&spec, &body, usize::MAX, how);
        prop_assert_eq!(format!("{:?}", metered(&spec, &body, size, how)), format!("{:?}", whole));
    }

    #[test]
    fn a_stream_cut_anywhere_is_metered(at in 0usize..1200, size in 1usize..50) {
        let body = events(&[START, TEXT, &delta(r#"{"output_tokens":50}"#), STOP]);
        let metered = metered(&spec(Form::Messages), &body.as_bytes()[..at.min(body.len())], size, End::Cut);
        prop_assert!(metered.usage.prompt_tokens() == 49 || metered.basis == Basis::None);
    }

    #[test]
    fn no_encoding_panics(body in proptest::collection::vec(any::<u8>(), 0..300), encoding in proptest::sample::select(vec!["gzip", "deflate", "br", "zstd", "x"])) {
        let mut packed = spec(Form::Chat);
        packed.content_encoding = Some(encoding);
        metered(&packed, &body, 7, End::Complete);
    }
}
