//! What `explain` says.

use super::*;

#[test]
fn explain_tells_tiers_reasons_and_order() {
    let now = Now { wall: UnixMs(1_795_251_600_000), ..clock::now() };
    let until = UnixMs(1_795_251_660_000);
    let mut accounts = weighted(Strategy::Weighted, &[3, 1, 1]);
    accounts.members.push(member(&Arc::new(Account { enabled: false, ..account("off") }), 1));
    accounts.members.push(member(&Arc::new(Account { models: Some(globs(&["claude-opus-*"])), ..account("opus") }), 1));
    park(&accounts.members[2].account, Verdict::RateLimit, until);
    let full = Arc::new(Account { max_concurrency: Some(1), ..account("full") });
    let _held = full.live.take(None);
    let mapped = Account {
        model_map: vec![(glob("claude-*"), "kimi-k2".into())],
        ..account_of(service("kimi", Dialect::Anthropic, &[]), "kimi-1")
    };
    let mut pools = tier(Source::Pools, Strategy::Priority, vec![member(&full, 1), member(&Arc::new(mapped), 1)]);
    pools.members.iter_mut().for_each(|member| member.pool = Some("shared".into()));
    pools.members[1].priority = 2;
    pools.members.push(member(&Arc::new(account_of(service("openai", Dialect::Openai, &["claude-*"]), "openai-1")), 1));
    let mut alice = user("alice");
    alice.own_keys = vec![Arc::new(account("own/alice/claude"))];
    let mut group = group(vec![accounts, pools]);
    group.model_fallbacks = vec![(glob("claude-sonnet-*"), vec!["claude-opus-4-5".into()])];
    let snapshot = snapshot(&key_of(group, alice));
    let question = Question { group: "frontend", user: "alice", model: MODEL, dialect: Some(Dialect::Anthropic), live: true };
    expect![[r#"
        group frontend of enterprise acme, user alice, model claude-sonnet-4-5

        in dialect anthropic
          the user's own keys
            1. own/alice/claude (claude)
          tier 1: accounts of priority 1, strategy weighted
            1. a0 (claude, weight 3), first for 75 % of sessions
            2. a1 (claude), first for 25 % of sessions
            -  a2 (claude): is parked for rate_limit until 2026-11-21T09:01:00Z
            -  off (claude): is disabled
            -  opus (claude): does not serve claude-sonnet-4-5
          tier 2: pools of priority 1, strategy priority
            1. kimi-1 (kimi, pool shared, priority 2), sent as kimi-k2
            -  full (claude, pool shared): is full: 1 in flight, 1 allowed
            -  openai-1 (openai): does not speak anthropic
          when none of these is left: model claude-opus-4-5 in its place
          the user's own keys
            1. own/alice/claude (claude)
          tier 1: accounts of priority 1, strategy weighted
            1. a0 (claude, weight 3), first for 60 % of sessions
            2. a1 (claude), first for 20 % of sessions
            3. opus (claude), first for 20 % of sessions
            -  a2 (claude): is parked for rate_limit until 2026-11-21T09:01:00Z
            -  off (claude): is disabled
          tier 2: pools of priority 1, strategy priority
            1. kimi-1 (kimi, pool shared, priority 2), sent as kimi-k2
            -  full (claude, pool shared): is full: 1 in flight, 1 allowed
            -  openai-1 (openai): does not speak anthropic
          a request tries, 3 at most: own/alice/claude, a0, a1, kimi-1, opus with claude-opus-4-5
    "#]]
    .assert_eq(&explain(&snapshot, &question, now).unwrap());
    let offline = Question { model: "gpt-5", dialect: None, live: false, ..question.clone() };
    expect![[r#"
        group frontend of enterprise acme, user alice, model gpt-5

        in dialect anthropic
          the user's own keys
            -  own/alice/claude (claude): does not serve gpt-5
          tier 1: accounts of priority 1, strategy weighted
            -  a0 (claude, weight 3): does not serve gpt-5
            -  a1 (claude): does not serve gpt-5
            -  a2 (claude): does not serve gpt-5
            -  off (claude): does not serve gpt-5
            -  opus (claude): does not serve gpt-5
          tier 2: pools of priority 1, strategy priority
            1. kimi-1 (kimi, pool shared, priority 2)
            -  full (claude, pool shared): does not serve gpt-5
            -  openai-1 (openai): does not speak anthropic
          a request tries, 3 at most: kimi-1

        in dialect openai
          the user's own keys
            -  own/alice/claude (claude): does not serve gpt-5
          tier 1: accounts of priority 1, strategy weighted
            -  a0 (claude, weight 3): does not serve gpt-5
            -  a1 (claude): does not serve gpt-5
            -  a2 (claude): does not serve gpt-5
            -  off (claude): does not serve gpt-5
            -  opus (claude): does not serve gpt-5
          tier 2: pools of priority 1, strategy priority
            1. openai-1 (openai)
            -  full (claude, pool shared): does not serve gpt-5
            -  kimi-1 (kimi, pool shared, priority 2): does not speak openai
          a request tries, 3 at most: openai-1

        Parkings and what is in flight are known to the running gateway only and not counted here.
    "#]]
    .assert_eq(&explain(&snapshot, &offline, now).unwrap());
    let nobody = Question { user: "bob", ..question };
    expect![[r#"no user "bob""#]].assert_eq(&explain(&snapshot, &nobody, now).unwrap_err());
}
