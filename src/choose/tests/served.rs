//! Which models are served, under which name, and listed.

use super::*;

#[test]
fn mapped_names_are_sent() {
    let mut mapped = account_of(service("kimi", Dialect::Anthropic, &["kimi-*"]), "kimi-1");
    mapped.model_map = vec![(glob("claude-*"), "kimi-k2".into())];
    let key = key(vec![tier(Source::Dedicated, Strategy::Weighted, vec![member(&Arc::new(mapped), 1)])]);
    let candidate = plan(&key, None, &mut seeded()).next(clock::now()).unwrap();
    assert_eq!((candidate.model.as_deref(), candidate.model_sent.as_deref()), (Some(MODEL), Some("kimi-k2")));
}

fn fallback_key(models: Option<&[&str]>) -> Arc<Key> {
    with_group(vec![weighted(Strategy::Weighted, &[1, 1])], |group| {
        group.model_fallbacks = vec![(glob("claude-sonnet-*"), vec!["claude-haiku-4-5".into(), "claude-3".into()])];
        group.models = models.map(globs);
    })
}

#[test]
fn fallbacks_stand_in_when_no_account_has_the_model_left() {
    let key = fallback_key(None);
    let now = clock::now();
    let until = now.wall.plus_ms(5_000);
    let sent = |key: &Arc<Key>| {
        let mut plan = plan(key, Some(1), &mut seeded());
        std::iter::from_fn(move || plan.next(now)).map(|c| c.model_sent.unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(sent(&key), [MODEL, MODEL]);
    park_model(find(&key, "a0"), MODEL, Verdict::Overloaded, until);
    assert_eq!(sent(&key), [MODEL, "claude-haiku-4-5"]);
    park_model(find(&key, "a1"), MODEL, Verdict::Overloaded, until);
    assert_eq!(sent(&key), ["claude-haiku-4-5", "claude-haiku-4-5"]);
    let limited = fallback_key(Some(&[MODEL, "claude-3"]));
    for id in ["a0", "a1"] {
        park_model(find(&limited, id), MODEL, Verdict::Overloaded, until);
    }
    assert_eq!(sent(&limited), ["claude-3", "claude-3"], "a fallback that the group does not allow is no fallback");
}

#[test]
fn accounts_without_a_list_serve_families_and_the_book() {
    let check = |account: Account, served: &[&str], not: &[&str]| {
        for (model, expected) in served.iter().map(|m| (m, true)).chain(not.iter().map(|m| (m, false))) {
            assert_eq!(serving::serves(&account, &BOOK, Some(&(*model).into())).is_some(), expected, "{model}");
        }
    };
    check(account("a0"), &["claude-sonnet-4-5", "Claude-From-Tomorrow", "anthropic/claude-haiku-4-5"], &["gpt-5", "kimi-k2"]);
    let by_book = priced_as("anthropic", service("relay", Dialect::Anthropic, &[]));
    check(account_of(by_book, "a0"), &["claude-sonnet-4-5"], &["gpt-5", "our-own"]);
    check(account_of(service("corp", Dialect::Anthropic, &[]), "a0"), &["claude-sonnet-4-5", "our-own"], &[]);
    check(
        Account { models: Some(globs(&["CLAUDE-haiku-*", "x?"])), ..account("a0") },
        &["claude-haiku-4-5", "x1"],
        &["claude-sonnet-4-5", "x12"],
    );
    check(Account { models: Some(globs(&[])), ..account("a0") }, &[], &["claude-sonnet-4-5"]);
}

/// The names of a list, those of the book's that begin otherwise left out.
fn check_models(key: &Key, dialect: Dialect, expected: &[&str]) {
    let listed = models(key, dialect, &BOOK);
    assert!(listed.is_sorted_by(|a, b| a.id < b.id));
    assert_eq!(listed.iter().map(|listed| &*listed.id).collect::<Vec<_>>(), expected);
}

#[test]
fn model_lists_hold_what_the_key_may_ask_for() {
    let listed = Account {
        models: Some(globs(&["our-own", "claude-haiku-4-?", "claude-3-*"])),
        model_map: vec![(glob("fast"), "claude-haiku-4-5".into()), (glob("gpt-*"), "claude-haiku-4-5".into())],
        ..account("a0")
    };
    let off = Account { enabled: false, models: Some(globs(&["off"])), ..account("a1") };
    let openai = Account { models: Some(globs(&["gpt-x"])), ..account_of(service("openai", Dialect::Openai, &[]), "a2") };
    let tiers = || {
        let again = |account: &Account| Account {
            models: account.models.clone(),
            model_map: account.model_map.clone(),
            ..account_of(Arc::clone(&account.service), account.id.as_str())
        };
        let accounts = [again(&listed), Account { enabled: false, ..again(&off) }, again(&openai)];
        vec![tier(Source::Pools, Strategy::Weighted, accounts.into_iter().map(|account| member(&Arc::new(account), 1)).collect())]
    };
    check_models(&key(tiers()), Dialect::Anthropic, &["claude-haiku-4-5", "fast", "our-own"]);
    check_models(&key(tiers()), Dialect::Openai, &["gpt-x"]);
    check_models(&key(tiers()), Dialect::Gemini, &[]);
    let limited = Key { models: Some(globs(&["our-*", "fast", "gpt-*"])), ..key_of(group(tiers()), user("alice")) };
    check_models(&limited, Dialect::Anthropic, &["our-own"]);
    let other = Key { services: Some(vec!["gemini".into()]), ..key_of(group(tiers()), user("alice")) };
    check_models(&other, Dialect::Anthropic, &[]);
}

#[test]
fn one_model_is_known_also_by_a_pattern() {
    let key = key(vec![weighted(Strategy::Weighted, &[1])]);
    let known = |name: &str| model(&key, Dialect::Anthropic, &BOOK, &name.into()).map(|listed| listed.max_output);
    assert_eq!(known("claude-from-tomorrow"), Some(None));
    assert_eq!(known(MODEL), Some(Some(64_000)));
    assert_eq!(known("gpt-5"), None);
}

#[test]
fn model_lists_come_from_the_book_too() {
    let listed = models(&key(vec![weighted(Strategy::Weighted, &[1, 1])]), Dialect::Anthropic, &BOOK);
    let sonnet = listed.iter().find(|listed| &*listed.id == MODEL).unwrap();
    assert_eq!((sonnet.provider.as_str(), sonnet.max_input, sonnet.max_output), ("anthropic", Some(200_000), Some(64_000)));
}
