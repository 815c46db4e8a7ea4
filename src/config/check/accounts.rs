//! Services and accounts: which service an account is of, where it is reached, with what credential.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Known, Taken, at, enterprise_of, take_id, unknown};
use crate::config::fault::Wrong;
use crate::config::read::Reader;
use crate::config::services::{BUILT_IN, BuiltIn, DEMO};
use crate::config::snapshot::{
    Account, AccountTls, Auth, Endpoint, Endpoints, Enterprise, Glob, Globs, PriceBy, Service, TimeoutOverrides,
};
use crate::config::written::{self, WrittenSecret, WrittenTls};
use crate::config::{address, tls};
use crate::live::Lives;
use crate::words::{Dialect, Factor, Id, Secret};

/// The built-in services, overridden by field, and those that are added.
pub(super) fn services(reader: &Reader<'_>, written: &[written::Service]) -> HashMap<Id, Arc<Service>> {
    let mut all: HashMap<Id, Service> = BUILT_IN.iter().map(|row| (Id::from(row.id), built_in(reader, row))).collect();
    let mut taken = Taken::new(reader);
    for one in written {
        if !take_id(&mut taken, "services", one.origin, &one.id) {
            continue;
        }
        if one.id.id.as_str() == DEMO {
            reader.fault(
                one.id.spot,
                at("services", one.origin, "id"),
                Wrong::Other {
                    what: "service demo answers inside the process and cannot be overridden",
                    hint: "give yours another id",
                },
            );
            continue;
        }
        let added = Service {
            id: one.id.id.clone(),
            kind: one.id.id.clone(),
            endpoints: Endpoints::default(),
            auth: None,
            prices: one.id.id.clone(),
            families: Globs::default(),
            timeouts: TimeoutOverrides::default(),
            demo: false,
        };
        let service = all.entry(one.id.id.clone()).or_insert(added);
        service.endpoints = over(&one.endpoints.endpoints, &service.endpoints);
        service.auth = one.auth.clone().or(service.auth.take());
        service.timeouts = one.timeouts;
        if let Some(prices) = &one.prices {
            service.prices = prices.id.clone();
        }
    }
    all.into_iter().map(|(id, service)| (id, Arc::new(service))).collect()
}

fn built_in(reader: &Reader<'_>, row: &BuiltIn) -> Service {
    let endpoint = |url: Option<&str>| url.and_then(|url| address::endpoint(url).ok()).map(Arc::new);
    Service {
        id: Id::from(row.id),
        kind: Id::from(row.id),
        endpoints: Endpoints { anthropic: endpoint(row.anthropic), openai: endpoint(row.openai), gemini: endpoint(row.gemini) },
        auth: row.auth.clone(),
        prices: Id::from(row.prices),
        families: Globs(row.families.iter().filter_map(|text| reader.glob(text).ok()).collect::<Vec<Glob>>()),
        timeouts: TimeoutOverrides::default(),
        demo: row.id == DEMO,
    }
}

/// Endpoints by dialect: `mine`, where given, else `base`.
fn over(mine: &Endpoints, base: &Endpoints) -> Endpoints {
    let one = |dialect: Dialect| mine.get(dialect).or(base.get(dialect)).cloned();
    Endpoints { anthropic: one(Dialect::Anthropic), openai: one(Dialect::Openai), gemini: one(Dialect::Gemini) }
}

pub(super) type Accounts = HashMap<Id, Known<Arc<Account>>>;

pub(super) fn accounts(
    reader: &Reader<'_>,
    written: &[written::Account],
    services: &HashMap<Id, Arc<Service>>,
    enterprises: &HashMap<Id, Arc<Enterprise>>,
    lives: &Lives,
) -> Accounts {
    let mut all = HashMap::new();
    let mut taken = Taken::new(reader);
    for one in written {
        if !take_id(&mut taken, "accounts", one.origin, &one.id) {
            continue;
        }
        let enterprise =
            enterprise_of(reader, one.enterprise.as_ref(), enterprises, "accounts", one.origin).map(|found| found.id.clone());
        let built = account(reader, one, services, enterprise.as_ref(), lives).map(Arc::new);
        all.insert(one.id.id.clone(), Known { enterprise, built });
    }
    all
}

fn account(
    reader: &Reader<'_>,
    one: &written::Account,
    services: &HashMap<Id, Arc<Service>>,
    enterprise: Option<&Id>,
    lives: &Lives,
) -> Option<Account> {
    let path = |rest: &str| at("accounts", one.origin, rest);
    let named = one.service.as_ref()?;
    let Some(service) = services.get(&named.id) else {
        unknown(reader, named, path("service"), "service", None, services.keys().map(Id::as_str));
        return None;
    };
    let endpoints = over(&one.endpoints.endpoints, &service.endpoints);
    let credential = credential(reader, one, service);
    if service.demo && one.endpoints.given {
        let wrong = Wrong::Other { what: "service demo answers inside the process", hint: "leave the endpoints out" };
        reader.fault(one.origin.spot, path("endpoints"), wrong);
    }
    let none = Dialect::ALL.into_iter().all(|dialect| endpoints.get(dialect).is_none());
    if none && !service.demo && !one.endpoints.given {
        reader.fault(one.origin.spot, path("endpoints"), Wrong::NoEndpoint { service: service.id.to_string() });
    }
    let tls = account_tls(reader, one, &endpoints);
    note(reader, one, credential.as_ref());
    let id = one.id.id.clone();
    let fingerprint = fingerprint(credential.as_ref(), &endpoints);
    Some(Account {
        enterprise: enterprise?.clone(),
        auth: service.auth.clone(),
        service: Arc::clone(service),
        credential,
        headers: one.headers.clone(),
        models: one.models.clone(),
        model_map: one.model_map.clone(),
        weight: one.weight.unwrap_or(1),
        max_concurrency: one.max_concurrency,
        price_factor: one.price_factor.unwrap_or(Factor::ONE),
        price_by: one.price_by,
        default_model: one.default_model.clone(),
        exclusive: one.exclusive,
        tls,
        proxy: one.proxy.clone(),
        timeouts: or_else(one.timeouts, service.timeouts),
        enabled: one.enabled,
        live: lives.of(&id, fingerprint),
        endpoints,
        fingerprint,
        id,
    })
}

/// A user's own credential, as an account that is bound to nobody.
pub(super) fn own_account(id: Id, enterprise: Id, service: &Arc<Service>, credential: Secret, lives: &Lives) -> Account {
    let fingerprint = fingerprint(Some(&credential), &service.endpoints);
    Account {
        live: lives.of(&id, fingerprint),
        id,
        enterprise,
        auth: service.auth.clone(),
        endpoints: service.endpoints.clone(),
        timeouts: service.timeouts,
        service: Arc::clone(service),
        credential: Some(credential),
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
        enabled: true,
        fingerprint,
    }
}

/// The timeouts of an account, else those of its service.
fn or_else(mine: TimeoutOverrides, service: TimeoutOverrides) -> TimeoutOverrides {
    TimeoutOverrides {
        connect: mine.connect.or(service.connect),
        first_byte: mine.first_byte.or(service.first_byte),
        stream_start: mine.stream_start.or(service.stream_start),
        idle: mine.idle.or(service.idle),
        total: mine.total.or(service.total),
    }
}

/// The credential, which every service wants but the demo and those with `auth: none`. A disabled account may go without.
fn credential(reader: &Reader<'_>, one: &written::Account, service: &Service) -> Option<Secret> {
    let free = service.demo || service.auth == Some(Auth::None);
    let path = || at("accounts", one.origin, "key");
    match &one.key {
        WrittenSecret::Given(_, spot) if free && !service.demo => {
            reader.fault(*spot, path(), Wrong::NoFreeAuth);
            None
        }
        WrittenSecret::Given(_, spot) if free => {
            let (place, path) = (reader.place(*spot), path());
            reader.note(format!("{place}: {path}: service demo sends no credential; the key is not used"));
            None
        }
        WrittenSecret::Given(secret, _) => Some(secret.clone()),
        WrittenSecret::Empty(spot) if !free && one.enabled => {
            reader.fault(*spot, path(), Wrong::EmptyText { hint: "give the credential, or set enabled: false at the account" });
            None
        }
        WrittenSecret::Absent if !free && one.enabled => {
            reader.fault(one.origin.spot, path(), Wrong::NoCredential { service: service.id.to_string() });
            None
        }
        WrittenSecret::Empty(_) | WrittenSecret::Absent | WrittenSecret::Faulty => None,
    }
}

fn account_tls(reader: &Reader<'_>, one: &written::Account, endpoints: &Endpoints) -> AccountTls {
    let WrittenTls { ca, sni, verify, spot } = &one.tls;
    let ca = ca.as_ref().and_then(|(path, spot)| tls::authorities(reader, path, *spot, &at("accounts", one.origin, "tls.ca")));
    let encrypted = Dialect::ALL.into_iter().filter_map(|dialect| endpoints.get(dialect)).any(|endpoint| endpoint.tls);
    if let Some(spot) = spot {
        let (place, path) = (reader.place(*spot), at("accounts", one.origin, "tls"));
        if *verify == Some(false) {
            reader.note(format!(
                "{place}: {path}: verify: false: whoever stands between here and {} can read its credential",
                one.id.id
            ));
        }
        if !encrypted {
            reader.note(format!("{place}: {path}: has no effect: every endpoint of {} is http://", one.id.id));
        }
    }
    AccountTls { ca, sni: sni.clone(), verify: verify.unwrap_or(true) }
}

/// What is allowed but deserves a word.
fn note(reader: &Reader<'_>, one: &written::Account, credential: Option<&Secret>) {
    let place = reader.place(one.origin.spot);
    let path = format!("accounts[{}]", one.origin.index);
    let id = &one.id.id;
    // Providers.md section 4: since 2026-01-09 the provider refuses other clients on such tokens.
    if credential.is_some_and(|credential| credential.expose().starts_with("sk-ant-oat")) {
        reader.note(format!(
            "{place}: {path}: {id} is a Claude subscription (sk-ant-oat…): Anthropic's terms allow it for Claude Code alone, other clients are answered 400 or 403, and whether several members may share it is between you and Anthropic"
        ));
    }
    if one.price_factor == Some(Factor(0)) {
        reader.note(format!("{place}: {path}: price_factor 0: what {id} serves costs nothing"));
    }
}

/// Of credential and endpoints: with another one the account starts afresh.
fn fingerprint(credential: Option<&Secret>, endpoints: &Endpoints) -> u64 {
    let mut digest = Sha256::new();
    digest.update(credential.map_or("", |credential| credential.expose()));
    for dialect in Dialect::ALL {
        digest.update([0]);
        if let Some(Endpoint { tls, host, port, path }) = endpoints.get(dialect).map(|endpoint| &**endpoint) {
            digest.update(format!("{tls} {host} {port} {path}"));
        }
    }
    let bytes: [u8; 32] = digest.finalize().into();
    bytes[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
