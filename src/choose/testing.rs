//! Snapshots for the tests of this room, made by hand: a service `claude` that speaks Anthropic and serves `claude-*`, accounts of
//! it, a group over them and a key of alice's.

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use globset::GlobBuilder;

use super::{Ask, Plan, Reach};
use crate::clock::{Chance, Now};
use crate::config::snapshot::*;
use crate::live::{Parking, Track};
use crate::price::Book;
use crate::words::{Dialect, Factor, Id, Nanodollars, Operation, Operations, UnixMs, Verdict};

pub(super) static BOOK: LazyLock<Arc<Book>> = LazyLock::new(Book::builtin);

pub(super) const MODEL: &str = "claude-sonnet-4-5";

pub(super) fn glob(text: &str) -> Glob {
    let matcher = GlobBuilder::new(text).case_insensitive(true).build().unwrap().compile_matcher();
    Glob { text: text.into(), matcher }
}

pub(super) fn globs(texts: &[&str]) -> Globs {
    Globs(texts.iter().map(|text| glob(text)).collect())
}

/// A service named `id` that speaks one dialect and serves `families`.
pub(super) fn service(id: &str, dialect: Dialect, families: &[&str]) -> Arc<Service> {
    let endpoint = Some(Arc::new(Endpoint { tls: true, host: format!("{id}.example"), port: 443, path: String::new() }));
    let mut endpoints = Endpoints::default();
    match dialect {
        Dialect::Anthropic => endpoints.anthropic = endpoint,
        Dialect::Openai => endpoints.openai = endpoint,
        Dialect::Gemini => endpoints.gemini = endpoint,
    }
    let id = Id::from(id);
    let families = globs(families);
    Arc::new(Service {
        kind: id.clone(),
        prices: id.clone(),
        id,
        endpoints,
        auth: None,
        families,
        timeouts: Default::default(),
        demo: false,
    })
}

/// The service with these entries of the price book.
pub(super) fn priced_as(prices: &str, service: Arc<Service>) -> Arc<Service> {
    Arc::new(Service { prices: prices.into(), ..Service::clone(&service) })
}

/// The service of [`account`].
pub(super) fn claude() -> Arc<Service> {
    priced_as("anthropic", service("claude", Dialect::Anthropic, &["claude-*"]))
}

pub(super) fn account(id: &str) -> Account {
    account_of(claude(), id)
}

pub(super) fn account_of(service: Arc<Service>, id: &str) -> Account {
    Account {
        id: id.into(),
        enterprise: "acme".into(),
        credential: None,
        endpoints: service.endpoints.clone(),
        service,
        auth: None,
        headers: Vec::new(),
        models: None,
        model_map: Vec::new(),
        weight: 1,
        max_concurrency: None,
        price_factor: Factor::ONE,
        price_by: PriceBy::Answered,
        default_model: None,
        exclusive: true,
        tls: AccountTls { ca: None, sni: None, verify: true },
        proxy: None,
        timeouts: Default::default(),
        enabled: true,
        fingerprint: 1,
        live: Default::default(),
    }
}

pub(super) fn member(account: &Arc<Account>, weight: u32) -> Member {
    Member { account: Arc::clone(account), weight, priority: 1, pool: None, max_usage: None, sole: true }
}

pub(super) fn tier(source: Source, strategy: Strategy, members: Vec<Member>) -> Tier {
    Tier { source, priority: 1, strategy, members }
}

/// Accounts `a0`, `a1` … of these weights, in one dedicated tier.
pub(super) fn weighted(strategy: Strategy, weights: &[u32]) -> Tier {
    named_tier(Source::Dedicated, strategy, "a", weights)
}

pub(super) fn named_tier(source: Source, strategy: Strategy, letter: &str, weights: &[u32]) -> Tier {
    let members = weights.iter().enumerate().map(|(n, weight)| member(&Arc::new(account(&format!("{letter}{n}"))), *weight));
    tier(source, strategy, members.collect())
}

pub(super) fn group(tiers: Vec<Tier>) -> Group {
    let enterprise = Enterprise {
        id: "acme".into(),
        name: "Acme".into(),
        charge_factor: Factor::ONE,
        fixed_cost: Nanodollars(0),
        departments: Vec::new(),
        projects: Vec::new(),
    };
    let second = Duration::from_secs(1);
    let timeouts = Timeouts { connect: second, first_byte: second, stream_start: second, idle: second, total: second };
    Group {
        id: "frontend".into(),
        enterprise: Arc::new(enterprise),
        department: None,
        project: None,
        mode: Mode::Hybrid,
        tiers,
        strategy: None,
        sticky: true,
        models: None,
        operations: Operations::DEFAULT,
        wishes: Wishes { service: true, strategy: true, tag: true },
        model_fallbacks: Vec::new(),
        failover: Failover { max_attempts: 3, deadline: second, timeouts },
        max_members: None,
        enabled: true,
        priority_level: crate::config::snapshot::PriorityLevel::Medium,
    }
}

pub(super) fn user(id: &str) -> User {
    User {
        id: id.into(),
        name: id.into(),
        email: None,
        groups: vec!["frontend".into()],
        role: Role::Member,
        enabled: true,
        preference: Vec::new(),
        own_keys: Vec::new(),
    }
}

pub(super) fn key_of(group: Group, user: User) -> Key {
    Key {
        hash: [7; 32],
        name: "laptop".into(),
        group: Arc::new(group),
        user: Arc::new(user),
        services: None,
        models: None,
        operations: None,
        expires: None,
        allow_from: None,
        enabled: true,
        buffered: Default::default(),
    }
}

/// Alice's key to a group with this binding.
pub(super) fn key(tiers: Vec<Tier>) -> Arc<Key> {
    Arc::new(key_of(group(tiers), user("alice")))
}

pub(super) fn ask<'a>(key: &'a Arc<Key>, model: Option<&'a Arc<str>>, session: Option<u64>) -> Ask<'a> {
    Ask {
        key,
        dialect: Dialect::Anthropic,
        operation: Operation::Messages,
        model,
        session,
        input: 1_000,
        max_output: None,
        wish_service: None,
        wish_strategy: None,
        book: &BOOK,
        unpriced: Unpriced::Auto,
        reach: Reach::Any,
    }
}

/// A plan for [`MODEL`].
pub(super) fn plan(key: &Arc<Key>, session: Option<u64>, chance: &mut Chance) -> Plan {
    Plan::new(ask(key, Some(&MODEL.into()), session), chance).unwrap()
}

/// The ids of all accounts that a plan names, in order.
pub(super) fn named(mut plan: Plan, now: Now) -> Vec<String> {
    std::iter::from_fn(|| plan.next(now)).map(|candidate| candidate.account.id.to_string()).collect()
}

/// The first account for [`MODEL`].
pub(super) fn first(key: &Arc<Key>, session: Option<u64>, chance: &mut Chance, now: Now) -> String {
    plan(key, session, chance).next(now).unwrap().account.id.to_string()
}

/// Parks the whole account.
pub(super) fn park(account: &Account, reason: Verdict, until: UnixMs) {
    account.live.parkings.lock().account.tracks.push(track(reason, until));
    account.live.parked.store(true, Ordering::Release);
}

/// Parks one model of the account.
pub(super) fn park_model(account: &Account, model: &str, reason: Verdict, until: UnixMs) {
    account.live.parkings.lock().models.entry(model.into()).or_default().tracks.push(track(reason, until));
    account.live.parked.store(true, Ordering::Release);
}

fn track(reason: Verdict, until: UnixMs) -> Track {
    let parking = Parking { until: Some(until), reason: Some(reason), ..Parking::default() };
    Track { parking, ..Track::default() }
}

/// The account of this id in the key's binding.
pub(super) fn find<'a>(key: &'a Key, id: &str) -> &'a Arc<Account> {
    super::tiers::all(key).map(|seat| seat.account).find(|account| account.id.as_str() == id).unwrap()
}

/// A snapshot that holds this group and this user.
pub(super) fn snapshot(key: &Key) -> Snapshot {
    let second = Duration::from_secs(1);
    let client = Client {
        header_timeout: second,
        body_idle: second,
        write_idle: second,
        keep_alive: second,
        max_connections: 1,
        h2_streams: 1,
    };
    let settings = Settings {
        listen: Vec::new(),
        admin: None,
        threads: 0,
        timezone: jiff::tz::TimeZone::UTC,
        week_start: jiff::civil::Weekday::Monday,
        instance: String::new(),
        max_body: 0,
        max_buffered: 0,
        client,
        drain: second,
        grace: second,
        run_dir: Default::default(),
        data_dir: Default::default(),
        trusted_proxies: Vec::new(),
        access_log: AccessLog { path: LogPath::Off, fields: None },
        metering: Metering { on_disconnect: OnDisconnect::Finish, disconnect_read: second },
        health: None,
        unpriced: Unpriced::Auto,
        metrics: Metrics { users: false, listen: None },
        heartbeat: None,
        failover: key.group.failover,
    };
    Snapshot {
        settings,
        services: Default::default(),
        enterprises: Default::default(),
        accounts: Default::default(),
        groups: [(key.group.id.clone(), Arc::clone(&key.group))].into(),
        users: [(key.user.id.clone(), Arc::clone(&key.user))].into(),
        keys: Default::default(),
        prices: Arc::clone(&BOOK),
        hash: String::new(),
        files: Vec::new(),
        folders: Vec::new(),
        loaded: UnixMs(0),
        notes: Vec::new(),
    }
}
