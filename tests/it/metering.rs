//! What was used and what it costs, as the access log says it: whole answers, cut ones, clients that leave.

use std::io::Write;

use serde_json::json;

use crate::harness::log::has;
use crate::harness::requests::{
    chat, chat_stream, generate, generate_stream, messages, messages_stream, responses, responses_stream,
};
use crate::harness::script::silence;
use crate::harness::setups::{account, claude, gemini, openai, us};
use crate::harness::*;

fn three(provider: &Provider) -> String {
    let origin = provider.origin();
    us(&[claude("c", &origin), openai("o", &origin), gemini("g", &origin)])
}

/// 12 tokens at 3 $ and 5 at 15 $ a million, in nano-dollars.
const SONNET: u64 = 12 * 3000 + 5 * 15_000;

#[tokio::test]
async fn what_providers_report_is_counted_in_every_dialect() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    let asked =
        [messages(), messages_stream(), chat(), chat_stream(), responses(), responses_stream(), generate(), generate_stream()];
    for request in asked {
        for size in [1, 7, 100_000] {
            provider.answers(move |request| answers::plausible(request).in_pieces(size));
            let answer = gateway.ask(&request).await.expect(200);
            let line = gateway.line_of(&answer).await;
            has(&line, json!({"outcome": "ok", "basis": "reported", "usage": {"input": 12, "output": 5}, "priced": true}));
            assert!(line["cost"].as_u64().unwrap() > 0 && line["charged"] == line["cost"], "{line:#}");
            assert_eq!(line["response_bytes"], answer.body.len(), "{line:#}");
            if request.target == "/v1/messages" {
                has(&line, json!({"cost": SONNET}));
            }
        }
    }
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("tokens_total", &[("class", "input")]), 8.0 * 3.0 * 12.0);
    assert_eq!(metrics.sum("tokens_total", &[("class", "output"), ("model", "claude-sonnet-4-5")]), 2.0 * 3.0 * 5.0);
    assert_eq!(metrics.sum("cost_nanodollars_total", &[("service", "claude")]), 6.0 * SONNET as f64);
}

#[tokio::test]
async fn factors_and_fixed_costs_make_the_charge() {
    let provider = Provider::plain().await;
    let yaml = us(&[account("c", "claude", "anthropic", &provider.origin(), ", price_factor: 0.5")])
        + "enterprises: [{id: default, charge_factor: 0.9, fixed_cost: 0.0001}]\n";
    let gateway = Gateway::with(yaml).start().await;
    let answer = gateway.ask(&messages()).await.expect(200);
    let cost = SONNET / 2;
    has(&gateway.line_of(&answer).await, json!({"cost": cost, "charged": (cost + 100_000) * 9 / 10}));
    // What the provider did not accept costs nothing, nor does counting tokens.
    provider.then(answers::refusal("/v1/messages", 400));
    let answer = gateway.ask(&messages()).await.expect(400);
    has(&gateway.line_of(&answer).await, json!({"cost": 0, "charged": 0, "basis": "none"}));
    let count = requests::anthropic(r#"{"model":"claude-sonnet-4-5","messages":[]}"#);
    let answer = gateway.ask(&Request { target: "/v1/messages/count_tokens".to_owned(), ..count }).await.expect(200);
    has(&gateway.line_of(&answer).await, json!({"operation": "count_tokens", "charged": 0, "basis": "none"}));
}

#[tokio::test]
async fn prices_can_be_overridden() {
    let provider = Provider::plain().await;
    let prices = "models: [{account: c, model: claude-sonnet-4-5, price: {input: \"1\", output: \"2\"}}]\n";
    let gateway =
        Gateway::with(us(&[claude("c", &provider.origin())]) + "prices: [ours.yaml]\n").file("ours.yaml", prices).start().await;
    let answer = gateway.ask(&messages()).await.expect(200);
    has(&gateway.line_of(&answer).await, json!({"cost": 12 * 1000 + 5 * 2000}));
}

#[tokio::test]
async fn a_model_without_a_price_is_never_guessed() {
    let provider = Provider::plain().await;
    let accounts = [account("c", "claude", "anthropic", &provider.origin(), ", models: [\"*\"]")];
    let request = requests::anthropic(r#"{"model":"nobody-knows-it","max_tokens":1,"messages":[]}"#);
    let unknown = String::from_utf8(answers::messages("pong").body()).unwrap().replace("claude-sonnet-4-5", "nobody-knows-it");
    provider.always(Script::answer(200, "application/json", unknown));
    let gateway = Gateway::with(us(&accounts)).start().await;
    for _ in 0..2 {
        let answer = gateway.ask(&request).await.expect(200);
        has(&gateway.line_of(&answer).await, json!({"cost": 0, "priced": false, "usage": {"input": 12, "output": 5}}));
    }
    let metrics = gateway.metrics().await;
    assert_eq!(
        (metrics.sum("unpriced_requests_total", &[]), metrics.text.contains("nobody-knows-it")),
        (2.0, false),
        "{metrics:?}"
    );
    let gateway = Gateway::with(us(&accounts) + "unpriced: reject\n").start().await;
    gateway.ask(&request).await.refused(403, "unpriced_model");
}

#[tokio::test]
async fn answers_that_are_compressed_all_the_same() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    for (request, plain, content_type) in [
        (messages(), answers::messages("pong").body(), "application/json"),
        (messages_stream(), answers::messages_events(&["po", "ng"]).concat().into_bytes(), "text/event-stream"),
        (chat_stream(), answers::chat_events(&["po", "ng"], true).concat().into_bytes(), "text/event-stream"),
        (generate(), answers::generate("pong").body(), "application/json"),
    ] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&plain).unwrap();
        let gzip = encoder.finish().unwrap();
        let zstd = zstd::encode_all(&plain[..], 3).unwrap();
        for (encoding, bytes) in [("gzip", gzip), ("zstd", zstd)] {
            provider.then(Script::answer(200, content_type, bytes.clone()).header("content-encoding", encoding).in_pieces(11));
            let answer = gateway.ask(&request.clone().header("accept-encoding", "gzip, zstd, br")).await.expect(200);
            assert_eq!((answer.body.to_vec(), answer.header("content-encoding")), (bytes, Some(encoding)), "{}", request.target);
            assert_eq!(provider.last().header("accept-encoding"), Some("identity"));
            has(&gateway.line_of(&answer).await, json!({"basis": "reported", "usage": {"input": 12, "output": 5}}));
        }
    }
}

/// A stream that breaks off: what was reported holds, the rest is estimated and said to be.
#[tokio::test]
async fn cut_streams_are_estimated_and_marked() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    let text = "A sentence of some length, so that there is something to estimate. ".repeat(10);
    let pieces = [text.as_str(), text.as_str()];
    let cases = [
        (messages_stream(), answers::messages_events(&pieces)[..5].to_vec(), "partial", 12),
        (chat_stream(), answers::chat_events(&pieces, true)[..3].to_vec(), "estimated", 1),
        (responses_stream(), answers::responses_events(&pieces)[..3].to_vec(), "estimated", 1),
        (generate_stream(), answers::generate_events(&[&text, &text, &text])[..2].to_vec(), "estimated", 1),
    ];
    for (request, events, basis, input) in cases {
        provider.then(Script::open_stream(events).then(Step::Reset));
        let answer = gateway.ask(&request).await.expect(200);
        let line = gateway.line_of(&answer).await;
        has(&line, json!({"outcome": "cut", "basis": basis}));
        let (read, written) = (line["usage"]["input"].as_u64().unwrap_or(0), line["usage"]["output"].as_u64().unwrap_or(0));
        assert!(read >= input && (100..1000).contains(&written), "{line:#}");
        if basis == "partial" {
            assert_eq!(read, 12, "what was reported holds: {line:#}");
        }
        assert!(line["cost"].as_u64().unwrap() > 0, "{line:#}");
    }
    // The final figures were seen: what breaks off after them changes nothing.
    let events = answers::messages_events(&["pong"]);
    provider.then(Script::open_stream(events[..events.len() - 1].to_vec()).then(Step::Reset));
    let answer = gateway.ask(&messages_stream()).await.expect(200);
    has(&gateway.line_of(&answer).await, json!({"basis": "reported", "usage": {"input": 12, "output": 5}}));
}

#[tokio::test]
async fn a_provider_that_reports_nothing_is_estimated() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    provider.then(answers::chat_stream(&["some words here", " and some there"], false));
    let answer = gateway.ask(&chat_stream()).await.expect(200);
    let line = gateway.line_of(&answer).await;
    has(&line, json!({"outcome": "ok", "basis": "estimated"}));
    assert!(line["usage"]["output"].as_u64().unwrap() > 0, "{line:#}");
}

/// `on_disconnect: finish` reads on for the provider's own figures after the client has left.
#[tokio::test]
async fn a_client_that_leaves_is_metered_to_the_end() {
    let authority = Authority::new();
    for provider in [Provider::plain().await, Provider::tls_h2(&authority).await] {
        let accounts = [account("c", "claude", "anthropic", &provider.origin(), ", tls: {ca: ca.pem}, max_concurrency: 1")];
        let gateway = Gateway::with(us(&accounts)).file("ca.pem", &authority.ca_pem).start().await;
        let gate = Gate::new();
        let events = answers::messages_events(&["po", "ng"]);
        let mut script = Script::open_stream(events[..4].to_vec()).then(Step::Gate(gate.clone()));
        script.steps.extend(events[4..].iter().map(|e| Step::Body(e.clone().into())));
        provider.then(script.then(Step::End));
        let mut client = gateway.connect().await;
        let id = client.open(&messages_stream()).await.expect(200).id().to_owned();
        client.event().await.unwrap();
        client.reset();
        // The place is free at once, though the provider is still being read.
        gateway.metric("the place is free", |m| m.sum("account_in_flight", &[("account", "c")]) == 0.0).await;
        gate.open();
        has(
            &gateway.line(&id).await,
            json!({"outcome": "aborted", "basis": "reported", "usage": {"input": 12, "output": 5}, "cost": SONNET, "account": "c"}),
        );
        assert!(!provider.last().left, "the provider was left before its end");
    }
}

#[tokio::test]
async fn reading_on_has_an_end() {
    let provider = Provider::plain().await;
    let gateway =
        Gateway::with(us(&[claude("c", &provider.origin())]) + "metering: {on_disconnect: finish, disconnect_read: 1s}\n")
            .start()
            .await;
    provider.then(Script::open_stream(answers::messages_events(&["po", "ng"])[..5].to_vec()).then(Step::Silence));
    let mut client = gateway.connect().await;
    let id = client.open(&messages_stream()).await.expect(200).id().to_owned();
    client.event().await.unwrap();
    drop(client);
    let line = gateway.line(&id).await;
    has(&line, json!({"outcome": "aborted", "basis": "partial"}));
    provider.left(0).await;
}

#[tokio::test]
async fn estimate_cancels_at_once() {
    let authority = Authority::new();
    for provider in [Provider::plain().await, Provider::tls_h2(&authority).await] {
        let accounts = [account("c", "claude", "anthropic", &provider.origin(), ", tls: {ca: ca.pem}")];
        let yaml = us(&accounts) + "metering: {on_disconnect: estimate}\n";
        let gateway = Gateway::with(yaml).file("ca.pem", &authority.ca_pem).start().await;
        provider.then(Script::open_stream(answers::messages_events(&["po", "ng"])[..5].to_vec()).then(Step::Silence));
        let mut client = gateway.connect().await;
        let id = client.open(&messages_stream()).await.expect(200).id().to_owned();
        client.event().await.unwrap();
        client.reset();
        provider.left(0).await;
        let line = gateway.line(&id).await;
        has(&line, json!({"outcome": "aborted", "basis": "partial", "status": 200}));
        assert_eq!(line["usage"]["input"], 12, "{line:#}");
    }
}

/// A client that leaves before the answer began: 499, nothing to charge, and the account is not to blame.
#[tokio::test]
async fn a_client_that_leaves_before_the_answer() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("c", &provider.origin())]) + "metering: {on_disconnect: estimate}\n").start().await;
    for reset in [true, false] {
        provider.then(silence());
        let mut client = gateway.connect().await;
        let before = provider.requests().len();
        client.send(&messages()).await;
        provider.received(before + 1).await;
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        provider.left(before).await;
    }
    for line in gateway.log(2).await {
        has(&line, json!({"outcome": "aborted", "status": 499}));
    }
    gateway.ask(&messages()).await.expect(200);
    let metrics = gateway.metric("nothing in flight", |m| m.sum("account_in_flight", &[]) == 0.0).await;
    assert_eq!(metrics.sum("account_parked", &[]), 0.0);
}

#[tokio::test]
async fn figures_beyond_belief_give_way_to_the_estimate() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("c", &provider.origin())])).start().await;
    for figure in ["-5", "1.5", "99999999999999"] {
        let text = String::from_utf8(answers::messages("pong").body())
            .unwrap()
            .replace("\"output_tokens\":5", &format!("\"output_tokens\":{figure}"));
        provider.then(Script::answer(200, "application/json", text));
        let answer = gateway.ask(&messages()).await.expect(200);
        let line = gateway.line_of(&answer).await;
        assert!(["estimated", "partial"].contains(&line["basis"].as_str().unwrap()), "{figure}: {line:#}");
        assert!(line["usage"]["output"].as_u64().unwrap() < 1000, "{figure}: {line:#}");
    }
    assert_eq!(gateway.metrics().await.sum("usage_implausible_total", &[("account", "c")]), 3.0);
}
