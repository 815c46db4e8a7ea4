//! Accounts that are set aside: for how long, for which model, and how they come back.

use serde_json::json;

use crate::harness::log::attempts;
use crate::harness::requests::{anthropic, chat, messages};
use crate::harness::setups::{claude, openai, us};
use crate::harness::*;

async fn two(first: &Provider, second: &Provider) -> Gateway {
    Gateway::with(us(&[claude("a", &first.origin()), claude("b", &second.origin())]) + "health: \"off\"\n").start().await
}

fn parked(metrics: &Metrics, account: &str) -> Vec<String> {
    let samples = metrics.matching("account_parked", &[("account", account)]);
    samples.iter().filter(|s| s.value > 0.0).map(|s| s.labels["reason"].clone()).collect()
}

#[tokio::test]
async fn each_fault_sets_aside_for_its_reason() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let cases = [
        (answers::refusal("/v1/messages", 401), "credential"),
        (answers::refusal("/v1/messages", 402), "money"),
        (
            Script::json(
                400,
                answers::anthropic_error("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
            ),
            "money",
        ),
        (answers::refusal("/v1/messages", 429).header("retry-after", "30"), "rate_limit"),
        (answers::refusal("/v1/messages", 529), "overloaded"),
        (script::reset_before_answer(), "connect"),
        (Script::json(404, answers::anthropic_error("not_found_error", "model: claude-sonnet-4-5")), "model"),
    ];
    for (fault, reason) in cases {
        let gateway = two(&first, &second).await;
        let before = first.requests().len();
        first.then(fault);
        let answer = gateway.ask(&messages()).await.expect(200);
        assert_eq!(attempts(&gateway.line_of(&answer).await), [format!("a {reason}"), "b accept".to_owned()]);
        gateway.ask(&messages()).await.expect(200);
        assert_eq!(first.requests().len() - before, 1, "{reason}: the account was not set aside");
        let metrics = gateway.metrics().await;
        assert_eq!(parked(&metrics, "a"), [reason]);
        assert_eq!(metrics.sum("failovers_total", &[("group", "us"), ("verdict", reason)]), 1.0, "{metrics:?}");
        let output = gateway.run(&["accounts", "-c", "aicarpool.yaml"]).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains(reason), "{reason}: {text}{}", String::from_utf8_lossy(&output.stderr));
        // By hand it comes back at once.
        let output = gateway.run(&["accounts", "-c", "aicarpool.yaml", "unpark", "a"]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        gateway.ask(&messages()).await.expect(200);
        assert_eq!(first.requests().len() - before, 2, "{reason}: the account did not come back");
        assert_eq!(parked(&gateway.metrics().await, "a"), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_limit_on_one_model_leaves_the_others() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let gateway = two(&first, &second).await;
    first.then(answers::refusal("/v1/messages", 429).header("retry-after", "60"));
    gateway.ask(&messages()).await.expect(200);
    gateway.ask(&anthropic(r#"{"model":"claude-haiku-4-5","max_tokens":1,"messages":[]}"#)).await.expect(200);
    assert_eq!(first.requests().len(), 2, "another model was barred too");
    gateway.ask(&messages()).await.expect(200);
    assert_eq!(first.requests().len(), 2);
}

/// A first 5xx may be an accident; the second within a minute is not.
#[tokio::test]
async fn the_second_server_error_sets_aside() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let gateway = two(&first, &second).await;
    first.then(answers::refusal("/v1/messages", 500)).then(answers::refusal("/v1/messages", 503));
    for expected in [1, 2, 2] {
        gateway.ask(&messages()).await.expect(200);
        assert_eq!(first.requests().len(), expected);
    }
    // An account that is the last one is asked all the same: it may well have recovered.
    let gateway = Gateway::with(us(&[claude("a", &first.origin())])).start().await;
    first.then(answers::refusal("/v1/messages", 500)).then(answers::refusal("/v1/messages", 500));
    for status in [500, 500, 200] {
        gateway.ask(&messages()).await.expect(status);
    }
    assert_eq!(parked(&gateway.metrics().await, "a"), Vec::<String>::new(), "a success lifts it");
}

/// When every account gives the same answer, it is the request.
#[tokio::test]
async fn a_poisoned_request_sets_nobody_aside() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let gateway = two(&first, &second).await;
    for _ in 0..4 {
        first.then(answers::refusal("/v1/messages", 500));
        second.then(answers::refusal("/v1/messages", 500));
        gateway.ask(&messages()).await.expect(500);
    }
    let metrics = gateway.metrics().await;
    assert_eq!((parked(&metrics, "a"), parked(&metrics, "b")), (vec![], vec![]));
    gateway.ask(&messages()).await.expect(200);
}

#[tokio::test]
async fn a_403_that_nobody_knows_wants_two_callers() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let yaml = us(&[openai("a", &first.origin()), openai("b", &second.origin())])
        .replace("users: [", "users: [{id: bob, groups: [us]}, ")
        .replace("keys: [", "keys: [{key: aicp_us_bob_0000000000000001}, ");
    let gateway = Gateway::with(yaml).start().await;
    let odd = Script::json(403, answers::openai_error("something_odd", "something about this request"));
    for _ in 0..3 {
        first.then(odd.clone());
        gateway.ask(&chat()).await;
    }
    assert_eq!(parked(&gateway.metrics().await, "a"), Vec::<String>::new(), "one caller alone can bench no account");
    first.then(odd);
    gateway.ask(&chat().without("authorization").key("aicp_us_bob_0000000000000001")).await;
    assert_eq!(parked(&gateway.metrics().await, "a"), ["credential"]);
}

/// The hints that providers give, each in its own form: the refusal afterwards says the moment.
#[tokio::test]
async fn the_moments_that_providers_name_are_kept() {
    let provider = Provider::plain().await;
    let anthropic = || answers::refusal("/v1/messages", 429);
    let openai_limited = || answers::refusal("/v1/chat/completions", 429);
    let in_seconds = |seconds: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string();
    let cases = [
        (messages(), anthropic().header("retry-after", "40"), 40),
        (messages(), anthropic().header("retry-after-ms", "40000"), 40),
        (messages(), anthropic().header("retry-after", &httpdate::fmt_http_date(std::time::UNIX_EPOCH + epoch(40))), 40),
        (
            messages(),
            anthropic()
                .header("anthropic-ratelimit-input-tokens-remaining", "0")
                .header("anthropic-ratelimit-input-tokens-reset", &in_seconds(40)),
            40,
        ),
        (chat(), openai_limited().header("x-ratelimit-remaining-requests", "0").header("x-ratelimit-reset-requests", "40s"), 40),
        (chat(), openai_limited().header("x-ratelimit-remaining-tokens", "0").header("x-ratelimit-reset-tokens", "39s600ms"), 40),
    ];
    for (number, (request, fault, expected)) in cases.into_iter().enumerate() {
        let origin = provider.origin();
        let gateway = Gateway::with(us(&[claude("c", &origin), openai("o", &origin)])).start().await;
        provider.then(fault);
        gateway.ask(&request).await.expect(429);
        let answer = gateway.ask(&request).await.refused(429, "accounts_rate_limited");
        let seconds: i64 = answer.header("x-aicarpool-retry-after").unwrap().parse().unwrap();
        assert!((expected - 4..=expected + 4).contains(&seconds), "case {number}: {seconds} s instead of {expected}");
    }
}

fn epoch(plus: u64) -> std::time::Duration {
    let now = jiff::Timestamp::now().as_second();
    std::time::Duration::from_secs(u64::try_from(now).unwrap() + plus)
}

#[tokio::test]
async fn recovery_by_time_shows_in_log_and_metrics() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let gateway = two(&first, &second).await;
    first.then(answers::refusal("/v1/messages", 429).header("retry-after", "1"));
    gateway.ask(&messages()).await.expect(200);
    until("the account to be asked again", async || {
        gateway.ask(&messages()).await.expect(200);
        if first.requests().len() >= 2 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    gateway.metric("no parking", |m| parked(m, "a").is_empty()).await;
    let said = gateway.said();
    assert!(said.contains("is parked") && said.contains("free again"), "{said}");
}

/// The health check asks parked accounts by the service's free request, and frees those that are well again.
#[tokio::test]
async fn the_health_check_brings_accounts_back() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let yaml = us(&[claude("a", &first.origin()), claude("b", &second.origin())]) + "health: {interval: 1s}\n";
    let gateway = Gateway::with(yaml).start().await;
    // Well accounts are left in peace.
    gateway.ask(&messages()).await.expect(200);
    assert_eq!(first.requests().len(), 1);
    first.then(script::reset_before_answer()).then(script::reset_before_answer());
    gateway.ask(&messages()).await.expect(200);
    assert_eq!(parked(&gateway.metrics().await, "a"), ["connect"]);
    first.answers(|request| {
        if request.method == "GET" {
            Script::json(200, json!({"data": [], "has_more": false}))
        } else {
            answers::messages("pong")
        }
    });
    gateway.metric("the account to be free", |m| parked(m, "a").is_empty()).await;
    let asked = first.requests();
    let check = asked.iter().find(|r| r.method == "GET").unwrap_or_else(|| panic!("no free request: {asked:?}"));
    assert_eq!((check.path(), check.credential()), ("/v1/models", "sk-a"));
    assert_eq!(second.requests().iter().filter(|r| r.method == "GET").count(), 0);
}
