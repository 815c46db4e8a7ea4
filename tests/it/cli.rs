//! The command line: check, key, explain, accounts, and what `run` says when something is wrong.

use std::process::Output;

use crate::harness::requests::messages;
use crate::harness::setups::{claude, us};
use crate::harness::*;

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

async fn check(yaml: &str) -> Output {
    Gateway::with(yaml).run(&["check", "-c", "aicarpool.yaml"]).await
}

const GOOD: &str = "accounts: [{id: claude-8, service: claude, key: sk-1}]
groups: [{id: us, binding: {accounts: [claude-8]}}]
users: [{id: ann, groups: [us]}]
keys: [{key: aicp_us_ann_0000000000000001}]
";

#[tokio::test]
async fn a_clean_configuration_is_counted_in_one_line() {
    let output = check(GOOD).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains('1'), "{said}");
    assert!(!text(&output).contains("sk-1"), "{}", text(&output));
}

#[tokio::test]
async fn every_fault_is_told_with_its_place() {
    let yaml =
        GOOD.replace("accounts: [claude-8]", "accounts: [claude-9]").replace("groups: [us]}", "groups: [uss], rolle: member}")
            + "thredas: 3\nadmin: nonsense\nfailover: {connect_timeout: 5 parsecs}\ninclude: [more.yaml]\n";
    let more = "accounts:\n  - {id: claude-8, service: claude, key: \"${NOT_SET_ANYWHERE}\"}\n  - {id: Bad_Id, service: claud, key: sk-secret}\n";
    let output = Gateway::with(yaml).file("more.yaml", more).run(&["check", "-c", "aicarpool.yaml"]).await;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in [
        "claude-9",
        "did you mean \"claude-8\"?",
        "uss",
        "rolle",
        "thredas",
        "did you mean \"threads\"?",
        "parsecs",
        "NOT_SET_ANYWHERE",
        "Bad_Id",
        "claud",
        "is taken",
    ] {
        assert!(said.contains(word), "{word:?} is missing in:\n{said}");
    }
    let places: Vec<&str> = said.lines().filter(|line| line.contains(".yaml:")).collect();
    assert!(places.len() >= 8, "{said}");
    for line in &places {
        let rest = line.split_once(".yaml:").unwrap().1;
        assert!(rest.split(':').next().unwrap().parse::<u32>().is_ok(), "no line number: {line}");
    }
    assert!(!said.contains("sk-secret") && !said.contains("0000000000000001"), "a secret in:\n{said}");
}

#[tokio::test]
async fn what_comes_with_later_issues_is_refused_clearly() {
    for more in [
        "counters: {store: redis, url: \"redis://x\"}\n",
        "ledger: {url: \"sqlite:x\"}\n",
        "alerts: {webhooks: []}\n",
        "plans: [{id: p, quotas: []}]\n",
        "queue: {max_wait: 1s}\n",
        "admin_tokens: [{name: a, hash: \"sha256:00\", role: member}]\n",
    ] {
        let output = check(&(GOOD.to_owned() + more)).await;
        let name = more.split(':').next().unwrap();
        assert!(output.status.code() == Some(1) && text(&output).contains(name), "{more}: {}", text(&output));
    }
    for (from, to) in [
        ("binding: {accounts: [claude-8]}", "binding: {accounts: [claude-8]}, quotas: [{window: day, tokens: 1}]"),
        ("binding: {accounts: [claude-8]}", "binding: {accounts: [claude-8]}, limits: {rpm: 1}"),
        ("binding: {accounts: [claude-8]}", "binding: {accounts: [claude-8]}, per_member: {limits: {concurrency: 4}}"),
        ("groups: [us]}", "groups: [us], plan: p}"),
        ("key: sk-1", "oauth: {refresh_token: r, token_url: \"https://x\", client_id: c}"),
    ] {
        let output = check(&GOOD.replace(from, to)).await;
        assert_eq!(output.status.code(), Some(1), "{to}: {}", text(&output));
    }
    // What says nothing new is no fault.
    let output = check(&(GOOD.to_owned() + "counters: {store: memory}\nledger: {url: \"off\"}\n")).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[tokio::test]
async fn run_with_a_faulty_file_listens_on_nothing() {
    let output = Gateway::with("accounts: [").run(&["run", "-c", "aicarpool.yaml"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("aicarpool.yaml:"), "{}", text(&output));
    let output = Gateway::with(GOOD).run(&["run", "-c", "nowhere.yaml"]).await;
    assert!(output.status.code() == Some(1) && text(&output).contains("nowhere.yaml"), "{}", text(&output));
}

#[tokio::test]
async fn an_address_that_is_taken_is_said() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("a", &provider.origin())])).start().await;
    let output = gateway.run(&["run", "-c", "aicarpool.yaml"]).await;
    assert!(output.status.code().is_some_and(|code| code != 0), "{}", text(&output));
    assert!(text(&output).contains(&gateway.address.port().to_string()), "{}", text(&output));
    gateway.ask(&messages()).await.expect(200);
}

#[tokio::test]
async fn wrong_usage_and_versions() {
    for (arguments, code) in [
        (&["--no-such"][..], 2),
        (&["nonsense"], 2),
        (&["key"], 2),
        (&["--version"], 0),
        (&["--help"], 0),
        (&["check", "--help"], 0),
    ] {
        let output = Gateway::with(GOOD).run(arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
        assert!(!text(&output).contains("panicked"), "{}", text(&output));
    }
    let output = Gateway::with(GOOD).run(&["--version"]).await;
    assert!(text(&output).contains(env!("CARGO_PKG_VERSION")), "{}", text(&output));
}

#[tokio::test]
async fn a_new_key_works_when_pasted() {
    let provider = Provider::plain().await;
    let yaml = us(&[claude("a", &provider.origin())]);
    let gateway = Gateway::with(&*yaml).start().await;
    let said = text(&gateway.run(&["key", "new", "--group", "us", "--user", "ann"]).await);
    let key = said
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .find(|word| word.starts_with("aicp_us_ann_"))
        .unwrap_or_else(|| panic!("no key in:\n{said}"));
    assert_eq!(key.len(), "aicp_us_ann_".len() + 32, "{key}");
    let hash = said
        .split(|c: char| !c.is_ascii_alphanumeric() && c != ':')
        .find(|word| word.starts_with("sha256:"))
        .unwrap_or_else(|| panic!("no hash in:\n{said}"));
    let output = text(&gateway.run(&["key", "hash", key]).await);
    assert!(output.contains(hash), "{output} {hash}");
    for word in
        ["ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "model_providers", "GOOGLE_GEMINI_BASE_URL", "OPENAI_BASE_URL", "hash:"]
    {
        assert!(said.contains(word), "{word} is missing in:\n{said}");
    }
    gateway.reload(&yaml.replace("keys: [", &format!("keys: [{{hash: \"{hash}\", group: us, user: ann, name: new}}, "))).await;
    gateway.ask(&messages().without("x-api-key").key(key)).await.expect(200);
    let other = text(&gateway.run(&["key", "new", "--group", "us", "--user", "ann"]).await);
    assert!(!other.contains(key), "the same key twice");
}

/// 100,000 keys within a second: an optimised build's promise, so the others try fewer and are not timed.
#[tokio::test]
async fn a_hundred_thousand_keys() {
    let keys = if cfg!(debug_assertions) { 5_000 } else { 100_000 };
    let mut yaml = GOOD.to_owned().replace("keys: [{key: aicp_us_ann_0000000000000001}]\n", "keys:\n");
    for number in 0..keys {
        yaml += &format!("  - {{hash: \"sha256:{number:064x}\", group: us, user: ann, name: n{number}}}\n");
    }
    let begun = tokio::time::Instant::now();
    let output = check(&yaml).await;
    let took = begun.elapsed();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output).chars().take(500).collect::<String>());
    assert!(cfg!(debug_assertions) || took < std::time::Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn accounts_says_when_nobody_runs() {
    let output = Gateway::with(GOOD).run(&["accounts", "-c", "aicarpool.yaml"]).await;
    assert!(output.status.code().is_some_and(|code| code != 0), "{}", text(&output));
    assert!(!text(&output).contains("panicked"), "{}", text(&output));
}
