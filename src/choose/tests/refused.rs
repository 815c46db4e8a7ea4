//! What is refused, and in which words.

use super::*;

/// The refusal of [`MODEL`] on this key, changed.
fn check_refusal<'a>(key: &'a Arc<Key>, change: impl FnOnce(&mut Ask<'a>), code: Code, message: &str) {
    static ASKED: LazyLock<Arc<str>> = LazyLock::new(|| MODEL.into());
    let mut ask = ask(key, Some(&ASKED), None);
    change(&mut ask);
    let refusal = Plan::new(ask, &mut seeded()).map(|_| "a plan").unwrap_err();
    assert_eq!((refusal.code, &*refusal.message), (code, message));
}

fn one_of(account: Account) -> Vec<Tier> {
    vec![tier(Source::Dedicated, Strategy::Weighted, vec![member(&Arc::new(account), 1)])]
}

#[test]
fn what_nothing_bound_serves_is_unknown() {
    let gpt = "gpt-5".into();
    let key = key(vec![weighted(Strategy::Weighted, &[1])]);
    let message = r#"group frontend has no account that serves model "gpt-5""#;
    check_refusal(&key, |ask| ask.model = Some(&gpt), Code::UnknownModel, message);
    let message = r#"group frontend has no account that speaks openai and serves model "claude-sonnet-4-5""#;
    check_refusal(&key, |ask| ask.dialect = Dialect::Openai, Code::UnknownModel, message);
    let message = "group frontend has no account that speaks openai and serves this path";
    check_refusal(&key, |ask| (ask.dialect, ask.model) = (Dialect::Openai, None), Code::UnknownPath, message);
}

#[test]
fn what_is_not_allowed_is_said() {
    let tiers = || vec![weighted(Strategy::Weighted, &[1])];
    let limited = Arc::new(Key { models: Some(globs(&["claude-haiku-*"])), ..key_of(group(tiers()), user("alice")) });
    let message =
        r#"this key of group frontend may not use model "claude-sonnet-4-5"; the model list shows those that it may use"#;
    check_refusal(&limited, |_| {}, Code::ModelNotAllowed, message);
    let message = "name a model: this key of group frontend may use only certain ones";
    check_refusal(&limited, |ask| ask.model = None, Code::ModelNotAllowed, message);
    let limited = with_group(tiers(), |group| group.models = Some(globs(&[])));
    let message = r#"group frontend may not use model "claude-sonnet-4-5"; the model list shows those that it may use"#;
    check_refusal(&limited, |_| {}, Code::ModelNotAllowed, message);
    let limited = Arc::new(Key { services: Some(vec!["gemini".into()]), ..key_of(group(tiers()), user("alice")) });
    let message = "this key of group frontend may not use a service that serves this request; it may use none";
    check_refusal(&limited, |_| {}, Code::ServiceNotAllowed, message);
}

#[test]
fn a_mapped_name_is_no_way_around_the_list() {
    let mapped = Account { model_map: vec![(glob("claude-sonnet-*"), "claude-opus-4-5".into())], ..account("a0") };
    let limited = Arc::new(Key { models: Some(globs(&["claude-sonnet-*"])), ..key_of(group(one_of(mapped)), user("alice")) });
    let message =
        r#"this key of group frontend may not use model "claude-sonnet-4-5"; the model list shows those that it may use"#;
    check_refusal(&limited, |_| {}, Code::ModelNotAllowed, message);
}

#[test]
fn wishes_are_granted_or_refused() {
    let gemini = Arc::new(account_of(service("gemini", Dialect::Anthropic, &["claude-*"]), "g0"));
    let tiers = || {
        let mut tier = weighted(Strategy::Weighted, &[1]);
        tier.members.push(member(&gemini, 1));
        vec![tier]
    };
    let free = key(tiers());
    let model = MODEL.into();
    let wish = Ask { wish_service: Some("gemini"), ..ask(&free, Some(&model), None) };
    assert_eq!(named(Plan::new(wish, &mut seeded()).unwrap(), clock::now()), ["g0"]);
    let message = "x-aicarpool-service: this key of group frontend may use claude, gemini";
    check_refusal(&free, |ask| ask.wish_service = Some("openai"), Code::ServiceNotAllowed, message);
    let bound = with_group(tiers(), |group| (group.wishes.service, group.wishes.strategy) = (false, false));
    let message = "group frontend does not let its members choose by x-aicarpool-service; leave the header out";
    check_refusal(&bound, |ask| ask.wish_service = Some("gemini"), Code::ServiceNotAllowed, message);
    let message = "group frontend does not let its members choose by x-aicarpool-strategy; leave the header out";
    check_refusal(&bound, |ask| ask.wish_strategy = Some(Strategy::Cost), Code::OperationNotAllowed, message);
    assert!(strategy_named("cost").is_ok() && strategy_named("luck").is_err_and(|refusal| refusal.code == Code::BadRequest));
}

#[test]
fn disabled_accounts_are_never_named() {
    let off = Account { enabled: false, ..account("a0") };
    let message = "every account of group frontend for this request is switched off; ask your operator";
    check_refusal(&key(one_of(off)), |_| {}, Code::NoAccount, message);
}

#[test]
fn unpriced_models_are_refused_where_prices_are_a_must() {
    let model = "our-own-model".into();
    let key = key(one_of(account_of(service("corp", Dialect::Anthropic, &[]), "c0")));
    let message = r#"no price is known for model "our-own-model", and this gateway serves priced models only"#;
    check_refusal(&key, |ask| (ask.unpriced, ask.model) = (Unpriced::Reject, Some(&model)), Code::UnpricedModel, message);
    assert!(Plan::new(ask(&key, Some(&model), None), &mut seeded()).is_ok());
}

#[test]
fn what_keeps_all_accounts_away_decides_the_refusal() {
    let check = |reasons: [Option<Verdict>; 2], full: bool, code, again_ms: Option<i64>| {
        let mut tier = weighted(Strategy::Weighted, &[]);
        tier.members = ["a0", "a1"].map(|id| member(&Arc::new(Account { max_concurrency: Some(1), ..account(id) }), 1)).into();
        let key = key(vec![tier]);
        let now = clock::now();
        let mut held = Vec::new();
        for (n, (id, reason)) in ["a0", "a1"].into_iter().zip(reasons).enumerate() {
            match reason {
                Some(reason) => park(find(&key, id), reason, now.wall.plus_ms(5_000 * (n as i64 + 1))),
                None if full => held.push(find(&key, id).live.take(None)),
                None => {}
            }
        }
        let mut plan = plan(&key, None, &mut seeded());
        while plan.next(now).is_some() {}
        let again = again_ms.map_or(Again::Unknown, |ms| Again::At(now.wall.plus_ms(ms)));
        let refusal = plan.refusal(now);
        assert_eq!((refusal.code, refusal.again), (code, again), "{reasons:?}");
        assert!(refusal.message.contains("group frontend") && !refusal.message.contains("a0"), "{}", refusal.message);
    };
    use Verdict::{Credential, Overloaded, RateLimit};
    check([Some(RateLimit), Some(RateLimit)], false, Code::AccountsRateLimited, Some(5_000));
    check([Some(RateLimit), Some(Credential)], false, Code::NoAccount, Some(5_000));
    check([Some(Overloaded), Some(RateLimit)], false, Code::NoAccount, Some(5_000));
    check([Some(RateLimit), None], true, Code::NoAccount, Some(1_000));
    check([None, None], true, Code::NoAccount, Some(1_000));
    check([None, None], false, Code::NoAccount, None);
}

#[test]
fn a_stored_thing_is_found_at_its_account_alone() {
    let key = key(vec![weighted(Strategy::Weighted, &[1, 1, 1]), named_tier(Source::Pools, Strategy::Weighted, "b", &[1])]);
    let pinned = |reach| Plan::new(Ask { reach, ..ask(&key, None, None) }, &mut seeded()).map(|plan| named(plan, clock::now()));
    assert_eq!(pinned(Reach::Account("b0".into())).unwrap(), ["b0"]);
    assert_eq!(pinned(Reach::Account("gone".into())).unwrap_err().code, Code::UnknownPath);
}

#[test]
fn what_nobody_knows_is_sought_where_only_this_group_is() {
    let shared = |sole: bool| {
        let mut tier = weighted(Strategy::Weighted, &[1, 1]);
        tier.members[0].sole = false;
        tier.members[1].sole = sole;
        key(vec![tier])
    };
    let sought = |key: &Arc<Key>| {
        Plan::new(Ask { reach: Reach::Sole, ..ask(key, None, None) }, &mut seeded()).map(|plan| named(plan, clock::now()))
    };
    assert_eq!(sought(&shared(true)).unwrap(), ["a1"]);
    assert_eq!(sought(&shared(false)).unwrap_err().code, Code::UnknownPath);
}
