//! After random traffic with faults the scraped metrics equal the sums of the access log.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::log::attempts;
use crate::harness::requests::{chat, chat_stream, generate, generate_stream, messages, messages_stream, responses_stream};
use crate::harness::setups::{claude, gemini, openai};
use crate::harness::*;

/// A small generator, so that a seed replays a run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % bound as u64).unwrap()
    }
}

fn sums(lines: &[Value], key: impl Fn(&Value) -> Vec<(Vec<String>, u64)>) -> BTreeMap<Vec<String>, u64> {
    let mut sums = BTreeMap::new();
    for line in lines {
        for (labels, count) in key(line) {
            *sums.entry(labels).or_insert(0) += count;
        }
    }
    sums.into_iter().filter(|(_, v)| *v > 0).collect()
}

fn text(line: &Value, field: &str) -> String {
    match &line[field] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn metrics_equal_the_sums_of_the_log() {
    let seed = std::env::var("AICARPOOL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()));
    println!("AICARPOOL_SEED={seed}");
    let mut random = Random(seed);
    let provider = Provider::plain().await;
    let origin = provider.origin();
    let accounts: Vec<String> = ["a", "b"]
        .iter()
        .flat_map(|n| [claude(&format!("c{n}"), &origin), openai(&format!("o{n}"), &origin), gemini(&format!("g{n}"), &origin)])
        .collect();
    let listed: String =
        accounts.iter().map(|account| format!("  - {}\n", account.replace("key:", "exclusive: false, key:"))).collect();
    let second = "aicp_them_bob_0000000000000001";
    let yaml = format!(
        "accounts:\n{listed}groups:
  - {{id: us, strategy: round_robin, sticky: false, binding: {{accounts: [ca, cb, oa, ob, ga, gb]}}}}
  - {{id: them, binding: {{accounts: [ca, oa, ga]}}, operations: [messages, generate]}}
users: [{{id: ann, groups: [us]}}, {{id: bob, groups: [them]}}]
keys: [{{key: {KEY}}}, {{key: {second}}}]
metering: {{on_disconnect: estimate}}
health: \"off\"
"
    );
    let gateway = Gateway::with(yaml).start().await;
    let chances: std::sync::Mutex<Random> = std::sync::Mutex::new(Random(seed ^ 0x5eed));
    provider.answers(move |request| {
        let plausible = answers::plausible(request);
        let whole = plausible.body().len();
        let mut chances = chances.lock().unwrap();
        match chances.below(12) {
            0 => answers::refusal(request.path(), [400, 429, 500, 529][chances.below(4)]).header("retry-after", "1"),
            1 => script::reset_before_answer(),
            2 => plausible.cut(chances.below(whole), Step::Reset),
            3 => plausible.cut(chances.below(whole), Step::Close),
            4 => plausible.in_pieces(1 + chances.below(9)),
            _ => plausible,
        }
    });
    let total = 250;
    for _ in 0..total {
        let mut request = match random.below(9) {
            0 => messages(),
            1 | 2 => messages_stream(),
            3 => chat(),
            4 => chat_stream(),
            5 => responses_stream(),
            6 => generate(),
            7 => generate_stream(),
            _ => Request::post("/v1/nothing", "{}").key(KEY),
        };
        if random.below(4) == 0 {
            let old = ["authorization", "x-api-key", "x-goog-api-key"];
            request = old
                .iter()
                .fold(request, |r, name| r.without(name))
                .key([second, "aicp_us_ann_ffffffffffffffff"][random.below(2)]);
        }
        match random.below(10) {
            // One that leaves: before the answer, or in the middle of it.
            0 => {
                let mut client = gateway.connect().await;
                client.send(&request).await;
                if random.below(2) == 0 {
                    client.any_head().await;
                }
                client.reset();
            }
            1 => drop(H2Client::connect(gateway.address).await.open(&request).await),
            2 => drop(H2Client::connect(gateway.address).await.ask(&request).await),
            _ => drop(gateway.connect().await.try_ask(&request).await),
        }
    }
    let lines = gateway.log(total).await;
    assert_eq!(lines.len(), total);
    let metrics = gateway
        .metric("all requests counted and none in flight", |m| {
            m.sum("requests_total", &[]) as usize == total && m.sum("account_in_flight", &[]) == 0.0
        })
        .await;

    assert_eq!(
        metrics.by("requests_total", &["enterprise", "group", "service", "dialect", "status", "outcome"]),
        sums(&lines, |l| vec![(
            ["enterprise", "group", "service", "dialect", "status", "outcome"].iter().map(|f| text(l, f)).collect(),
            1
        )])
    );
    assert_eq!(
        metrics.by("tokens_total", &["group", "service", "class"]),
        sums(&lines, |l| {
            let usage = l["usage"].as_object().cloned().unwrap_or_default();
            usage
                .iter()
                .map(|(class, count)| (vec![text(l, "group"), text(l, "service"), class.clone()], count.as_u64().unwrap()))
                .collect()
        })
    );
    for (metric, field) in [("cost_nanodollars_total", "cost"), ("charged_nanodollars_total", "charged")] {
        let of_attempts = |l: &Value| -> u64 {
            l["attempts"]
                .as_array()
                .map_or(0, |a| a.iter().map(|a| if field == "cost" { a["cost"].as_u64().unwrap_or(0) } else { 0 }).sum())
        };
        let told: u64 = metrics.by(metric, &["enterprise"]).values().sum();
        let logged: u64 = lines.iter().map(|l| l[field].as_u64().unwrap_or(0)).sum();
        let abandoned: u64 = lines.iter().map(of_attempts).sum();
        assert!(
            told == logged || told == logged + abandoned,
            "{metric}: {told}, the log says {logged} (and {abandoned} of abandoned attempts)"
        );
    }
    // Our own word after failovers (502, 504) is a refusal in form, and `failed` in the log.
    let ours = |l: &Value| {
        l["outcome"] == "refused"
            || l["outcome"] == "failed"
                && ["upstream_failed", "upstream_timeout"].contains(&l["error"].as_str().unwrap_or_default())
    };
    assert_eq!(
        metrics.by("refusals_total", &["code", "group"]),
        sums(&lines, |l| if ours(l) { vec![(vec![text(l, "error"), text(l, "group")], 1)] } else { vec![] })
    );
    // A line without attempts had one that was accepted, if an account served it and the client stayed for the answer.
    let failed: BTreeMap<Vec<String>, u64> = sums(&lines, |l| {
        attempts(l)
            .iter()
            .map(|a| a.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .filter(|a| a[1] != "accept")
            .map(|a| (a, 1))
            .collect()
    });
    let told: BTreeMap<Vec<String>, u64> =
        metrics.by("attempts_total", &["account", "verdict"]).into_iter().filter(|(k, _)| k[1] != "accept").collect();
    assert_eq!(told, failed, "attempts that failed");
    assert_eq!(metrics.sum("request_duration_seconds_count", &[]) as usize, total);
    assert!(!gateway.said().contains("panicked"), "{}", gateway.said());
}

#[tokio::test]
async fn every_metric_of_the_design_is_there() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(setups::us(&[claude("a", &provider.origin())])).start().await;
    gateway.ask(&messages()).await.expect(200);
    provider.then(answers::refusal("/v1/messages", 429));
    gateway.ask(&messages()).await;
    gateway.ask(&messages().without("x-api-key")).await;
    gateway.log(3).await;
    let metrics = gateway.metrics().await;
    let names = "requests_total tokens_total cost_nanodollars_total charged_nanodollars_total request_duration_seconds_bucket time_to_first_byte_seconds_bucket \
        overhead_seconds_bucket attempts_total account_in_flight account_parked refusals_total config_reload_total config_reload_failed config_keys config_info \
        config_loaded_timestamp_seconds access_log_dropped_total build_info";
    for name in names.split_whitespace() {
        assert!(metrics.has(name), "aicarpool_{name} is missing in\n{metrics:?}");
    }
    let labels = |name: &str| metrics.matching(name, &[])[0].labels.keys().cloned().collect::<Vec<_>>().join(",");
    assert_eq!(labels("requests_total"), "dialect,enterprise,group,model,outcome,service,status");
    assert_eq!(labels("tokens_total"), "class,enterprise,group,model,service");
    assert_eq!(labels("cost_nanodollars_total"), "enterprise,group,model,service");
    assert_eq!(labels("attempts_total"), "account,verdict");
    assert_eq!(labels("account_parked"), "account,reason");
    assert_eq!(labels("refusals_total"), "code,group");
}

/// Labels are bounded: a model is the price book's, never the client's string.
#[tokio::test]
async fn clients_cannot_invent_labels() {
    let provider = Provider::plain().await;
    let accounts = [setups::account("o", "openai", "openai", &format!("{}/v1", provider.origin()), ", models: [\"*\"]")];
    let gateway = Gateway::with(setups::us(&accounts)).start().await;
    let mut client = gateway.connect().await;
    for number in 0..50 {
        let body = format!(r#"{{"model":"invented-{number}","messages":[]}}"#);
        client.ask(&requests::openai("/v1/chat/completions", &body)).await.expect(200);
    }
    // A request is counted, and then logged, after its last byte went out.
    gateway.log(50).await;
    let metrics = gateway.metrics().await;
    assert!(!metrics.text.contains("invented-"), "{metrics:?}");
    assert_eq!(metrics.sum("requests_total", &[]), 50.0);
}

#[tokio::test]
async fn users_only_when_asked_for() {
    let provider = Provider::plain().await;
    for (setting, expected) in [("", false), ("metrics: {users: true}\n", true)] {
        let gateway = Gateway::with(setups::us(&[claude("a", &provider.origin())]) + setting).start().await;
        gateway.ask(&messages()).await.expect(200);
        gateway.log(1).await;
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.text.contains("\"ann\""), expected, "{metrics:?}");
        assert!(!metrics.text.contains("laptop"), "keys are no labels: {metrics:?}");
    }
}
