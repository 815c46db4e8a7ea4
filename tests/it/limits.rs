//! What is bounded: bodies, buffers, slow clients, connections.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::harness::log::has;
use crate::harness::requests::{messages, messages_of, messages_stream};
use crate::harness::setups::{claude, us};
use crate::harness::wire::Wire;
use crate::harness::*;

async fn with(provider: &Provider, more: &str) -> Gateway {
    Gateway::with(us(&[claude("a", &provider.origin())]) + more).start().await
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_while_it_is_sent() {
    let provider = Provider::plain().await;
    let gateway = with(&provider, "max_body: 1MB\n").await;
    Form::H1Length.ask(gateway.address, &messages_of(1 << 20, false)).await.expect(200);
    for form in Form::ALL {
        for size in [(1 << 20) + 1, 8 << 20] {
            let answer = form.ask(gateway.address, &messages_of(size, false)).await.refused(413, "body_too_large");
            assert_eq!(answer.json()["error"]["type"], "request_too_large", "{answer:?}");
            has(&gateway.line_of(&answer).await, json!({"outcome": "refused", "status": 413}));
        }
    }
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn bodies_in_memory_are_bounded_together() {
    let provider = Provider::plain().await;
    let gateway = with(&provider, "max_body: 1MB\nmax_buffered: 4MB\n").await;
    let gate = Gate::new();
    provider.always(Script::steps([Step::Gate(gate.clone())]).then_all(answers::messages("pong")));
    // A quarter of it is this key's: one of these, and no second.
    let big = messages_of(900 << 10, false);
    let mut first = gateway.connect().await;
    first.send(&big).await;
    provider.received(1).await;
    let answer = gateway.ask(&big).await.refused(503, "overloaded");
    has(&gateway.line_of(&answer).await, json!({"outcome": "refused", "error": "overloaded"}));
    gate.open_wide();
    first.head().await.expect(200);
    assert!(first.rest().await.1);
    // What was buffered is given back, also by those who never finish.
    for _ in 0..10 {
        let mut client = gateway.connect().await;
        client.send_head(&big).await;
        client.send_bytes(&big.body[..500_000]).await;
        client.reset();
    }
    until("the buffers to be free again", async || {
        let answer = gateway.ask(&big).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

#[tokio::test]
async fn slow_clients_are_let_go() {
    let provider = Provider::plain().await;
    let gateway = with(&provider, "client: {header_timeout: 1s, body_idle: 1s, keep_alive: 1s}\n").await;
    let closes = async |mut client: Client, what: &str| {
        let begun = Instant::now();
        while client.any_head().await.is_some() {}
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(500) && took < Duration::from_secs(8), "{what}: after {took:?}");
    };
    closes(gateway.connect().await, "silent from the beginning").await;
    let mut client = gateway.connect().await;
    client.send_bytes(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-slow:").await;
    closes(client, "half a header").await;
    let mut client = gateway.connect().await;
    client.ask(&messages()).await.expect(200);
    closes(client, "idle after a request").await;
    let mut client = gateway.connect().await;
    client.send_head(&messages_of(100_000, false)).await;
    client.send_bytes(b"{").await;
    closes(client, "half a body").await;
    // A drop of header at a time is no header in time.
    let mut client = gateway.connect().await;
    let begun = Instant::now();
    for byte in b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-slow: 0123456789012345678901234567890123456789".iter() {
        sleep(Duration::from_millis(100)).await;
        if !client.try_send(&[*byte]).await {
            break;
        }
    }
    assert!(client.is_closed().await && begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    assert_eq!(provider.requests().len(), 1);
    assert!(gateway.log_now().iter().all(|line| line["status"] != 200 || line["outcome"] == "ok"));
}

/// An idle limit is no limit on the whole: a body that keeps coming is waited for.
#[tokio::test]
async fn a_slow_but_steady_body_is_waited_for() {
    let provider = Provider::plain().await;
    let gateway = with(&provider, "client: {body_idle: 1s}\n").await;
    let request = messages_of(1024, false);
    let mut client = gateway.connect().await;
    client.send_head(&request).await;
    for piece in request.body.chunks(256) {
        sleep(Duration::from_millis(400)).await;
        client.send_bytes(piece).await;
    }
    client.head().await.expect(200);
    assert_eq!(provider.last().body, request.body);
}

#[tokio::test]
async fn idle_h2_clients_are_let_go() {
    let provider = Provider::plain().await;
    let gateway = with(&provider, "client: {keep_alive: 1s}\n").await;
    let client = H2Client::connect(gateway.address).await;
    client.ask(&messages()).await.expect(200);
    let begun = Instant::now();
    // How it says good-bye is its own matter.
    drop(client.ended().await);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// A client that does not read: `write_idle` ends it, and its place is free again.
#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let provider = Provider::plain().await;
    let gateway = with(&provider, "client: {write_idle: 1s}\nmetering: {on_disconnect: estimate}\n").await;
    let flood: Vec<String> = std::iter::once(answers::messages_prelude().concat())
        .chain((0..300).map(|_| answers::messages_delta(&"x".repeat(60_000))))
        .collect();
    provider.then(Script::open_stream(flood).then(Step::Silence));
    let mut client = gateway.connect().await;
    client.send(&messages_stream()).await;
    let line = gateway.log(1).await.remove(0);
    has(&line, json!({"outcome": "aborted"}));
    gateway.metric("nothing in flight", |m| m.sum("account_in_flight", &[]) == 0.0).await;
    drop(client);
}

#[tokio::test]
async fn connections_are_bounded() {
    let provider = Provider::plain().await;
    let gateway = with(&provider, "client: {max_connections: 5}\n").await;
    let mut kept = Vec::new();
    for _ in 0..5 {
        let mut client = gateway.connect().await;
        client.ask(&messages()).await.expect(200);
        kept.push(client);
    }
    // One more is let in only when another goes: it is closed, or not answered until then.
    let wire = Wire::connect(gateway.address).await;
    if let Ok(wire) = wire {
        let mut sixth = Client::over(wire, gateway.address);
        let sent = sixth.try_send(&messages().head("x")).await && sixth.try_send(&messages().body).await;
        let early = tokio::time::timeout(Duration::from_millis(300), sixth.any_head()).await;
        assert!(!matches!(early, Ok(Some((200, _)))), "a sixth connection was served (sent: {sent})");
    }
    kept.truncate(3);
    until("room for new connections", async || {
        let Ok(wire) = Wire::connect(gateway.address).await else { return Err("refused".to_owned()) };
        match Client::over(wire, gateway.address).try_ask(&messages()).await {
            Some(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn h2_streams_are_bounded() {
    let provider = Provider::plain().await;
    let gateway = with(&provider, "client: {h2_streams: 3}\n").await;
    let client = std::rc::Rc::new(H2Client::connect(gateway.address).await);
    // With the first answer the client has the gateway's settings too.
    client.ask(&messages()).await.expect(200);
    let gate = Gate::new();
    provider.always(Script::gated_stream(answers::messages_events(&["pong"]), &gate));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let tasks: Vec<_> = (0..6)
                .map(|_| {
                    let client = client.clone();
                    tokio::task::spawn_local(async move { client.ask(&messages_stream()).await.expect(200).whole })
                })
                .collect();
            provider.received(4).await;
            // The others wait for their turn.
            sleep(Duration::from_millis(200)).await;
            assert_eq!(provider.requests().len(), 4);
            gate.open_wide();
            for task in tasks {
                assert!(task.await.unwrap());
            }
        })
        .await;
    assert_eq!(provider.requests().len(), 7);
}

#[tokio::test]
async fn a_silent_provider_in_mid_stream_is_given_up() {
    let provider = Provider::plain().await;
    let gateway = with(&provider, "failover: {idle_timeout: 1s}\n").await;
    provider.then(Script::open_stream(answers::messages_events(&["po", "ng"])[..5].to_vec()).then(Step::Silence));
    let answer = gateway.ask(&messages_stream()).await.expect(200);
    assert!(answer.whole && answer.text().contains("event: error"), "{answer:?}");
    has(&gateway.line_of(&answer).await, json!({"outcome": "cut", "basis": "partial"}));
    provider.left(0).await;
}

#[tokio::test]
async fn heartbeats_keep_a_silent_stream_alive() {
    let provider = Provider::plain().await;
    let gateway = with(&provider, "heartbeat: 15s\n").await;
    if std::env::var("AICARPOOL_SLOW").is_err() {
        return;
    }
    let gate = Gate::new();
    let events = answers::messages_events(&["po", "ng"]);
    let mut script = Script::open_stream(events[..5].to_vec()).then(Step::Gate(gate.clone()));
    script.steps.extend(events[5..].iter().map(|e| Step::Body(e.clone().into())));
    provider.then(script.then(Step::End));
    let mut client = gateway.connect().await;
    client.open(&messages_stream()).await.expect(200);
    for event in &events[..5] {
        assert_eq!(client.event().await.unwrap().as_ref(), Some(event));
    }
    let beat = client.event().await.unwrap().unwrap();
    assert!(beat.starts_with("event: ping\n"), "{beat}");
    gate.open();
    assert!(client.rest().await.0.ends_with(events.last().unwrap()));
}

#[tokio::test]
async fn counting_tokens_has_a_bound_of_its_own() {
    let provider = Provider::plain().await;
    let gateway = with(&provider, "").await;
    let count = Request { target: "/v1/messages/count_tokens".to_owned(), ..messages() };
    let mut client = gateway.connect().await;
    let mut statuses = Vec::new();
    for _ in 0..1300 {
        statuses.push(client.ask(&count).await.status);
    }
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!(
        (600..1300).contains(&served) && statuses[..600].iter().all(|status| *status == 200),
        "{served} of 1300 served at once"
    );
    gateway.ask(&messages()).await.expect(200);
}

/// Bytes that are no HTTP, and HTTP that nobody should send: refused or closed, and the gateway serves on.
#[tokio::test]
async fn nonsense_is_survived() {
    let provider = Provider::plain().await;
    let gateway = with(&provider, "").await;
    let key = format!("x-api-key: {KEY}\r\n");
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let nested = format!("{{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":1,\"messages\":{deep}}}");
    let mut cases: Vec<Vec<u8>> = vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff".to_vec(),
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nhost: x\r\nx: \xff\x00\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\nhost: x\r\n\r\n".to_vec(),
        [b"GET / HTTP/1.1\r\nhost: x\r\nbig: ".to_vec(), vec![b'a'; 2_000_000], b"\r\n\r\n".to_vec()].concat(),
        (0..5000).map(|n| format!("h{n}: x\r\n")).fold("GET / HTTP/1.1\r\nhost: x\r\n".to_owned(), |a, b| a + &b).into_bytes(),
        format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\n{key}content-length: -1\r\n\r\n{{}}").into_bytes(),
        format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\n{key}content-length: 99999999999999999999\r\n\r\n{{}}").into_bytes(),
        format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\n{key}transfer-encoding: chunked\r\n\r\nzz\r\n").into_bytes(),
        format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\n{key}transfer-encoding: chunked\r\n\r\nffffffffffffffff1\r\n")
            .into_bytes(),
        format!("POST /v1/messages HTTP/1.1\r\n{key}content-length: {}\r\n\r\n{nested}", nested.len()).into_bytes(),
        format!("GET /v1beta/models/%00%0d%0a:generateContent?key={KEY} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes(),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a/".repeat(30_000)).into_bytes(),
    ];
    let mut seed = 1_u32;
    for _ in 0..20 {
        cases.push(
            (0..300)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    seed.to_be_bytes()[0]
                })
                .collect(),
        );
    }
    for case in cases {
        let mut client = gateway.connect().await;
        client.try_send(&case).await;
        client.reset();
        gateway.ask(&messages()).await.expect(200);
    }
    assert!(!gateway.said().contains("panicked"), "{}", gateway.said());
    assert!(!gateway.said().contains(KEY), "{}", gateway.said());
}
