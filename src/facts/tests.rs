use http::Method;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::route::{self, Matched};
use crate::words::Code;

fn route_of(path: &str) -> Route {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    match route::find(&Method::POST, path, query, &HeaderMap::new()) {
        Ok(Matched::Route(route)) => route,
        other => panic!("{path}: {other:?}"),
    }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn read_text(path: &str, body: &str) -> Result<Facts, Refusal> {
    read(&route_of(path), &HeaderMap::new(), &Bytes::copy_from_slice(body.as_bytes()))
}

fn facts(path: &str, body: &str) -> Facts {
    read_text(path, body).unwrap_or_else(|refusal| panic!("{body}: {}", refusal.message))
}

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const GEMINI: &str = "/v1beta/models/gemini-2.5-pro:generateContent";

// ------------------------------------------------------------------ what is asked for

/// `model stream max_output choices`
#[track_caller]
fn check_asked(path: &str, body: &str, expected: &str) {
    let facts = facts(path, body);
    let maximum = facts.max_output.map_or("-".to_string(), |n| n.to_string());
    let told = format!("{} {} {maximum} {}", facts.model.as_deref().unwrap_or("-"), facts.stream, facts.choices);
    assert_eq!(told, expected, "{body}");
}

#[test]
fn what_is_asked_for() {
    check_asked(CHAT, r#"{"model":"m"}"#, "m false - 1");
    check_asked(CHAT, r#"{"model":"m","stream":true,"max_tokens":5,"max_completion_tokens":7,"n":3}"#, "m true 7 3");
    check_asked(CHAT, r#" { "n" : 0 , "stream" : null, "max_tokens" : null , "model" : "a\u002fb" } "#, "a/b false - 1");
    check_asked(RESPONSES, r#"{"model":"m","max_output_tokens":9}"#, "m false 9 1");
    check_asked(MESSAGES, r#"{"max_tokens":32000,"stream":true,"model":"claude"}"#, "claude true 32000 1");
    check_asked(GEMINI, r#"{"generationConfig":{"maxOutputTokens":3,"candidateCount":2}}"#, "gemini-2.5-pro false 3 2");
    check_asked(GEMINI, r#"{"generation_config":{"max_output_tokens":4},"model":"x","stream":true}"#, "gemini-2.5-pro false 4 1");
    check_asked("/v1beta/models/imagen-4:predict", r#"{"parameters":{"sampleCount":4}}"#, "imagen-4 false - 4");
    check_asked("/v1beta/models/m:streamGenerateContent", "{}", "m true - 1");
    check_asked("/v1/audio/speech", r#"{"model":"tts","stream_format":"sse"}"#, "tts true - 1");
    check_asked("/v1/moderations", r#"{"input":"x"}"#, "- false - 1");
    // Of duplicates the last counts, also where one is escaped.
    check_asked(CHAT, r#"{"model":"a","mod\u0065l":"b","stream":true,"stream":false}"#, "b false - 1");
    check_asked(CHAT, r#"{"messages":[{"model":"x","stream":true}],"model":"m","metadata":{"model":"y"}}"#, "m false - 1");
}

#[track_caller]
fn check_refused(path: &str, body: &str, part_of_message: &str) {
    let refusal = read_text(path, body).expect_err(body);
    assert_eq!(refusal.code, Code::BadRequest);
    assert!(refusal.message.contains(part_of_message), "{body}: {}", refusal.message);
}

#[test]
fn what_is_refused() {
    check_refused(CHAT, "", "must be a JSON object");
    check_refused(CHAT, "[]", "must be a JSON object");
    check_refused(CHAT, "model=m", "must be a JSON object");
    check_refused(CHAT, "\u{feff}{\"model\":\"m\"}", "must be a JSON object");
    check_refused(CHAT, "{}", "names no model");
    check_refused(CHAT, r#"{"model":null}"#, "names no model");
    check_refused(CHAT, r#"{"model":7}"#, "must be a string");
    check_refused(CHAT, r#"{"model":""}"#, "1 to 256");
    check_refused(CHAT, r#"{"model":"a\nb"}"#, "1 to 256");
    check_refused(CHAT, r#"{"model":"m","stream":"yes"}"#, "must be true or false");
    check_refused(CHAT, r#"{"model":"m"} {}"#, "at byte 14 something follows");
    check_refused(CHAT, r#"{"model":"m""#, "not JSON");
    check_refused(CHAT, r#"{"model":"m","messages":[}"#, "not JSON");
    check_refused(CHAT, r#"{"model":"m","messages":[{"role":"user",}]}"#, "not JSON");
    check_refused(CHAT, &format!("{{\"model\":\"m\",\"x\":{}", "[".repeat(100_000)), "nested too deeply");
    for twin in [
        "Model",
        "MODEL",
        "mOdel",
        "Stream",
        "Max_Tokens",
        "max_toKens",
        "MAX_OUTPUT_TOKENS",
        "max_to\u{212A}ens",
        "\u{17f}tream",
    ] {
        check_refused(CHAT, &format!("{{\"model\":\"m\",\"{twin}\":1}}"), "only by case");
    }
    check_refused(CHAT, r#"{"model":"m","\u004dodel":"x"}"#, "only by case");
    check_refused(GEMINI, r#"{"Stream":true}"#, "only by case");
    facts(CHAT, r#"{"model":"m","models":["x"],"Temperature":1,"x":{"Model":1}}"#);
    let invalid = Bytes::from_static(b"{\"model\":\"m\xff\"}");
    assert!(read(&route_of(CHAT), &HeaderMap::new(), &invalid).unwrap_err().message.contains("UTF-8"));
}

#[test]
fn the_rest_that_counts() {
    let said = facts(
        RESPONSES,
        r#"{"model":"m","background":true,"store":false,"service_tier":"flex","tools":[{"type":"web_search","search_context_size":"high"}]}"#,
    );
    assert!(said.background && said.store == Some(false));
    assert_eq!((said.service_tier.as_deref(), said.search_context.as_deref()), (Some("flex"), Some("high")));
    let said = facts(CHAT, r#"{"model":"m","web_search_options":{"search_context_size":"low"}}"#);
    assert_eq!(said.search_context.as_deref(), Some("low"));
    let said = facts("/v1/images/generations", r#"{"model":"m","quality":"high","size":"1024x1024","n":2}"#);
    assert_eq!((said.image_kind.as_deref(), said.choices), (Some("high/1024x1024"), 2));
}

#[test]
fn routes_without_a_body_need_none() {
    let Ok(Matched::Route(route)) = route::find(&Method::GET, "/v1/responses/resp_1", None, &HeaderMap::new()) else { panic!() };
    let facts = read(&route, &headers(&[("session-id", "x")]), &Bytes::new()).unwrap();
    assert!(facts.model.is_none() && facts.session_given);
}

// ------------------------------------------------------------------ stored objects

#[track_caller]
fn check_previous(path: &str, body: Json, expected: &[&str]) {
    assert_eq!(facts(path, &body.to_string()).previous, expected, "{body}");
}

#[test]
fn ids_that_bind_to_an_account() {
    check_previous(
        RESPONSES,
        json!({"model":"m","previous_response_id":"resp_1","conversation":{"id":"conv_1"}}),
        &["resp_1", "conv_1"],
    );
    check_previous(RESPONSES, json!({"model":"m","previous_response_id":null,"conversation":"conv_2"}), &["conv_2"]);
    check_previous(MESSAGES, json!({"model":"m","container":{"id":"cont_1","skills":[]}}), &["cont_1"]);
    check_previous(MESSAGES, json!({"model":"m","container":"cont_2"}), &["cont_2"]);
    check_previous(
        MESSAGES,
        json!({"model":"m","messages":[{"role":"user","content":[
            {"type":"document","source":{"type":"file","file_id":"file_1"}},
            {"type":"container_upload","file_id":"file_2"},
            {"type":"tool_use","input":{"file_id":"mine","type":"file"}},
            {"type":"bash_code_execution_tool_result","content":{"type":"r","content":[{"type":"code_execution_output","file_id":"file_3"}]}}
        ]}],"tools":[{"input_schema":{"properties":{"file_id":{"type":"string"}}}}]}),
        &["file_1", "file_2"],
    );
    check_previous(
        CHAT,
        json!({"model":"m","messages":[{"content":[{"type":"file","file":{"file_id":"file-1"}}]}]}),
        &["file-1"],
    );
    check_previous(
        RESPONSES,
        json!({"model":"m","input":[{"content":[
            {"type":"input_file","file_id":"file-1"},{"type":"input_image","file_id":"file-2"},{"type":"input_file","file_id":"file-1"},
            {"type":"output_text","annotations":[{"type":"file_citation","file_id":"file-9"}]}
        ]}],
            "tools":[{"type":"file_search","vector_store_ids":["vs_1","vs_2"]},
                {"type":"code_interpreter","container":{"type":"auto","file_ids":["file-3"]}},
                {"type":"code_interpreter","container":"cntr_1"}]}),
        &["file-1", "file-2", "vs_1", "vs_2", "file-3", "cntr_1"],
    );
    check_previous(
        GEMINI,
        json!({"cachedContent":"cachedContents/1","contents":[{"parts":[
            {"fileData":{"fileUri":"https://generativelanguage.googleapis.com/v1beta/files/abc"}},
            {"fileData":{"fileUri":"https://www.youtube.com/watch?v=files/x"}},
            {"functionCall":{"args":{"fileUri":"files/no"}}}
        ]}]}),
        &["cachedContents/1", "files/abc"],
    );
    check_previous(
        "/v1/images/edits",
        json!({"model":"m","images":[{"file_id":"file-1"}],"mask":{"file_id":"file-2"}}),
        &["file-1", "file-2"],
    );
    check_previous("/v1/batches", json!({"input_file_id":"file-b"}), &["file-b"]);
    let hidden = r#"{"model":"m","messages":[{"content":[{"type":"file","file":{"file\u005fid":"file-h"}}]}]}"#;
    assert_eq!(facts(CHAT, hidden).previous, ["file-h"]);
    let many: Vec<_> = (0..300).map(|n| json!({"type":"input_file","file_id":format!("file-{n}")})).collect();
    check_refused(RESPONSES, &json!({"model":"m","input":[{"content":many}]}).to_string(), "stored objects");
}

// ------------------------------------------------------------------ sessions

fn session_of(path: &str, lines: &[(&'static str, &str)], body: &Json) -> Option<(u64, bool)> {
    let facts = read(&route_of(path), &headers(lines), &Bytes::from(body.to_string())).unwrap();
    facts.session.map(|session| (session, facts.session_given))
}

#[test]
fn where_the_session_is_found() {
    let id = |text: &str| Some((session::hash(text.as_bytes()), true));
    let plain = json!({"model":"m"});
    for name in super::session::tests_headers() {
        assert_eq!(session_of(MESSAGES, &[(name, " s1 ")], &plain), id("s1"), "{name}");
    }
    let user_id = |text: &str| json!({"model":"m","metadata":{"user_id":text},"prompt_cache_key":"p"});
    assert_eq!(session_of(MESSAGES, &[], &user_id(r#"{"device_id":"d","account_uuid":"","session_id":"s2"}"#)), id("s2"));
    assert_eq!(session_of(MESSAGES, &[], &user_id("user_abc_account__session_s3")), id("s3"));
    assert_eq!(session_of(MESSAGES, &[], &user_id("session_s4")), id("s4"));
    assert_eq!(session_of(MESSAGES, &[], &user_id("user-17")), id("p"));
    assert_eq!(session_of(MESSAGES, &[], &user_id("{broken")), id("p"));
    assert_eq!(session_of(CHAT, &[], &json!({"model":"m","metadata":{"sessionId":"s5"}})), id("s5"));
    assert_eq!(session_of(GEMINI, &[], &json!({"request":{"session_id":"s6"}})), id("s6"));
    assert_eq!(session_of(CHAT, &[("x-request-session-id", "s7")], &json!({"model":"m"})), id("s7"));
    // What counts first.
    let lines = [("x-request-session-id", "last"), ("session-id", "second"), ("x-claude-code-session-id", "first")];
    assert_eq!(session_of(MESSAGES, &lines, &user_id("session_x")), id("first"));
    assert_eq!(session_of(MESSAGES, &lines[..2], &user_id("session_x")), id("second"));
    assert_eq!(session_of(MESSAGES, &lines[..1], &user_id("session_x")), id("x"));
    assert_eq!(session_of(CHAT, &[], &plain), None);
    assert_eq!(session_of(CHAT, &[("session-id", "  ")], &plain), None);
}

/// The conversation's hash of each body: all the same, and given by no client.
#[track_caller]
fn check_same_session(path: &str, bodies: &[Json]) -> u64 {
    let sessions: Vec<_> = bodies.iter().map(|body| session_of(path, &[], body).expect("a session")).collect();
    assert!(sessions.iter().all(|session| *session == sessions[0] && !session.1), "{sessions:?}");
    sessions[0].0
}

#[test]
fn a_conversation_keeps_its_hash_as_it_grows() {
    let user = json!({"role":"user","content":"hello"});
    let more = json!({"role":"assistant","content":"hi"});
    let blocks =
        json!({"role":"user","content":[{"type":"text","text":"hello","cache_control":{"type":"ephemeral","ttl":"1h"}}]});
    let turns = |n: usize| -> Vec<Json> {
        std::iter::once(user.clone())
            .chain((0..n).flat_map(|n| [more.clone(), json!({"role":"user","content":format!("turn {n}")})]))
            .collect()
    };
    let chat: Vec<_> = (0..20).map(|n| json!({"model":"m","messages":turns(n)})).collect();
    let first = check_same_session(CHAT, &chat);
    check_same_session(
        MESSAGES,
        &[
            json!({"model":"m","system":"be good","messages":[user.clone()]}),
            json!({"messages":[blocks.clone(), more],"system":[{"type":"text","text":"be good"}],"model":"m","max_tokens":5}),
        ],
    );
    check_same_session(
        RESPONSES,
        &[
            json!({"model":"m","instructions":"i","input":"hello"}),
            json!({"model":"m","instructions":"i","input":[{"role":"user","content":[{"type":"input_text","text":"hello"}]},{"type":"reasoning","id":"rs_1"}]}),
        ],
    );
    check_same_session(
        GEMINI,
        &[
            json!({"systemInstruction":{"parts":[{"text":"s"}]},"contents":[{"parts":[{"text":"hello"}]}]}),
            json!({"contents":[{"role":"user","parts":[{"text":"hello"}]},{"role":"model","parts":[]}],"system_instruction":{"parts":[{"text":"s"}]}}),
        ],
    );
    let other = check_same_session(CHAT, &[json!({"model":"m","messages":[{"role":"user","content":"hello!"}]})]);
    let system = json!({"model":"m","messages":[{"role":"developer","content":"d"},{"role":"user","content":"hello"}]});
    let with_system = check_same_session(CHAT, &[system]);
    assert!(first != other && first != with_system);
    // Only the beginning of a very long message counts.
    let long = |end: &str| json!({"model":"m","messages":[{"role":"user","content":"x".repeat(70_000) + end}]});
    check_same_session(CHAT, &[long("a"), long("b")]);
}

#[test]
fn the_hash_is_the_same_everywhere() {
    expect_test::expect!["727b43b214d358d1"]
        .assert_eq(&format!("{:016x}", session::hash(b"fa689dc8-7912-4705-880e-6a1caed6aa45")));
}

// ------------------------------------------------------------------ edits

#[track_caller]
fn check_edit(path: &str, body: &str, model: Option<&str>, usage: bool, expected: &str) {
    let given = Bytes::copy_from_slice(body.as_bytes());
    let edited = facts(path, body).edited(&given, model, usage);
    assert_eq!(std::str::from_utf8(&edited).unwrap(), expected);
    if body == expected {
        assert_eq!(edited.as_ptr(), given.as_ptr(), "copied for nothing");
    }
}

#[test]
fn edits_in_place() {
    let (before, after) = (r#"{ "model" : "a\"b", "x": 1.50}"#, r#"{ "model" : "k\"2", "x": 1.50}"#);
    check_edit(CHAT, before, None, true, before);
    check_edit(CHAT, before, Some("k\"2"), true, after);
    check_edit(CHAT, r#"{"model":"a","model":"b"}"#, Some("c"), false, r#"{"model":"a","model":"c"}"#);
    check_edit(GEMINI, r#"{"model":"models/x"}"#, Some("c"), true, r#"{"model":"models/x"}"#);
    check_edit("/v1/moderations", r#"{"input":"x"}"#, Some("c"), false, r#"{"model":"c","input":"x"}"#);
    check_edit("/v1/moderations", r#"{ }"#, Some("c"), false, r#"{"model":"c" }"#);
}

/// `options` as it stands in the body (or nothing) and as it must go out.
#[track_caller]
fn check_usage(options: &str, expected: &str, asked: bool) {
    let body = format!(r#"{{"model":"m",{options}"stream":true}}"#);
    let expected = match expected.strip_prefix("first:") {
        Some(first) => format!("{{{first}{}", &body[1..]),
        None => format!(r#"{{"model":"m",{expected}"stream":true}}"#),
    };
    check_edit(CHAT, &body, None, true, &expected);
    check_edit(CHAT, &body, None, false, &body);
    check_edit(MESSAGES, &body, None, true, &body);
    check_edit(RESPONSES, &body, None, true, &body);
    check_edit("/v1/completions", &body, None, true, &expected);
    check_edit(CHAT, &body.replace("true}", "false}"), None, true, &body.replace("true}", "false}"));
    assert_eq!(facts(CHAT, &body).usage_asked(), asked, "{body}");
}

#[test]
fn asks_for_usage_in_place() {
    check_usage("", r#"first:"stream_options":{"include_usage":true},"#, false);
    check_usage(r#""stream_options":null,"#, r#""stream_options":{"include_usage":true},"#, false);
    check_usage(r#""stream_options": { } ,"#, r#""stream_options": {"include_usage":true} ,"#, false);
    check_usage(r#""stream_options":{"include_usage":false},"#, r#""stream_options":{"include_usage":true},"#, false);
    check_usage(r#""stream_options":{"include_usage":null},"#, r#""stream_options":{"include_usage":true},"#, false);
    check_usage(r#""stream_options":{"include_usage":true},"#, r#""stream_options":{"include_usage":true},"#, true);
    check_usage(r#""stream_options":{"a":1},"#, r#""stream_options":{"include_usage":true,"a":1},"#, false);
    check_usage(r#""stream_options":"odd","#, r#""stream_options":"odd","#, false);
    check_usage(
        r#""stream_options":{"include_usage":true},"stream_options":{},"#,
        r#""stream_options":{"include_usage":true},"stream_options":{"include_usage":true},"#,
        false,
    );
}

#[test]
fn both_edits_at_once() {
    check_edit(
        CHAT,
        r#"{"stream":true,"model":"m"}"#,
        Some("long-name"),
        true,
        r#"{"stream_options":{"include_usage":true},"stream":true,"model":"long-name"}"#,
    );
}

// ------------------------------------------------------------------ forms

const FORM: [(&str, &str); 1] = [("content-type", "multipart/form-data; boundary=\"b1\"")];

fn form(parts: &[(&str, &str)]) -> String {
    let part =
        |(name, content): &(&str, &str)| format!("--b1\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n");
    parts.iter().map(part).collect::<String>() + "--b1--\r\n"
}

fn read_form(path: &str, body: &str) -> Result<Facts, Refusal> {
    read(&route_of(path), &headers(&FORM), &Bytes::copy_from_slice(body.as_bytes()))
}

#[test]
fn forms_are_read_and_edited() {
    let body = form(&[
        ("file\"; filename=\"a; name=\\\"model\\\"", "\r\n--b\r\nname=\"model\""),
        ("model", "whisper-1"),
        ("stream", "true"),
        ("n", "2"),
    ]);
    let facts = read_form("/v1/audio/transcriptions", &body).unwrap();
    assert_eq!((facts.model.as_deref(), facts.stream, facts.choices), (Some("whisper-1"), true, 2));
    let edited = facts.edited(&Bytes::from(body.clone()), Some("x"), true);
    assert_eq!(edited, body.replace("whisper-1", "x"));
    let facts =
        read_form("/v1/images/edits", &form(&[("quality", "low"), ("model", "m"), ("size", "1x1"), ("prompt", "你好 you")]))
            .unwrap();
    assert_eq!((facts.image_kind.as_deref(), facts.text_bytes.cjk), (Some("low/1x1"), 6));
    let facts = read_form("/v1/files", &form(&[("purpose", "batch"), ("file", "")])).unwrap();
    assert_eq!((facts.purpose.as_deref(), facts.model), (Some("batch"), None));
    let preamble = format!("hello\r\n{}bye", form(&[("model", "m")]));
    assert_eq!(read_form("/v1/audio/translations", &preamble).unwrap().model.as_deref(), Some("m"));
    let lower = "--b1 \t\r\nx-a: b\r\ncontent-disposition:FORM-DATA;NAME=model\r\n\r\nm\r\n--b1--";
    assert_eq!(read_form("/v1/audio/translations", lower).unwrap().model.as_deref(), Some("m"));
}

#[test]
fn forms_that_are_refused() {
    let one = |head: &str, content: &str| format!("--b1\r\n{head}\r\n\r\n{content}\r\n--b1--\r\n");
    let model = "content-disposition: form-data; name=model";
    for (body, message) in [
        (form(&[("model", "a"), ("model", "b")]), "more than one field"),
        (form(&[("model", "a"), ("Model", "b")]), "only by case"),
        (form(&[("file", "a")]), "names no model"),
        (form(&[("model", "a")]).replace("--b1--", ""), "does not end"),
        (form(&[("model", "a")]).replace("\r\n", "\n"), "something else"),
        (form(&[("model", "a"), ("x", "\n--b1\nContent")]), "CRLF"),
        (form(&[("model", &"a".repeat(2000))]), "at most 1024"),
        (one(&format!("{model}; name=x"), "m"), "no readable"),
        (one(&format!("{model}; name*=utf-8''x"), "m"), "no readable"),
        (one(&format!("{model}\r\n{model}"), "m"), "no readable"),
        (one("content-disposition: attachment; name=model", "m"), "no readable"),
        (one("content-type: text/plain", "m"), "no readable"),
        (one(&format!("{model}\r\n folded: x"), "m"), "no readable"),
        ("--b1x\r\n\r\n--b1--".to_string(), "something else"),
        ("".to_string(), "does not end"),
        ("{\"model\":\"m\"}".to_string(), "does not end"),
    ] {
        let refusal = read_form("/v1/audio/transcriptions", &body).expect_err(&body);
        assert!(refusal.message.contains(message) && refusal.code == Code::BadRequest, "{body}: {}", refusal.message);
    }
    // Elsewhere a form is no form, but no JSON either.
    assert!(read_form(CHAT, &form(&[("model", "a")])).unwrap_err().message.contains("JSON object"));
    let odd = headers(&[("content-type", "multipart/form-data")]);
    assert!(read(&route_of("/v1/files"), &odd, &Bytes::new()).unwrap_err().message.contains("boundary"));
}

#[test]
fn empty_contents_and_heads() {
    let facts = read_form("/v1/audio/transcriptions", &form(&[("language", ""), ("model", "m")])).unwrap();
    assert_eq!(facts.model.as_deref(), Some("m"));
    let body = "--b1\r\ncontent-disposition: form-data; name=x\r\n\r\n--b1\r\ncontent-disposition: form-data; name=model\r\n\r\nm\r\n--b1--";
    assert_eq!(read_form("/v1/audio/transcriptions", body).unwrap().model.as_deref(), Some("m"));
}

// ------------------------------------------------------------------ recorded clients

#[test]
fn recorded_clients() {
    let mut folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    while !folder.join("shared/clients").is_dir() {
        if !folder.pop() {
            return; // the recordings are not there
        }
    }
    let mut seen = 0;
    for file in std::fs::read_dir(folder.join("shared/clients")).unwrap() {
        let path = file.unwrap().path();
        let recorded: Json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for request in recorded["requests"].as_array().unwrap() {
            seen += usize::from(check_recorded(&path.display().to_string(), request));
        }
    }
    assert!(seen > 40, "{seen}");
}

/// Whether the request is one that is served; what it says must then be found.
fn check_recorded(file: &str, request: &Json) -> bool {
    let mut headers = HeaderMap::new();
    for line in request["headers"].as_array().unwrap() {
        let (name, value) = line.as_str().unwrap().split_once(": ").unwrap_or((line.as_str().unwrap(), ""));
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), http::HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    let full = request["path"].as_str().unwrap();
    let (path, query) = full.split_once('?').map_or((full, None), |(path, query)| (path, Some(query)));
    let method = Method::try_from(request["method"].as_str().unwrap()).unwrap();
    let route = match route::find(&method, path, query, &headers) {
        Ok(Matched::Route(route)) => route,
        Ok(other) => panic!("{file} {full}: {other:?}"),
        Err(refusal) => {
            let own_protocol = ["amp", "auggie", "google-login"].iter().any(|name| file.contains(name));
            let probe = refusal.code == Code::UpgradeRequired;
            assert!(own_protocol || probe, "{file} {full}: {}", refusal.message);
            return false;
        }
    };
    let found = crate::key::find(&headers, query);
    assert!(
        matches!(found, crate::key::Found::Key(..)) || file.contains("chatgpt-login") || file.contains("oauth-token"),
        "{file}: no key"
    );
    let body = if request["body"].is_null() { String::new() } else { request["body"].to_string() };
    let facts = read(&route, &headers, &Bytes::from(body)).unwrap_or_else(|refusal| panic!("{file} {full}: {}", refusal.message));
    if route.kind.body_names_model() && route.model.is_none() {
        assert_eq!(facts.model.as_deref(), request["body"]["model"].as_str(), "{file}");
        assert_eq!(facts.stream, request["body"]["stream"].as_bool().unwrap_or(false), "{file}");
    }
    let gives_session =
        ["claude-code-messages", "codex-", "opencode", "kimi-code", "dashscope-form"].iter().any(|name| file.contains(name));
    if gives_session && route.kind.has_body() {
        assert!(facts.session_given, "{file}: no session");
    }
    true
}

// ------------------------------------------------------------------ properties

/// A body with the members that matter in any order, among others.
fn any_body() -> impl Strategy<Value = Json> {
    let options = prop_oneof![
        Just(Json::Null),
        Just(json!({})),
        any::<bool>().prop_map(|b| json!({"include_usage": b})),
        any::<bool>().prop_map(|b| json!({"x": [1, "}"], "include_usage": b, "y": null})),
        Just(json!({"include_obfuscation": false})),
    ];
    let messages = proptest::collection::vec(
        ("\\PC{0,12}", "[a-z]{0,4}").prop_map(|(text, role)| json!({"role": role, "content": text})),
        0..4,
    );
    let others = proptest::collection::btree_map("[a-z\"\\\\é]{0,6}", "\\PC{0,8}", 0..4);
    (proptest::option::of(options), messages, others, "[a-z\"\\\\/é]{1,9}", any::<bool>()).prop_map(
        |(options, messages, others, model, stream)| {
            let mut body: serde_json::Map<String, Json> =
                others.into_iter().map(|(name, text)| (format!("x{name}"), text.into())).collect();
            body.insert("model".into(), model.into());
            body.insert("stream".into(), stream.into());
            body.insert("messages".into(), messages.into());
            if let Some(options) = options {
                body.insert("stream_options".into(), options);
            }
            Json::Object(body)
        },
    )
}

proptest! {
    #[test]
    fn edits_change_only_what_they_should(body in any_body(), pretty: bool, model in proptest::option::of("\\PC{1,9}"), usage: bool) {
        let text = if pretty { serde_json::to_string_pretty(&body).unwrap() } else { body.to_string() };
        let given = Bytes::from(text);
        let facts = read(&route_of(CHAT), &HeaderMap::new(), &given).unwrap();
        let edited = facts.edited(&given, model.as_deref(), usage);
        let mut wanted = body.clone();
        if let Some(model) = &model {
            wanted["model"] = Json::from(model.as_str());
        }
        if usage && body["stream"] == true {
            if !wanted["stream_options"].is_object() {
                wanted["stream_options"] = json!({});
            }
            wanted["stream_options"]["include_usage"] = true.into();
        }
        prop_assert_eq!(serde_json::from_slice::<Json>(&edited).unwrap(), wanted);
        prop_assert_eq!(facts.usage_asked(), body["stream"] == true && body["stream_options"]["include_usage"] == true);
    }

    #[test]
    fn agrees_with_serde(body in any_body()) {
        let facts = facts(CHAT, &body.to_string());
        prop_assert_eq!(facts.model.as_deref(), body["model"].as_str());
        prop_assert_eq!(Some(facts.stream), body["stream"].as_bool());
    }

    #[test]
    fn no_body_panics(bytes: Vec<u8>, tail in "[{}\\[\\]\",:\\\\a-z0-9 ]{0,60}", path in 0..4usize) {
        let path = [CHAT, MESSAGES, GEMINI, RESPONSES][path];
        for body in [bytes, format!("{{\"model\":\"m\",{tail}").into_bytes()] {
            let body = Bytes::from(body);
            if let Ok(facts) = read(&route_of(path), &HeaderMap::new(), &body) {
                let _edited = facts.edited(&body, Some("x"), true);
            }
        }
    }

    #[test]
    fn no_form_panics(bytes: Vec<u8>, text in "(--b1|\r\n|-|name=|content-disposition: form-data; |\"|model|\n){0,20}") {
        for body in [bytes, text.into_bytes()] {
            let _facts = read(&route_of("/v1/audio/transcriptions"), &headers(&FORM), &Bytes::from(body));
        }
    }
}

/// Not run by default: `AICARPOOL_SLOW=1 cargo test --release facts::tests::speed -- --nocapture`.
#[test]
fn speed() {
    if std::env::var_os("AICARPOOL_SLOW").is_none() {
        return;
    }
    let line = "The quick brown fox says \\\"jumps over\\\" the lazy dog, again and again.\\n";
    let long = format!(r#"{{"model":"m","stream":true,"messages":[{{"role":"user","content":"{}"}}]}}"#, "x y z ".repeat(35_000));
    let usual = format!(r#"{{"model":"m","stream":true,"messages":[{{"role":"user","content":"{}"}}]}}"#, line.repeat(2_900));
    let small: Vec<String> = (0..2_000)
        .map(|n| format!(r#"{{"role":"user","content":[{{"type":"text","text":"turn {n} of a long conversation"}}]}}"#))
        .collect();
    let small = format!(r#"{{"model":"m","messages":[{}]}}"#, small.join(","));
    let chinese = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, "今天天气很好，".repeat(10_000));
    for (name, body) in [("long", long), ("usual", usual), ("small", small), ("chinese", chinese)] {
        let (route, headers, body) = (route_of(CHAT), HeaderMap::new(), Bytes::from(body));
        let start = crate::clock::steady();
        for _ in 0..500 {
            std::hint::black_box(read(&route, &headers, &body).unwrap());
        }
        let each = start.elapsed() / 500;
        println!("{name}: {} bytes in {each:?}, {:.2} GB/s", body.len(), body.len() as f64 / each.as_nanos() as f64);
    }
}
