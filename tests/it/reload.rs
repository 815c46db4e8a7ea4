//! The configuration changes while the gateway runs.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::harness::log::has;
use crate::harness::requests::{messages, messages_stream};
use crate::harness::script::silence;
use crate::harness::setups::{claude, us, us_with};
use crate::harness::*;

const OTHER: &str = "aicp_us_ann_00000000000000ff";

/// Asks with a key until it is answered with this status; how long that took.
async fn until_status(gateway: &Gateway, key: &str, status: u16) -> Duration {
    let begun = Instant::now();
    let request = messages().without("x-api-key").key(key);
    until(format!("status {status} for {key}"), async || {
        let answer = gateway.ask(&request).await;
        if answer.status == status { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    begun.elapsed()
}

#[tokio::test]
async fn a_change_is_in_force_within_two_seconds() {
    let provider = Provider::plain().await;
    let yaml = us(&[claude("a", &provider.origin())]);
    let gateway = Gateway::with(&*yaml).start().await;
    let with = yaml.replace("keys: [", &format!("keys: [{{key: {OTHER}}}, "));
    for _ in 0..2 {
        gateway.rewrite(&with);
        let took = until_status(&gateway, OTHER, 200).await;
        assert!(took < Duration::from_millis(2500), "{took:?}");
        gateway.rewrite(&yaml);
        let took = until_status(&gateway, OTHER, 401).await;
        assert!(took < Duration::from_millis(2500), "{took:?}");
    }
    let metrics = gateway.metrics().await;
    assert!(
        metrics.sum("config_keys", &[]) == 1.0 && metrics.has("config_info") && metrics.has("config_loaded_timestamp_seconds"),
        "{metrics:?}"
    );
}

#[tokio::test]
async fn written_in_place_and_on_a_hangup() {
    let provider = Provider::plain().await;
    let yaml = us(&[claude("a", &provider.origin())]);
    let gateway = Gateway::with(&*yaml).start().await;
    let path = gateway.path("aicarpool.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("keys: [", &format!("keys: [{{key: {OTHER}}}, "))).unwrap();
    gateway.signal(Signal::SIGHUP);
    until_status(&gateway, OTHER, 200).await;
    // The same bytes are no reload.
    let before = gateway.metrics().await.sum("config_reload_total", &[]);
    gateway.signal(Signal::SIGHUP);
    gateway.rewrite(&yaml.replace("keys: [", &format!("keys: [{{key: {OTHER}}}, ")));
    std::fs::write(&path, text).unwrap();
    until_status(&gateway, OTHER, 401).await;
    assert_eq!(gateway.metrics().await.sum("config_reload_total", &[]), before + 1.0);
}

#[tokio::test]
async fn a_faulty_file_keeps_the_old_configuration() {
    let provider = Provider::plain().await;
    let yaml = us(&[claude("a", &provider.origin())]);
    let gateway = Gateway::with(&*yaml).start().await;
    let hash =
        |m: &Metrics| m.matching("config_info", &[]).iter().find(|s| s.value == 1.0).and_then(|s| s.labels.get("hash").cloned());
    let before = hash(&gateway.metrics().await);
    let faulty = [
        "",
        "accounts: [",
        &yaml.replace("{id: a, priority", "{id: nobody, priority"),
        &yaml.replace("strategy: priority", "strategey: priority"),
        "just text",
    ];
    for text in faulty {
        let faults = |said: &str| said.matches("ERROR").count();
        let before_it = faults(&gateway.said());
        // Empty is empty: not even the lines that the harness adds.
        if text.is_empty() {
            gateway.replace("aicarpool.yaml", "")
        } else {
            gateway.rewrite(text)
        }
        until("word of the fault", async || if faults(&gateway.said()) > before_it { Ok(()) } else { Err(gateway.said()) }).await;
        gateway.ask(&messages()).await.expect(200);
        let metrics = gateway.metric("word of the fault", |m| m.sum("config_reload_failed", &[]) > 0.0).await;
        assert_eq!(hash(&metrics), before);
    }
    let said = gateway.said();
    assert!(said.contains("strategey") && said.contains("aicarpool.yaml"), "{said}");
    assert_eq!(said.matches("strategey").count(), 1, "said more than once:\n{said}");
    gateway.reload(&yaml.replace("keys: [", &format!("keys: [{{key: {OTHER}}}, "))).await;
    until_status(&gateway, OTHER, 200).await;
}

/// As Kubernetes mounts a ConfigMap: the file is a link into a folder that is a link, and that one is swapped.
#[tokio::test]
async fn a_mounted_folder_is_swapped() {
    let provider = Provider::plain().await;
    let yaml = us(&[claude("a", &provider.origin())]);
    let gateway = Gateway::with(&*yaml).mounted().start().await;
    until_status(&gateway, OTHER, 401).await;
    for (version, expected) in [("..v2", 200), ("..v3", 401), ("..v4", 200)] {
        let yaml = if expected == 200 { yaml.replace("keys: [", &format!("keys: [{{key: {OTHER}}}, ")) } else { yaml.clone() };
        gateway.swap_mounted(version, &yaml);
        let took = until_status(&gateway, OTHER, expected).await;
        assert!(took < Duration::from_millis(2500), "{took:?}");
    }
}

#[tokio::test]
async fn credentials_may_come_from_the_environment() {
    let provider = Provider::plain().await;
    let yaml =
        us(&[claude("a", &provider.origin()).replace("key: sk-a", "key: \"${CLAUDE_KEY}${NOTHING:-}-${SUFFIX:-x}$${y}\"")]);
    let gateway = Gateway::with(yaml).env("CLAUDE_KEY", "sk-from-outside").start().await;
    gateway.ask(&messages()).await.expect(200);
    assert_eq!(provider.last().credential(), "sk-from-outside-x${y}");
}

#[tokio::test]
async fn included_files_and_secrets_are_watched_too() {
    let provider = Provider::plain().await;
    let yaml =
        us(&[claude("a", &provider.origin()).replace("key: sk-a", "key: {file: secrets/a}")]) + "include: [conf.d/*.yaml]\n";
    let setup = Gateway::with(yaml).file("secrets/a", "sk-one\n").file("conf.d/one.yaml", format!("keys: [{{key: {OTHER}}}]\n"));
    let gateway = setup.start().await;
    gateway.ask(&messages()).await.expect(200);
    assert_eq!(provider.last().credential(), "sk-one");
    until_status(&gateway, OTHER, 200).await;
    gateway.replace("secrets/a", "sk-two\n");
    until("the new credential", async || {
        gateway.ask(&messages()).await.expect(200);
        if provider.last().credential() == "sk-two" { Ok(()) } else { Err(provider.last().credential().to_owned()) }
    })
    .await;
    // A new file that the pattern finds; several at once.
    let third = "aicp_us_ann_00000000000000fe";
    gateway.replace("conf.d/two.yaml", &format!("keys: [{{key: {third}}}]\n"));
    until_status(&gateway, third, 200).await;
    gateway.replace("conf.d/one.yaml", "keys: []\n");
    gateway.replace("conf.d/two.yaml", &format!("keys: [{{key: {third}, enabled: false}}]\n"));
    until_status(&gateway, OTHER, 401).await;
    until_status(&gateway, third, 401).await;
    std::fs::remove_file(gateway.path("conf.d/two.yaml")).unwrap();
    gateway.metric("the file that is gone", |m| m.sum("config_keys", &[]) == 1.0).await;
}

#[tokio::test]
async fn requests_in_flight_keep_theirs() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let gateway = Gateway::with(us(&[claude("a", &first.origin())])).start().await;
    let gate = Gate::new();
    let events = answers::messages_events(&["po", "ng", "!"]);
    first.then(Script::gated_stream(events.clone(), &gate));
    let mut client = gateway.connect().await;
    client.send(&messages_stream()).await;
    for _ in 0..3 {
        gate.reached().await;
        gate.open();
    }
    let id = client.head().await.expect(200).id().to_owned();
    gateway.reload(&us(&[claude("b", &second.origin())])).await;
    gateway.ask(&messages()).await.expect(200);
    assert_eq!(second.requests().len(), 1);
    gate.open_wide();
    let (rest, proper) = client.rest().await;
    assert_eq!((rest, proper), (events.concat(), true));
    has(&gateway.line(&id).await, json!({"account": "a", "outcome": "ok", "basis": "reported"}));
}

#[tokio::test]
async fn parking_counts_and_connections_survive() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let yaml = us(&[claude("a", &first.origin()), claude("b", &second.origin())]);
    let gateway = Gateway::with(&*yaml).start().await;
    first.then(answers::refusal("/v1/messages", 429).header("retry-after", "300"));
    gateway.ask(&messages()).await.expect(200);
    let gate = Gate::new();
    second.then(Script::gated_stream(answers::messages_events(&["pong"]), &gate));
    let mut client = gateway.connect().await;
    client.send(&messages_stream()).await;
    second.received(2).await;
    gateway.ask(&messages()).await.expect(200);
    let connections = second.connections();
    gateway.reload(&yaml.replace("name: laptop", "name: desktop")).await;
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("account_in_flight", &[("account", "b")]), 1.0, "{metrics:?}");
    assert!(metrics.sum("account_parked", &[("account", "a")]) > 0.0, "{metrics:?}");
    gateway.ask(&messages()).await.expect(200);
    assert_eq!((first.requests().len(), second.connections()), (1, connections), "the parking, and the pooled connection");
    // A new credential starts afresh.
    gateway.reload(&yaml.replace("key: sk-a", "key: sk-a-new")).await;
    gateway.ask(&messages()).await.expect(200);
    assert_eq!(first.last().credential(), "sk-a-new");
    gate.open_wide();
    client.head().await.expect(200);
    assert!(client.rest().await.1);
    gateway.metric("nothing in flight", |m| m.sum("account_in_flight", &[]) == 0.0).await;
}

#[tokio::test]
async fn no_request_fails_while_the_configuration_changes() {
    let provider = Provider::plain().await;
    let yaml = us(&[claude("a", &provider.origin()), claude("b", &provider.origin())]);
    let gateway = Gateway::with(&*yaml).start().await;
    let stop = std::rc::Rc::new(std::cell::Cell::new(false));
    let address = gateway.address;
    let local = tokio::task::LocalSet::new();
    let asked = local
        .run_until(async {
            let tasks: Vec<_> = (0..6)
                .map(|number| {
                    let stop = stop.clone();
                    tokio::task::spawn_local(async move {
                        let mut client = Client::connect(address).await;
                        let mut asked = 0;
                        while !stop.get() {
                            let request = if number % 2 == 0 { messages() } else { messages_stream() };
                            let answer = client.ask(&request).await;
                            assert_eq!((answer.status, answer.whole), (200, true), "{answer:?}");
                            asked += 1;
                        }
                        asked
                    })
                })
                .collect();
            for round in 0..10 {
                let new = if round % 2 == 0 {
                    yaml.replace("key: sk-a", &format!("key: sk-a{round}"))
                } else {
                    yaml.replace("name: laptop", &format!("name: n{round}"))
                };
                gateway.reload(&new).await;
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
    assert_eq!(gateway.log(asked).await.iter().filter(|line| line["outcome"] != "ok").count(), 0);
}

#[tokio::test]
async fn a_revoked_key_ends_its_streams_within_five_seconds() {
    let provider = Provider::plain().await;
    let yaml = us(&[claude("a", &provider.origin())]);
    for revoked in [
        yaml.replace("name: laptop}", "name: laptop, enabled: false}"),
        yaml.replace(&format!("{{key: {KEY}, name: laptop}}"), ""),
        yaml.replace("{id: ann, groups: [us]}", "{id: ann, groups: [us], enabled: false}"),
        us_with(&[claude("a", &provider.origin())], "    enabled: false\n"),
    ] {
        let gateway = Gateway::with(&*yaml).start().await;
        let mut script = Script::open_stream(answers::messages_events(&["po", "ng"])[..5].to_vec());
        script.steps.extend(silence().steps);
        provider.then(script);
        let mut client = gateway.connect().await;
        let id = client.open(&messages_stream()).await.expect(200).id().to_owned();
        client.event().await.unwrap();
        gateway.reload(&revoked).await;
        let begun = Instant::now();
        let (rest, _) = client.rest().await;
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        assert!(rest.contains("event: error"), "{rest}");
        gateway.line(&id).await;
    }
}

#[tokio::test]
async fn what_needs_a_restart_is_said() {
    let provider = Provider::plain().await;
    let yaml = us(&[claude("a", &provider.origin())]);
    let gateway = Gateway::with(&*yaml).start().await;
    gateway.rewrite(&format!("{yaml}listen: 127.0.0.1:1\n"));
    gateway.says("restart").await;
    gateway.ask(&messages()).await.expect(200);
}
