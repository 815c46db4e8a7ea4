//! Configurations that many tests share, as text.

use super::gateway::KEY;

/// Group `us` with Ann's key [`KEY`], bound to `accounts` (lines of YAML flow mappings), tried in their order.
pub fn us(accounts: &[String]) -> String {
    us_with(accounts, "")
}

/// The same with more fields of the group, each line indented by four.
pub fn us_with(accounts: &[String], group: &str) -> String {
    let ids: Vec<&str> = accounts.iter().map(|account| id_of(account)).collect();
    let bound: Vec<String> = ids.iter().enumerate().map(|(at, id)| format!("{{id: {id}, priority: {}}}", at + 1)).collect();
    let listed: String = accounts.iter().map(|account| format!("  - {account}\n")).collect();
    format!(
        "accounts:\n{listed}groups:\n  - id: us\n    binding: {{accounts: [{}]}}\n    strategy: priority\n    sticky: false\n{group}\
         users: [{{id: ann, groups: [us]}}]\nkeys: [{{key: {KEY}, name: laptop}}]\n",
        bound.join(", ")
    )
}

/// An account of the built-in service `claude` at another origin; its credential is `sk-<id>`.
pub fn claude(id: &str, origin: &str) -> String {
    account(id, "claude", "anthropic", origin, "")
}
pub fn openai(id: &str, origin: &str) -> String {
    account(id, "openai", "openai", &format!("{origin}/v1"), "")
}
pub fn gemini(id: &str, origin: &str) -> String {
    account(id, "gemini", "gemini", origin, "")
}
/// One with more fields: `, tls: {ca: ca.pem}`.
pub fn account(id: &str, service: &str, dialect: &str, base: &str, more: &str) -> String {
    format!("{{id: {id}, service: {service}, key: sk-{id}, endpoints: {{{dialect}: \"{base}\"}}{more}}}")
}

fn id_of(account: &str) -> &str {
    let (_, rest) = account.split_once("id: ").unwrap();
    rest.split(',').next().unwrap().trim()
}

/// Many groups of two accounts each, `bad<n>` and then `good<n>`, so that what one case parks is no other's concern. Their
/// credentials are `sk-<id>`, the callers' keys [`pair_key`]; what speaks TLS is known by `ca.pem`.
pub fn pairs(count: usize, first: impl Fn(usize) -> String, second: &str) -> String {
    let (mut accounts, mut groups, mut keys) = (String::new(), String::new(), String::new());
    for number in 0..count {
        for (id, origin) in [(format!("bad{number}"), first(number)), (format!("good{number}"), second.to_owned())] {
            let tls = if origin.starts_with("https") { ", tls: {ca: ca.pem}" } else { "" };
            accounts += &format!("  - {}\n", account(&id, "claude", "anthropic", &origin, tls));
        }
        let bound = format!("{{accounts: [{{id: bad{number}, priority: 1}}, {{id: good{number}, priority: 2}}]}}");
        groups += &format!("  - {{id: g{number}, strategy: priority, binding: {bound}}}\n");
        keys += &format!("  - key: {}\n", pair_key(number));
    }
    let ids: Vec<String> = (0..count).map(|number| format!("g{number}")).collect();
    format!("accounts:\n{accounts}groups:\n{groups}users: [{{id: ann, groups: [{}]}}]\nkeys:\n{keys}", ids.join(", "))
}

pub fn pair_key(number: usize) -> String {
    format!("aicp_g{number}_ann_{number:032}")
}

/// Failover without long waits, for tests in which a provider does not answer.
pub const QUICK: &str = "failover: {connect_timeout: 2s, first_byte_timeout: 1s, stream_start_timeout: 1s}\n";
