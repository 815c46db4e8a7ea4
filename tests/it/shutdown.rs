//! How the gateway ends: when idle at once, with running streams after them, at the latest when `grace` is over.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::harness::log::has;
use crate::harness::requests::{messages, messages_stream};
use crate::harness::script::silence;
use crate::harness::setups::{claude, us};
use crate::harness::wire::Wire;
use crate::harness::*;

async fn refuses_connections(gateway: &Gateway) {
    until("new connections to be refused", async || match Wire::connect(gateway.address).await {
        Ok(_) => Err("one was accepted".to_owned()),
        Err(_) => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn an_idle_gateway_ends_at_once() {
    let provider = Provider::plain().await;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut gateway = Gateway::with(us(&[claude("a", &provider.origin())]) + "grace: 10m\n").start().await;
        // Connections that wait for a next request are no reason to stay.
        let mut idle = gateway.connect().await;
        idle.ask(&messages()).await.expect(200);
        let idle_h2 = H2Client::connect(gateway.address).await;
        idle_h2.ask(&messages()).await.expect(200);
        let begun = Instant::now();
        gateway.signal(signal);
        let status = gateway.process().ended().await;
        assert!(status.success(), "{signal}: {status}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{signal}: {:?}", begun.elapsed());
        assert_eq!(gateway.log_now().len(), 2);
    }
}

#[tokio::test]
async fn running_streams_come_to_their_end() {
    let provider = Provider::plain().await;
    let mut gateway = Gateway::with(us(&[claude("a", &provider.origin())]) + "grace: 10m\n").start().await;
    let gate = Gate::new();
    let events = answers::messages_events(&["po", "ng"]);
    let mut script = Script::open_stream(events[..4].to_vec()).then(Step::Gate(gate.clone()));
    script.steps.extend(events[4..].iter().map(|e| Step::Body(e.clone().into())));
    provider.always(script.then(Step::End));
    let mut h1 = gateway.connect().await;
    h1.open(&messages_stream()).await.expect(200);
    h1.event().await.unwrap();
    let h2 = H2Client::connect(gateway.address).await;
    let stream = h2.open(&messages_stream()).await.unwrap();
    // One that has not been answered yet.
    provider.then(Script::steps([Step::Gate(gate.clone())]).then_all(answers::messages("pong")));
    let mut waiting = gateway.connect().await;
    waiting.send(&messages()).await;
    provider.received(3).await;
    gateway.signal(Signal::SIGTERM);
    refuses_connections(&gateway).await;
    assert!(gateway.process().has_ended().is_none(), "it ended while three requests were running");
    gate.open_wide();
    let (rest, proper) = h1.rest().await;
    assert!(proper && rest.ends_with(events.last().unwrap()), "{rest}");
    let answer = stream.answer().await;
    assert!(answer.whole && answer.text() == events.concat(), "{answer:?}");
    let answer = waiting.head().await.expect(200);
    assert_eq!(answer.header("connection").map(str::to_lowercase).as_deref(), Some("close"), "{answer:?}");
    let status = gateway.process().ended().await;
    assert!(status.success(), "{status}");
    for line in gateway.log(3).await {
        has(&line, json!({"outcome": "ok", "basis": "reported"}));
    }
}

#[tokio::test]
async fn what_still_runs_when_grace_is_over_gets_its_error_event() {
    let provider = Provider::plain().await;
    let mut gateway = Gateway::with(us(&[claude("a", &provider.origin())]) + "grace: 1s\n").start().await;
    let events = answers::messages_events(&["po", "ng"]);
    provider.then(Script::open_stream(events[..5].to_vec()).then(Step::Silence)).then(silence());
    let mut client = gateway.connect().await;
    let id = client.open(&messages_stream()).await.expect(200).id().to_owned();
    for _ in 0..5 {
        client.event().await.unwrap();
    }
    gateway.signal(Signal::SIGTERM);
    let begun = Instant::now();
    let (rest, _) = client.rest().await;
    // A blank line first ends what may have been an unfinished event.
    assert!(rest.trim_start().starts_with("event: error\n"), "{rest:?}");
    let status = gateway.process().ended().await;
    assert!(status.success() && begun.elapsed() < Duration::from_secs(10), "{status} after {:?}", begun.elapsed());
    let line = gateway.line(&id).await;
    has(&line, json!({"basis": "partial", "status": 200}));
    assert!(line["cost"].as_u64().unwrap() > 0, "what was cut is settled: {line:#}");
}

/// Behind a balancer: not ready any more, but still serving for `drain`.
#[tokio::test]
async fn drain_serves_on_while_not_ready() {
    let provider = Provider::plain().await;
    let mut gateway = Gateway::with(us(&[claude("a", &provider.origin())]) + "drain: 3s\ngrace: 10s\n").start().await;
    let mut kept = gateway.connect().await;
    kept.ask(&messages()).await.expect(200);
    gateway.signal(Signal::SIGTERM);
    let begun = Instant::now();
    until("readyz to turn", async || {
        let answer = gateway.admin("/readyz").await;
        if answer.status == 503 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    gateway.ask(&Request::get("/readyz")).await.expect(503);
    let answer = gateway.ask(&messages()).await.expect(200);
    assert_eq!(answer.header("connection").map(str::to_lowercase).as_deref(), Some("close"));
    let answer = kept.ask(&messages()).await.expect(200);
    assert_eq!(answer.header("connection").map(str::to_lowercase).as_deref(), Some("close"));
    assert!(begun.elapsed() < Duration::from_secs(3), "too slow a machine to tell");
    let status = gateway.process().ended().await;
    assert!(status.success() && begun.elapsed() >= Duration::from_millis(2900), "{status} after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let provider = Provider::plain().await;
    provider.always(silence());
    let mut gateway = Gateway::with(us(&[claude("a", &provider.origin())]) + "grace: 10m\n").start().await;
    let mut client = gateway.connect().await;
    client.send(&messages()).await;
    provider.received(1).await;
    gateway.signal(Signal::SIGTERM);
    refuses_connections(&gateway).await;
    let begun = Instant::now();
    gateway.signal(Signal::SIGTERM);
    let status = gateway.process().ended().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(status.code().is_some() || status.signal() == Some(15), "{status}");
}

#[tokio::test]
async fn a_hangup_opens_the_access_log_anew() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("a", &provider.origin())])).start().await;
    gateway.ask(&messages()).await.expect(200);
    gateway.log(1).await;
    std::fs::rename(gateway.path("access.log"), gateway.path("access.log.1")).unwrap();
    gateway.signal(Signal::SIGHUP);
    until("a new access log", async || if gateway.path("access.log").exists() { Ok(()) } else { Err("none".to_owned()) }).await;
    gateway.ask(&messages()).await.expect(200);
    assert_eq!(gateway.log(1).await.len(), 1);
    assert_eq!(std::fs::read_to_string(gateway.path("access.log.1")).unwrap().lines().count(), 1);
}
