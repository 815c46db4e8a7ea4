//! Streams flow event by event: the client has event N before the provider sends N + 1.

use crate::harness::requests::{chat_stream, gemini, generate_stream, messages_stream, responses_stream};
use crate::harness::setups::{account, claude, openai, us};
use crate::harness::*;

/// A request, its answer event by event, and which of them is the first that means something.
fn dialects() -> Vec<(Request, Vec<String>, usize)> {
    let usage = |mut request: Request| {
        let text = String::from_utf8(request.body.to_vec()).unwrap();
        request.body = text.replace("\"stream\":true", "\"stream\":true,\"stream_options\":{\"include_usage\":true}").into();
        request
    };
    vec![
        (messages_stream(), answers::messages_events(&["po", "ng", "!", "?"]), 3),
        (usage(chat_stream()), answers::chat_events(&["po", "ng", "!", "?"], true), 1),
        (responses_stream(), answers::responses_events(&["po", "ng", "!", "?"]), 1),
        (generate_stream(), answers::generate_events(&["po", "ng", "!", "?"]), 0),
    ]
}

async fn gateway(provider: &Provider, authority: &Authority) -> Gateway {
    let origin = provider.origin();
    let tls = ", tls: {ca: ca.pem}";
    let accounts = [
        account("c", "claude", "anthropic", &origin, tls),
        account("o", "openai", "openai", &format!("{origin}/v1"), tls),
        account("g", "gemini", "gemini", &origin, tls),
    ];
    Gateway::with(us(&accounts)).file("ca.pem", &authority.ca_pem).start().await
}

/// Lets the events up to the first meaningful one go together, then each by itself.
async fn step_by_step(gate: &Gate, events: &[String], first: usize, mut next: impl AsyncFnMut() -> Option<String>, what: &str) {
    for _ in 0..first {
        gate.reached().await;
        gate.open();
    }
    for (at, event) in events.iter().enumerate() {
        assert_eq!(next().await.as_ref(), Some(event), "{what}: event {at}");
        if at >= first && at + 1 < events.len() {
            gate.reached().await;
            gate.open();
        }
    }
    assert_eq!(next().await, None, "{what}: after the last event");
}

async fn event_by_event(provider: Provider, authority: &Authority) {
    let gateway = gateway(&provider, authority).await;
    for (request, events, first) in dialects() {
        let gate = Gate::new();
        provider.then(Script::gated_stream(events.clone(), &gate));
        let what = format!("h1, {}", request.target);
        let mut client = gateway.connect().await;
        client.send(&request).await;
        step_by_step_after_head(&gate, &events, first, &mut client, &what).await;

        let gate = Gate::new();
        provider.then(Script::gated_stream(events.clone(), &gate));
        let client = H2Client::connect(gateway.address).await;
        for _ in 0..first {
            gate.open();
        }
        let mut stream = client.open(&request).await.unwrap();
        assert_eq!(stream.status, 200);
        for _ in 0..first {
            gate.reached().await;
        }
        let what = format!("h2c, {}", request.target);
        step_by_step(&gate, &events[first..], 0, async || stream_rest(&mut stream, &events[..first]).await, &what).await;
    }
}

async fn step_by_step_after_head(gate: &Gate, events: &[String], first: usize, client: &mut Client, what: &str) {
    for _ in 0..first {
        gate.reached().await;
        gate.open();
    }
    let head = client.head().await.expect(200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"), "{what}");
    for (at, event) in events.iter().enumerate() {
        assert_eq!(client.event().await.unwrap().as_ref(), Some(event), "{what}: event {at}");
        if at >= first && at + 1 < events.len() {
            gate.reached().await;
            gate.open();
        }
    }
    assert_eq!(client.event().await.unwrap(), None, "{what}: after the last event");
}

/// The next event that is none of those sent before the first meaningful one.
async fn stream_rest(stream: &mut client::H2Stream, before: &[String]) -> Option<String> {
    loop {
        let event = stream.event().await.unwrap();
        if !event.as_ref().is_some_and(|event| before.contains(event)) {
            return event;
        }
    }
}

#[tokio::test]
async fn event_by_event_from_a_plain_provider() {
    let authority = Authority::new();
    event_by_event(Provider::plain().await, &authority).await;
}
#[tokio::test]
async fn event_by_event_from_a_tls_provider() {
    let authority = Authority::new();
    event_by_event(Provider::tls_h1(&authority).await, &authority).await;
}
#[tokio::test]
async fn event_by_event_from_an_h2_provider() {
    let authority = Authority::new();
    event_by_event(Provider::tls_h2(&authority).await, &authority).await;
}

/// Without `include_usage` the gateway asks for usage itself, and takes only that chunk out.
#[tokio::test]
async fn the_usage_chunk_that_nobody_asked_for_is_taken_out() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[openai("o", &provider.origin())])).start().await;
    let events = answers::chat_events(&["po", "ng"], true);
    let shown = answers::chat_events(&["po", "ng"], false);
    let gate = Gate::new();
    provider.then(Script::gated_stream(events.clone(), &gate));
    let mut client = gateway.connect().await;
    client.send(&chat_stream()).await;
    gate.reached().await;
    gate.open();
    client.head().await.expect(200);
    for (at, event) in shown.iter().enumerate() {
        assert_eq!(client.event().await.unwrap().as_ref(), Some(event), "event {at}");
        if at >= 1 && at + 1 < shown.len() {
            gate.reached().await;
            gate.open();
            if at + 2 == shown.len() {
                gate.reached().await;
                gate.open();
            }
        }
    }
    assert_eq!(client.event().await.unwrap(), None);
    let sent = provider.last().json();
    assert_eq!(sent["stream_options"]["include_usage"], true);

    // Also when the client said `false`; and cut anywhere.
    let body = r#"{"model":"gpt-4o","stream_options":{"include_usage":false},"messages":[],"stream":true}"#;
    for size in [1, 7, 100] {
        provider.then(Script::stream(events.clone()).in_pieces(size));
        let answer = gateway.ask(&requests::openai("/v1/chat/completions", body)).await.expect(200);
        assert_eq!(answer.text(), shown.concat(), "pieces of {size}");
        assert_eq!(provider.last().json()["stream_options"]["include_usage"], true);
    }
    // A client that asks for it gets it, and its bytes are not touched.
    let asked = r#"{"model":"gpt-4o","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#;
    let answer = gateway.ask(&requests::openai("/v1/chat/completions", asked)).await.expect(200);
    assert_eq!((answer.text(), provider.last().body), (events.concat(), asked.into()));
}

#[tokio::test]
async fn a_gemini_array_flows_element_by_element() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[setups::gemini("g", &provider.origin())])).start().await;
    let script = answers::generate_array(&["po", "ng", "!"]);
    let whole = script.body();
    let gate = Gate::new();
    let mut steps = Vec::new();
    for step in script.steps {
        if matches!(step, Step::Body(_)) {
            steps.push(Step::Gate(gate.clone()));
        }
        steps.push(step);
    }
    provider.then(Script::steps(steps));
    let mut client = gateway.connect().await;
    client.send(&gemini("/v1beta/models/gemini-2.5-pro:streamGenerateContent")).await;
    gate.reached().await;
    gate.open();
    client.head().await.expect(200);
    let mut seen = client.piece().await.unwrap().unwrap().to_vec();
    for _ in 0..2 {
        gate.reached().await;
        gate.open();
        seen.extend_from_slice(&client.piece().await.unwrap().unwrap());
    }
    let (rest, proper) = client.rest().await;
    seen.extend_from_slice(rest.as_bytes());
    assert_eq!((seen, proper), (whole, true));
}

/// When the provider dies in the middle, the dialect's error event ends the stream: a quiet end would be taken for success.
#[tokio::test]
async fn a_stream_that_dies_ends_with_the_dialects_error_event() {
    let authority = Authority::new();
    for http2 in [false, true] {
        let provider = if http2 { Provider::tls_h2(&authority).await } else { Provider::plain().await };
        let gateway = gateway(&provider, &authority).await;
        for (request, events, first) in dialects() {
            for end in [Step::Reset, Step::Close, Step::StreamReset(h2::Reason::INTERNAL_ERROR)] {
                let sent = &events[..first + 2];
                provider.then(Script::open_stream(sent.to_vec()).then(end));
                let answer = gateway.ask(&request).await.expect(200);
                assert!(answer.whole, "the body must come to its proper end: {answer:?}");
                let text = answer.text();
                let added =
                    text.strip_prefix(&sent.concat()).unwrap_or_else(|| panic!("other bytes than the provider's: {answer:?}"));
                let marks: &[&str] = match request.target.as_str() {
                    "/v1/messages" => &["event: error\n", "\"type\":\"error\""],
                    "/v1/responses" => &["event: response.failed\n", "server_error"],
                    _ => &["data: {\"error\":{"],
                };
                for mark in marks {
                    assert!(added.contains(mark), "{}: {mark:?} is missing in {added:?}", request.target);
                }
                assert!(added.ends_with("\n\n") || added.ends_with("\r\n\r\n"), "{added:?}");
                assert!(!added.contains("[DONE]"), "{added:?}");
                let line = gateway.line_of(&answer).await;
                log::has(&line, serde_json::json!({"outcome": "cut", "status": 200, "stream": true}));
                assert!(["partial", "estimated"].contains(&line["basis"].as_str().unwrap()), "{line:#}");
            }
        }
    }
}

/// The terminal event decides: a client that leaves right after it was served well.
#[tokio::test]
async fn a_client_that_leaves_after_the_terminal_event_was_served() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[openai("o", &provider.origin()), claude("c", &provider.origin())])).start().await;
    for (request, events) in
        [(responses_stream(), answers::responses_events(&["pong"])), (messages_stream(), answers::messages_events(&["pong"]))]
    {
        provider.then(Script::open_stream(events.clone()).then(Step::Silence));
        let mut client = gateway.connect().await;
        let id = client.open(&request).await.expect(200).id().to_owned();
        for event in &events {
            assert_eq!(client.event().await.unwrap().as_ref(), Some(event));
        }
        drop(client);
        let line = gateway.line(&id).await;
        log::has(&line, serde_json::json!({"outcome": "ok", "basis": "reported", "usage": {"input": 12, "output": 5}}));
    }
}

#[tokio::test]
async fn a_hundred_streams_at_once_do_not_mix() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("c", &provider.origin())])).start().await;
    provider.answers(|request| {
        let name = request.header("x-name").unwrap().to_owned();
        answers::messages_stream(&[&name, &name, &name])
    });
    let client = std::rc::Rc::new(H2Client::connect(gateway.address).await);
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let mut tasks = Vec::new();
            for number in 0..100 {
                let (client, name) = (client.clone(), format!("name-{number}-"));
                tasks.push(tokio::task::spawn_local(async move {
                    let answer = client.ask(&messages_stream().header("x-name", &name)).await.expect(200);
                    assert_eq!(answer.text(), answers::messages_events(&[&name, &name, &name]).concat());
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
        })
        .await;
}

/// The form without `alt=sse`: an array that breaks off is closed as one, with the error as its last element.
#[tokio::test]
async fn a_gemini_array_that_dies_is_still_an_array() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[setups::gemini("g", &provider.origin())])).start().await;
    let script = answers::generate_array(&["po", "ng", "!"]);
    let whole = script.body();
    let first = match &script.steps[1] {
        Step::Body(piece) => piece.len(),
        _ => panic!("no first element"),
    };
    for cut in [first, first + 2] {
        provider.then(script.clone().cut(cut, Step::Reset));
        let answer = gateway.ask(&gemini("/v1beta/models/gemini-2.5-pro:streamGenerateContent")).await.expect(200);
        assert!(answer.whole && answer.body.starts_with(&whole[..first]), "{answer:?}");
        let elements = answer.json();
        let last = elements.as_array().unwrap_or_else(|| panic!("{answer:?}")).last().unwrap().clone();
        assert!(last["error"]["code"].is_u64(), "{answer:?}");
        log::has(&gateway.line_of(&answer).await, serde_json::json!({"outcome": "cut"}));
    }
}

#[tokio::test]
async fn a_client_that_has_closed_its_half_is_served() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("c", &provider.origin())])).start().await;
    let gate = Gate::new();
    provider.then(Script::gated_stream(answers::messages_events(&["po", "ng"]), &gate));
    let mut client = gateway.connect().await;
    client.send(&messages_stream()).await;
    provider.received(1).await;
    client.half_close().await;
    gate.open_wide();
    // Most servers take the end of a client's half for its leaving; what must not happen is half an answer that looks whole.
    if let Some((status, _)) = client.any_head().await {
        assert_eq!(status, 200);
    }
    gateway.metric("nothing in flight", |m| m.sum("account_in_flight", &[]) == 0.0).await;
}
