//! What loads, and what it becomes.

use super::*;
use crate::config::snapshot::*;

fn loaded(folder: &Folder) -> Snapshot {
    let attempt = folder.attempt("aicarpool.yaml");
    attempt.result.unwrap_or_else(|faults| panic!("{}", faults.iter().map(|fault| format!("{fault}\n")).collect::<String>()))
}

#[test]
fn the_smallest_useful_file() {
    let text = r#"
accounts:
  - {id: claude-1, service: claude, key: "${CLAUDE_KEY_1}"}
  - {id: claude-2, service: claude, key: {file: secrets/claude-2}}
groups:
  - id: us
    binding: {accounts: [claude-1, claude-2]}
users: [{id: ann, groups: [us]}, {id: bob, groups: [us]}]
keys: [{hash: "sha256:640b9937285908fa640b9937285908fa640b9937285908fa640b9937285908fa", group: us, user: ann, name: laptop}]
"#;
    let folder = Folder::new(&[("aicarpool.yaml", text), ("secrets/claude-2", "sk-ant-2\n")]).with("CLAUDE_KEY_1", "sk-ant-1");
    let snapshot = loaded(&folder);
    let credentials: Vec<_> =
        ["claude-1", "claude-2"].map(|id| snapshot.accounts[id].credential.as_ref().unwrap().expose().to_owned()).into();
    assert_eq!(credentials, ["sk-ant-1", "sk-ant-2"]);
    let group = &snapshot.groups["us"];
    assert_eq!((group.mode, group.tiers.len(), group.tiers[0].members.len()), (Mode::Dedicated, 1, 2));
    assert!(group.tiers[0].members.iter().all(|member| member.sole));
    let key = snapshot.keys.values().next().unwrap();
    assert_eq!((&*key.name, key.user.id.as_str(), key.group.enterprise.id.as_str()), ("laptop", "ann", "default"));
}

#[test]
fn the_corpus_configuration() {
    let text = r#"{
 "listen": "127.0.0.1:4100", "admin": "off", "access_log": {"path": "/tmp/access.log", "fields": "all"}, "counters": {"store": "memory"},
 "services": [{"id": "x-relay", "endpoints": {"openai": "http://127.0.0.1:5000/v1", "anthropic": "http://127.0.0.1:5000/v1"}}],
 "accounts": [
  {"id": "azure-chat", "service": "azure", "key": "upstream-key", "endpoints": {"openai": "http://127.0.0.1:5000/c/azure-chat/v1"}, "models": ["*"]},
  {"id": "relay", "service": "x-relay", "key": "upstream-key", "endpoints": {"anthropic": "http://127.0.0.1:5000/c/relay"}, "models": ["*"]}
 ],
 "groups": [{"id": "g0", "binding": {"mode": "dedicated", "accounts": ["azure-chat"]}, "operations": "all"},
            {"id": "g1", "binding": {"mode": "dedicated", "accounts": ["relay"]}, "operations": "all"}],
 "users": [{"id": "u", "groups": ["g0", "g1"]}], "keys": [{"key": "aicp_g0_u_0000000000000000"}, {"key": "aicp_g1_u_0000000000000001"}]}"#;
    let snapshot = loaded(&Folder::new(&[("aicarpool.yaml", text)]));
    assert!(snapshot.settings.admin.is_none());
    assert_eq!(snapshot.keys.len(), 2);
    assert_eq!(snapshot.accounts["relay"].endpoints.anthropic.as_ref().unwrap().path, "/c/relay");
}
