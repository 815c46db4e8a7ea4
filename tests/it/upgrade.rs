//! `aicarpool run --upgrade`: a new process takes the sockets over, and nobody notices.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use crate::harness::log::has;
use crate::harness::requests::{messages, messages_stream};
use crate::harness::setups::{claude, us};
use crate::harness::*;

#[tokio::test]
async fn under_load_nothing_breaks() {
    let provider = Provider::plain().await;
    let mut gateway = Gateway::with(us(&[claude("a", &provider.origin())]) + "grace: 1m\n").start().await;
    // A stream that lasts over the upgrade.
    let gate = Gate::new();
    let events = answers::messages_events(&["po", "ng", "!"]);
    let mut script = Script::open_stream(events[..5].to_vec()).then(Step::Gate(gate.clone()));
    script.steps.extend(events[5..].iter().map(|e| Step::Body(e.clone().into())));
    provider.then(script.then(Step::End));
    let mut long = gateway.connect().await;
    let id = long.open(&messages_stream()).await.expect(200).id().to_owned();
    long.event().await.unwrap();

    let stop = Rc::new(Cell::new(false));
    let address = gateway.address;
    let local = tokio::task::LocalSet::new();
    let asked = local
        .run_until(async {
            let tasks: Vec<_> = (0..4).map(|number| tokio::task::spawn_local(ask_on(address, number, stop.clone()))).collect();
            let old_pid = gateway.pid();
            let new = gateway.spawn(&["run", "-c", "aicarpool.yaml", "--upgrade"]);
            let mut old = gateway.succeed(new);
            assert_ne!(gateway.pid(), old_pid);
            // The old one drains: it stays for the long stream, and no longer.
            gateway.says_times("listens on", 2).await;
            gateway.ready().await;
            assert!(old.has_ended().is_none(), "the old process left its stream");
            gate.open_wide();
            let (rest, proper) = long.rest().await;
            assert!(proper && rest.ends_with(events.last().unwrap()), "{rest}");
            let status = old.ended().await;
            assert!(status.success(), "{status}");
            for _ in 0..20 {
                gateway.ask(&messages()).await.expect(200);
            }
            stop.set(true);
            let mut asked = 0;
            for task in tasks {
                asked += task.await.unwrap();
            }
            asked
        })
        .await;
    assert!(asked > 50, "{asked} requests are no load");
    let lines = gateway.log(asked + 21).await;
    assert_eq!(lines.len(), asked + 21);
    assert!(
        lines.iter().all(|line| line["outcome"] == "ok"),
        "{:?}",
        lines.iter().filter(|l| l["outcome"] != "ok").collect::<Vec<_>>()
    );
    has(&gateway.line(&id).await, json!({"outcome": "ok", "basis": "reported"}));
}

/// A client with keep-alive, which repeats only what was reset before any byte on a connection it has used before.
async fn ask_on(address: std::net::SocketAddr, number: usize, stop: Rc<Cell<bool>>) -> usize {
    let mut client = Client::connect(address).await;
    let (mut asked, mut fresh) = (0, true);
    while !stop.get() {
        let request = if number.is_multiple_of(2) { messages() } else { messages_stream() };
        match client.try_ask(&request).await {
            Some(answer) => {
                assert_eq!((answer.status, answer.whole), (200, true), "{answer:?}");
                asked += 1;
                fresh = answer.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
                if fresh {
                    client = Client::connect(address).await;
                }
            }
            None => {
                assert!(!fresh, "a new connection was reset before any byte");
                client = Client::connect(address).await;
                fresh = true;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    asked
}

#[tokio::test]
async fn a_faulty_configuration_is_no_upgrade() {
    let provider = Provider::plain().await;
    let mut gateway = Gateway::with(us(&[claude("a", &provider.origin())])).start().await;
    std::fs::write(gateway.path("broken.yaml"), "accounts: [").unwrap();
    let mut new = gateway.spawn(&["run", "-c", "broken.yaml", "--upgrade"]);
    assert_eq!(new.ended().await.code(), Some(1));
    assert!(gateway.process().has_ended().is_none());
    gateway.ask(&messages()).await.expect(200);
}
