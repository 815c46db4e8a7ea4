//! The head of a stream is held back until something meaningful comes, for at most two seconds.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::harness::answers::{chat_events, error_event, messages_delta, messages_events, messages_prelude, responses_events};
use crate::harness::log::{attempts, has};
use crate::harness::requests::{chat_stream, messages_stream, responses_stream};
use crate::harness::setups::{claude, openai, us};
use crate::harness::*;

#[tokio::test]
async fn a_silent_provider_does_not_hold_the_head_for_more_than_two_seconds() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("a", &provider.origin())])).start().await;
    for form in ["h1", "h2c"] {
        let gate = Gate::new();
        let prelude = messages_prelude();
        let mut script = Script::open_stream(prelude.clone()).then(Step::Gate(gate.clone()));
        script.steps.extend([Step::Body(messages_delta("pong").into()), Step::End]);
        provider.then(script);
        let before = Instant::now();
        let rest = if form == "h1" {
            let mut client = gateway.connect().await;
            client.open(&messages_stream()).await.expect(200);
            for event in &prelude {
                assert_eq!(client.event().await.unwrap().as_ref(), Some(event));
            }
            assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
            gate.open();
            client.rest().await.0
        } else {
            let client = H2Client::connect(gateway.address).await;
            let mut stream = client.open(&messages_stream()).await.unwrap();
            for event in &prelude {
                assert_eq!(stream.event().await.unwrap().as_ref(), Some(event));
            }
            gate.open();
            stream.answer().await.text()
        };
        assert!(before.elapsed() >= Duration::from_millis(1800), "the head was not held: {:?}", before.elapsed());
        // The script has no end of its own, so an error event of the gateway follows.
        assert_eq!(rest.split("event: error").next().unwrap(), messages_delta("pong"));
    }
}

/// After the two seconds the answer is the client's: an error is passed on as it came.
#[tokio::test]
async fn an_error_after_the_hold_is_passed_on() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let gateway = Gateway::with(us(&[claude("a", &first.origin()), claude("b", &second.origin())])).start().await;
    let gate = Gate::new();
    let mut script = Script::open_stream(messages_prelude()).then(Step::Gate(gate.clone()));
    script.steps.extend([Step::Body(error_event("overloaded_error").into()), Step::End]);
    first.then(script);
    let mut client = gateway.connect().await;
    let id = client.open(&messages_stream()).await.expect(200).id().to_owned();
    gate.open();
    let (rest, proper) = client.rest().await;
    assert_eq!((rest, proper), (messages_prelude().concat() + &error_event("overloaded_error"), true));
    assert_eq!(second.requests().len(), 0);
    has(&gateway.line(&id).await, json!({"error": "overloaded_error", "status": 200, "account": "a"}));
}

#[tokio::test]
async fn what_is_no_content_does_not_end_the_hold() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let comments = || vec![": keep-alive\n\n".to_owned(), "\n".to_owned()];
    let cases = [
        (messages_stream(), [comments(), messages_prelude(), vec![error_event("overloaded_error")]].concat(), messages_events(&["po", "ng"])),
        (
            chat_stream(),
            [comments(), chat_events(&[], false)[..1].to_vec(), vec![format!("data: {}\n\n", answers::openai_error("server_error", "x"))]].concat(),
            chat_events(&["po", "ng"], false),
        ),
        (
            responses_stream(),
            [comments(), responses_events(&[])[..1].to_vec(), vec!["event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"x\",\"param\":null,\"sequence_number\":1}\n\n".to_owned()]].concat(),
            responses_events(&["po", "ng"]),
        ),
    ];
    for (request, bad, good) in cases {
        for size in [1, 50, 100_000] {
            let accounts = if request.target == "/v1/messages" {
                [claude("a", &first.origin()), claude("b", &second.origin())]
            } else {
                [openai("a", &first.origin()), openai("b", &second.origin())]
            };
            let gateway = Gateway::with(us(&accounts)).start().await;
            first.then(Script::stream(bad.clone()).in_pieces(size));
            let answer = gateway.ask(&request).await.expect(200);
            assert_eq!(answer.text(), good.concat(), "{} in pieces of {size}", request.target);
            assert_eq!(attempts(&gateway.line_of(&answer).await).len(), 2);
        }
    }
}

#[tokio::test]
async fn what_was_held_is_passed_on_byte_for_byte() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("a", &provider.origin())])).start().await;
    let odd = [
        ": a comment\r\n\r\n".to_owned(),
        "retry: 3000\n\n".to_owned(),
        "id: 7\nevent: ping\ndata: {\"type\": \"ping\"}\n\n".to_owned(),
        messages_events(&["po", "ng"]).concat().replace('\n', "\r\n"),
        "data: {\"type\":\"unknown\"}".to_owned(),
    ]
    .concat();
    for size in [1, 13, 4096, 1 << 20] {
        provider.then(Script::stream([odd.clone()]).in_pieces(size));
        let answer = gateway.ask(&messages_stream()).await.expect(200);
        assert_eq!(answer.text(), odd, "in pieces of {size}");
    }
}

/// A stream that ends before it said anything is a fault like an error event.
#[tokio::test]
async fn an_empty_stream_is_a_fault() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    for end in [Step::End, Step::Close, Step::Reset] {
        let gateway = Gateway::with(us(&[claude("a", &first.origin()), claude("b", &second.origin())])).start().await;
        first.then(Script::open_stream(messages_prelude()).then(end));
        let answer = gateway.ask(&messages_stream()).await.expect(200);
        assert_eq!(answer.text(), messages_events(&["po", "ng"]).concat());
    }
    let gateway = Gateway::with(us(&[claude("a", &first.origin())])).start().await;
    first.then(Script::stream(messages_prelude()));
    let answer = gateway.ask(&messages_stream()).await;
    assert!(answer.status >= 500, "{answer:?}");
}

#[tokio::test]
async fn the_wait_for_a_first_event_is_told_apart_in_the_log() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("a", &provider.origin())])).start().await;
    let mut script = Script::open_stream(messages_prelude()).then(Step::Pause(Duration::from_millis(400)));
    script.steps.extend(messages_events(&["pong"]).split_off(2).into_iter().map(|e| Step::Body(e.into())));
    provider.then(script.then(Step::End));
    let answer = gateway.ask(&messages_stream()).await.expect(200);
    let line = gateway.line_of(&answer).await;
    assert!(line["held_ms"].as_f64().unwrap() >= 350.0, "{line:#}");
    assert!(line["overhead_us"].as_f64().unwrap() < 300_000.0, "the wait is no overhead of ours: {line:#}");
}

/// The other dialects' ways of saying it, and the status each stands for.
#[tokio::test]
async fn errors_as_first_event_in_each_dialect() {
    let provider = Provider::plain().await;
    let failed = |code: &str| {
        let response = json!({"id": "resp_1", "object": "response", "status": "failed", "model": "gpt-5", "output": [], "error": {"code": code, "message": "x"}});
        format!(
            "event: response.failed\ndata: {}\n\n",
            json!({"type": "response.failed", "sequence_number": 1, "response": response})
        )
    };
    let cases = [
        (responses_stream(), [responses_events(&[])[0].clone(), failed("rate_limit_exceeded")].concat(), 429),
        (responses_stream(), [responses_events(&[])[0].clone(), failed("server_error")].concat(), 500),
        (chat_stream(), format!("data: {}\n\n", json!({"error": {"message": "x", "type": "server_error", "code": 503}})), 503),
        (requests::generate_stream(), format!("data: {}\r\n\r\n", answers::gemini_error(429, "RESOURCE_EXHAUSTED", "x")), 429),
        (requests::generate_stream(), format!("data: {}\r\n\r\n", answers::gemini_error(503, "UNAVAILABLE", "x")), 503),
    ];
    for (request, events, status) in cases {
        let origin = provider.origin();
        let gateway = Gateway::with(us(&[openai("o", &origin), setups::gemini("g", &origin)])).start().await;
        provider.then(Script::stream([events.clone()]));
        let answer = gateway.ask(&request).await;
        assert!(answer.status == status || status == 503 && answer.status == 500, "{status} for {events}: {answer:?}");
        assert!(answer.json()["error"].is_object(), "{answer:?}");
    }
}

#[tokio::test]
async fn json_where_a_stream_was_asked_for() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("a", &provider.origin())])).start().await;
    let script = answers::messages("pong");
    provider.then(script.clone());
    let answer = gateway.ask(&messages_stream()).await.expect(200);
    assert_eq!(answer.body.to_vec(), script.body());
    has(&gateway.line_of(&answer).await, json!({"basis": "reported", "usage": {"input": 12, "output": 5}}));
    let stream = answers::messages_stream(&["po", "ng"]).header("content-type", "text/event-stream; charset=utf-8");
    provider.then(stream.clone());
    let answer = gateway.ask(&messages_stream()).await.expect(200);
    assert_eq!(answer.body.to_vec(), stream.body());
    has(&gateway.line_of(&answer).await, json!({"basis": "reported", "usage": {"input": 12, "output": 5}}));
}
