//! The committed configuration, as the README starts it: no provider, no database, and every dialect answers.

use std::path::Path;

use serde_json::json;

use crate::harness::log::has;
use crate::harness::requests;
use crate::harness::*;

const DEMO: &str = "aicp_demo_you_00000000000000000000000000000000";

/// The committed file with other ports and folders.
fn committed() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/aicarpool.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let moved = ["listen:", "admin:", "run_dir:", "data_dir:", "access_log:", "threads:"];
    text.lines().filter(|line| !moved.iter().any(|name| line.starts_with(name))).map(|line| format!("{line}\n")).collect()
}

fn with_demo_key(request: Request) -> Request {
    ["authorization", "x-api-key", "x-goog-api-key"].iter().fold(request, |r, name| r.without(name)).key(DEMO)
}

#[tokio::test]
async fn every_dialect_answers_whole_and_in_a_stream() {
    let gateway = Gateway::with(committed()).start().await;
    let asked = [
        requests::messages(),
        requests::messages_stream(),
        requests::chat(),
        requests::chat_stream(),
        requests::responses(),
        requests::responses_stream(),
        requests::generate(),
        requests::generate_stream(),
    ];
    for request in asked.map(with_demo_key) {
        for form in [Form::H1Length, Form::H2Length] {
            let answer = form.ask(gateway.address, &request).await.expect(200);
            assert!(answer.whole && !answer.body.is_empty(), "{answer:?}");
            let line = gateway.line_of(&answer).await;
            has(&line, json!({"outcome": "ok", "service": "demo", "basis": "reported", "group": "demo", "user": "you"}));
            assert!(line["usage"]["output"].as_u64().is_some_and(|n| n > 0), "{line:#}");
        }
    }
}

#[tokio::test]
async fn the_committed_files_are_clean() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = 0;
    for entry in std::fs::read_dir(root.join("conf")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") || path.file_stem().is_some_and(|s| s == "prices") {
            continue;
        }
        let mut command = tokio::process::Command::new(Gateway::binary());
        // The fuller example names its credentials by environment variables.
        for name in std::fs::read_to_string(&path).unwrap().split("${").skip(1).filter_map(|rest| rest.split(['}', ':']).next()) {
            command.env(name, "from-the-environment");
        }
        let output = command.args(["check", "-c"]).arg(&path).current_dir(root).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", path.display());
        found += 1;
    }
    assert!(found >= 2, "{found} configurations in conf/");
}

/// The demo's key is public: it must open nothing else, and nothing to others.
#[tokio::test]
async fn the_demo_key_opens_only_the_demo() {
    let demo = "accounts: [{id: d, service: demo}]\ngroups: [{id: demo, binding: {accounts: [d]}}]\nusers: [{id: you, groups: [demo]}]\n";
    let keys = format!("keys: [{{key: {DEMO}}}]\n");
    let fine = Gateway::with(format!("{demo}{keys}")).run(&["check", "-c", "aicarpool.yaml"]).await;
    assert!(fine.status.success(), "{}", String::from_utf8_lossy(&fine.stdout));
    let open = format!("listen: 0.0.0.0:4000\n{demo}{keys}");
    let real = demo
        .replace("accounts: [{id: d, service: demo}]", "accounts: [{id: d, service: demo}, {id: c, service: claude, key: sk-1}]")
        .replace("accounts: [d]", "accounts: [d, c]")
        + &keys;
    for yaml in [open, real] {
        let output = Gateway::with(&*yaml).run(&["check", "-c", "aicarpool.yaml"]).await;
        assert_eq!(output.status.code(), Some(1), "{yaml}{}", String::from_utf8_lossy(&output.stdout));
    }
}
