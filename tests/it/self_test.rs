//! The harness itself: the stub provider and the clients against each other, without a gateway in between.

use crate::harness::client::Events;
use crate::harness::requests::{messages, messages_of, messages_stream};
use crate::harness::script::{pairs, reset_before_answer, silence};
use crate::harness::*;
use std::time::Duration;

#[tokio::test]
async fn bodies_arrive_unaltered_in_every_form() {
    let provider = Provider::plain().await;
    for (number, size) in [1024, 65_537, 1 << 20].into_iter().enumerate() {
        for (at, form) in [Form::H1Length, Form::H1Chunked].into_iter().enumerate() {
            let request = messages_of(size, false);
            assert_eq!(request.body.len(), size);
            let answer = form.ask(provider.address, &request).await.expect(200);
            assert_eq!(answer.json()["content"][0]["text"], "pong");
            let received = provider.received(number * 2 + at + 1).await;
            assert_eq!(received.last().unwrap().body, request.body);
        }
    }
}

#[tokio::test]
async fn http2_over_tls_with_a_private_authority() {
    let authority = Authority::new();
    let provider = Provider::tls_h2(&authority).await;
    let wire = authority.connect(provider.address, "provider.test", &["h2", "http/1.1"]).await.unwrap();
    let client = H2Client::over(wire, provider.address).await;
    let request = messages_of(3 << 20, false);
    client.ask(&request).await.expect(200);
    let received = provider.last();
    assert_eq!((received.http2, received.sni.as_deref()), (true, Some("provider.test")));
    assert_eq!(received.body, request.body);
    provider.then(Script::open_stream(["data: 1\n\n"]).then(Step::StreamReset(h2::Reason::INTERNAL_ERROR)));
    let answer = client.ask(&messages()).await;
    assert_eq!((answer.text().as_str(), answer.whole), ("data: 1\n\n", false));
    provider.then(Script::open_stream(["data: 1\n\n"]).then(Step::GoAway(h2::Reason::NO_ERROR)));
    assert!(!client.ask(&messages()).await.whole);
    client.ended().await.unwrap();
}

#[tokio::test]
async fn a_stranger_certificate_is_refused() {
    let provider = Provider::tls_h1(&Authority::new()).await;
    assert!(Authority::new().connect(provider.address, "provider.test", &[]).await.is_err());
    until("the failed handshake", async || if provider.failed_handshakes() == 1 { Ok(()) } else { Err(String::new()) }).await;
}

#[tokio::test]
async fn a_gated_stream_comes_event_by_event() {
    let provider = Provider::plain().await;
    let gate = Gate::new();
    let events = answers::messages_events(&["po", "ng"]);
    provider.then(Script::gated_stream(events.clone(), &gate));
    let mut client = Client::connect(provider.address).await;
    assert_eq!(client.open(&messages_stream()).await.status, 200);
    for (at, event) in events.iter().enumerate() {
        assert_eq!(client.event().await.unwrap().as_ref(), Some(event), "event {at}");
        if at + 1 < events.len() {
            gate.reached().await;
            gate.open();
        }
    }
    assert_eq!(client.event().await.unwrap(), None);
}

#[tokio::test]
async fn answers_are_cut_where_the_script_says() {
    let provider = Provider::plain().await;
    let whole = answers::messages("pong");
    let body = whole.body();
    provider.then(whole.clone().cut(20, Step::Reset)).then(whole.clone().cut(20, Step::Close));
    provider.then(whole.cut(0, Step::Pause(Duration::from_millis(1))).then(Step::Close)).then(reset_before_answer());
    for length in [20, 20, 0] {
        let answer = Client::connect(provider.address).await.ask(&messages()).await;
        assert!(!answer.whole);
        assert!(answer.body.len() <= length && body.starts_with(&answer.body));
    }
    let mut client = Client::connect(provider.address).await;
    client.send(&messages()).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let provider = Provider::plain().await;
    let script = Script::json(413, serde_json::json!({})).before_body();
    provider.then(script);
    let mut client = Client::connect(provider.address).await;
    client.ask(&messages_of(8 << 20, false)).await.expect(413);
}

#[tokio::test]
async fn the_provider_sees_who_leaves() {
    let provider = Provider::plain().await;
    provider.then(silence());
    let mut client = Client::connect(provider.address).await;
    client.send(&messages()).await;
    provider.received(1).await;
    client.reset();
    provider.left(0).await;
}

#[tokio::test]
async fn interim_answers_and_expectations() {
    let provider = Provider::plain().await;
    provider.then(Script::steps([
        Step::Interim(103, pairs(&[("link", "</x>; rel=preload")])),
        Step::Head(200, pairs(&[]), Framing::Length(2)),
        Step::Body("ok".into()),
        Step::End,
    ]));
    let answer = Client::connect(provider.address).await.ask(&messages().header("expect", "100-continue")).await;
    assert_eq!((answer.interim.clone(), answer.text().as_str()), (vec![100, 103], "ok"));
}

#[test]
fn events_are_cut_at_blank_lines() {
    let mut events = Events::default();
    events.feed(b"a: 1\n\nb: 2\r\n\r\nc");
    assert_eq!((events.next().unwrap(), events.next().unwrap(), events.next()), ("a: 1\n\n".into(), "b: 2\r\n\r\n".into(), None));
}

#[test]
fn metrics_are_read() {
    let metrics =
        Metrics::parse("# HELP x y\naicarpool_x{a=\"1\",b=\"q\\\"}\"} 2\naicarpool_x{a=\"2\",b=\"\"} 3.5\naicarpool_y 1e3\n");
    assert_eq!((metrics.sum("x", &[]), metrics.sum("x", &[("b", "q\"}")]), metrics.sum("y", &[])), (5.5, 2.0, 1000.0));
}
