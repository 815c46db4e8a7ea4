//! The entities as they are written: each field read and checked by itself, references still by name and line. What the names refer
//! to is the work of `check`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::address::{self, ProxyFault};
use super::fault::Wrong;
use super::read::{Fields, Shape, Spot, Value};
use super::snapshot::{
    Auth, EgressProxy, Endpoint, Endpoints, Glob, Globs, Mode, PriceBy, PriorityLevel, Role, Strategy, TimeoutOverrides, Wishes,
};
use crate::words::{Dialect, Factor, Id, Nanodollars, Operation, Operations, Secret};

/// What later versions bring, in the words of the fault.
pub(super) const QUOTAS: &str = "quotas and rate limits";
pub(super) const PLANS: &str = "quotas and plans";
pub(super) const OAUTH: &str = "OAuth accounts";
pub(super) const ADMIN: &str = "the admin API";
pub(super) const ALERTS: &str = "alerts";
pub(super) const LEDGER: &str = "the ledger";
pub(super) const SHARED: &str = "shared counters in Redis";

/// Factors beyond this are slips of the pen (90 for 0.9).
const FACTOR_MAX: u64 = 1_000 * Factor::SCALE;

/// Where an entity stands: `index` counts within its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) spot: Spot,
    pub(super) index: usize,
}

/// A reference by name, or any other text with its line.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) id: Id,
    pub(super) spot: Spot,
}

/// All lists of entities, of all files in order.
#[derive(Default)]
pub(super) struct Written {
    pub(super) services: Vec<Service>,
    pub(super) enterprises: Vec<Enterprise>,
    pub(super) accounts: Vec<Account>,
    pub(super) pools: Vec<Pool>,
    pub(super) groups: Vec<Group>,
    pub(super) users: Vec<User>,
    pub(super) keys: Vec<Key>,
}

pub(super) const ENTITIES: &[&str] = &["services", "enterprises", "accounts", "pools", "groups", "users", "keys"];

impl Written {
    /// Takes in the entities of one file.
    pub(super) fn take(&mut self, fields: &Fields<'_, '_>) {
        fn each<T>(fields: &Fields<'_, '_>, name: &str, into: &mut Vec<T>, read: fn(Value<'_, '_>, usize) -> Option<T>) {
            let Some(value) = fields.get(name) else { return };
            let mut index = 0;
            let all = value.list(|item| {
                index += 1;
                read(item, index - 1)
            });
            into.extend(all.unwrap_or_default());
        }
        each(fields, "services", &mut self.services, service);
        each(fields, "enterprises", &mut self.enterprises, enterprise);
        each(fields, "accounts", &mut self.accounts, account);
        each(fields, "pools", &mut self.pools, pool);
        each(fields, "groups", &mut self.groups, group);
        each(fields, "users", &mut self.users, user);
        each(fields, "keys", &mut self.keys, key);
    }
}

// ------------------------------------------------------------------ what several entities have

/// The id of an entity. One with a wrong form is told of and still stands, so that references to it are no second fault.
fn id_of(fields: &Fields<'_, '_>) -> Option<Named> {
    fields.require("id", "give it an id, unique among its kind", |value| {
        let spot = value.spot();
        value.id().map(|id| Named { id, spot }).or_else(|| {
            let text = if value.is_scalar() && !value.node.is_nothing() { value.written() } else { None };
            text.map(|text| Named { id: Id::new(text), spot })
        })
    })
}

fn name_of(value: Value<'_, '_>) -> Option<Named> {
    let spot = value.spot();
    value.filled("name one").map(|text| Named { id: Id::new(text), spot })
}

fn globs(value: Value<'_, '_>) -> Option<Globs> {
    value.list(|item| item.glob()).map(Globs)
}

fn nets(value: Value<'_, '_>) -> Option<Vec<IpNet>> {
    value.list(|item| item.net())
}

fn factor(value: Value<'_, '_>) -> Option<Factor> {
    value.decimal(FACTOR_MAX).map(Factor)
}

const NO_TIME: &str = "give a time such as 30s";

pub(super) const TIMEOUTS: [&str; 5] =
    ["connect_timeout", "first_byte_timeout", "stream_start_timeout", "idle_timeout", "total_timeout"];

/// The five timeouts, wherever they stand.
pub(super) fn timeouts(fields: &Fields<'_, '_>) -> TimeoutOverrides {
    let time = |name: &str| -> Option<Duration> { fields.read(name, |value| value.some_time(NO_TIME)) };
    TimeoutOverrides {
        connect: time(TIMEOUTS[0]),
        first_byte: time(TIMEOUTS[1]),
        stream_start: time(TIMEOUTS[2]),
        idle: time(TIMEOUTS[3]),
        total: time(TIMEOUTS[4]),
    }
}

const NO_WEIGHT: &str = "give 1 or more; to leave it out, take it from the list or set enabled: false";

fn weight(value: Value<'_, '_>) -> Option<u32> {
    value.number_u32(1..=1_000_000, NO_WEIGHT)
}

fn strategy(value: Value<'_, '_>) -> Option<Strategy> {
    value.choice(&Strategy::ALL.map(|strategy| (strategy.name(), strategy)))
}

fn operations(value: Value<'_, '_>) -> Option<Operations> {
    let mut table: Vec<(&'static str, Operations)> = vec![("all", Operations::ALL)];
    table.extend(Operation::ALL.map(|operation| (operation.name(), Operations::NONE.with(operation))));
    if value.written() == Some("all") {
        return Some(Operations::ALL);
    }
    if value.is_scalar() {
        value.fault(Wrong::Wanted { wanted: "a list such as [messages, chat], or all", found: "a single value" });
        return None;
    }
    let all = value.list(|item| item.choice(&table))?;
    let mut operations = Operations::NONE;
    for operation in Operation::ALL {
        if all.iter().any(|some| some.contains(operation)) {
            operations = operations.with(operation);
        }
    }
    Some(operations)
}

/// Endpoints as written, by dialect. `given`: the field stands there, even if it is faulty.
#[derive(Clone, Debug, Default)]
pub(super) struct WrittenEndpoints {
    pub(super) endpoints: Endpoints,
    pub(super) given: bool,
}

fn endpoints(fields: &Fields<'_, '_>) -> WrittenEndpoints {
    const SHAPE: Shape = Shape { known: &["anthropic", "openai", "gemini"], later: &[] };
    let read = |value: Value<'_, '_>| {
        let fields = value.fields(&SHAPE)?;
        let of = |dialect: Dialect| fields.read(dialect.name(), endpoint).map(Arc::new);
        Some(Endpoints { anthropic: of(Dialect::Anthropic), openai: of(Dialect::Openai), gemini: of(Dialect::Gemini) })
    };
    WrittenEndpoints { endpoints: fields.read("endpoints", read).unwrap_or_default(), given: fields.has("endpoints") }
}

fn endpoint(value: Value<'_, '_>) -> Option<Endpoint> {
    let text = value.text()?;
    address::endpoint(text.text.trim()).map_err(|hint| value.fault(Wrong::BadUrl { hint })).ok()
}

// ------------------------------------------------------------------ services

pub(super) struct Service {
    pub(super) origin: Origin,
    pub(super) id: Named,
    pub(super) endpoints: WrittenEndpoints,
    pub(super) auth: Option<Auth>,
    pub(super) prices: Option<Named>,
    pub(super) timeouts: TimeoutOverrides,
}

pub(super) const SERVICE: Shape = Shape {
    known: &["id", "endpoints", "auth", "prices", TIMEOUTS[0], TIMEOUTS[1], TIMEOUTS[2], TIMEOUTS[3], TIMEOUTS[4]],
    later: &[],
};

fn service(value: Value<'_, '_>, index: usize) -> Option<Service> {
    let fields = value.fields(&SERVICE)?;
    let id = id_of(&fields);
    let (endpoints, auth) = (endpoints(&fields), fields.read("auth", auth));
    let prices = fields.read("prices", |value| {
        let spot = value.spot();
        value.id().map(|id| Named { id, spot })
    });
    let timeouts = timeouts(&fields);
    Some(Service { origin: Origin { spot: fields.spot(), index }, id: id?, endpoints, auth, prices, timeouts })
}

fn auth(value: Value<'_, '_>) -> Option<Auth> {
    const SHAPE: Shape = Shape { known: &["header", "prefix"], later: &[] };
    const WORDS: [(&str, u8); 5] = [("bearer", 0), ("x-api-key", 1), ("x-goog-api-key", 2), ("api-key", 3), ("none", 4)];
    if value.is_scalar() {
        return value.choice(&WORDS).map(|word| match word {
            0 => Auth::Bearer,
            1 => Auth::XApiKey,
            2 => Auth::XGoogApiKey,
            3 => Auth::ApiKey,
            _ => Auth::None,
        });
    }
    let fields = value.fields(&SHAPE)?;
    let name = fields.require("header", "name the header that carries the credential", |value| {
        let text = value.string()?;
        let name = address::credential_header(text.trim());
        name.map_err(|hint| value.fault(Wrong::BadHeader { hint })).ok()
    });
    let prefix = fields.read("prefix", |value| {
        let text = value.string()?;
        if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Some(text);
        }
        value.fault(Wrong::BadHeader { hint: "a prefix is printable ASCII" });
        None
    });
    Some(Auth::Header { name: name?, prefix: prefix.unwrap_or_default() })
}

// ------------------------------------------------------------------ enterprises

pub(super) struct Enterprise {
    pub(super) origin: Origin,
    pub(super) id: Named,
    pub(super) name: Option<String>,
    pub(super) charge_factor: Option<Factor>,
    pub(super) fixed_cost: Option<Nanodollars>,
    pub(super) departments: Vec<(usize, Named)>,
    pub(super) projects: Vec<(usize, Named)>,
}

pub(super) const ENTERPRISE: Shape = Shape {
    known: &["id", "name", "charge_factor", "fixed_cost", "departments", "projects"],
    later: &[("plan", PLANS), ("user_plan", PLANS), ("quotas", QUOTAS)],
};
pub(super) const PART: Shape = Shape { known: &["id", "name"], later: &[("quotas", QUOTAS)] };

/// A thousand dollars a request are beyond any price; what is meant is a slip.
const FIXED_COST_MAX: u64 = 1_000 * Factor::SCALE;

fn enterprise(value: Value<'_, '_>, index: usize) -> Option<Enterprise> {
    let fields = value.fields(&ENTERPRISE)?;
    let id = id_of(&fields);
    let parts = |name: &str| {
        let mut index = 0;
        let read = |item: Value<'_, '_>| {
            index += 1;
            let fields = item.fields(&PART)?;
            fields.read("name", |value| value.string());
            Some((index - 1, id_of(&fields)?))
        };
        fields.read(name, |value| value.list(read)).unwrap_or_default()
    };
    Some(Enterprise {
        origin: Origin { spot: fields.spot(), index },
        name: fields.read("name", |value| value.string()),
        charge_factor: fields.read("charge_factor", factor),
        fixed_cost: fields.read("fixed_cost", |value| value.decimal(FIXED_COST_MAX).map(Nanodollars)),
        departments: parts("departments"),
        projects: parts("projects"),
        id: id?,
    })
}

// ------------------------------------------------------------------ accounts

pub(super) struct Account {
    pub(super) origin: Origin,
    pub(super) id: Named,
    pub(super) enterprise: Option<Named>,
    pub(super) service: Option<Named>,
    pub(super) key: WrittenSecret,
    pub(super) endpoints: WrittenEndpoints,
    pub(super) headers: Vec<(http::HeaderName, http::HeaderValue)>,
    pub(super) models: Option<Globs>,
    pub(super) model_map: Vec<(Glob, Arc<str>)>,
    pub(super) weight: Option<u32>,
    pub(super) max_concurrency: Option<u32>,
    pub(super) price_factor: Option<Factor>,
    pub(super) price_by: PriceBy,
    pub(super) default_model: Option<Arc<str>>,
    pub(super) exclusive: bool,
    pub(super) tls: WrittenTls,
    pub(super) proxy: Option<EgressProxy>,
    pub(super) timeouts: TimeoutOverrides,
    pub(super) enabled: bool,
}

/// A field that may hold a credential.
#[derive(Clone, Debug)]
pub(super) enum WrittenSecret {
    Absent,
    /// Faulty, and told so.
    Faulty,
    Empty(Spot),
    Given(Secret, Spot),
}

/// `tls` of an account, its file not yet read.
#[derive(Clone, Debug, Default)]
pub(super) struct WrittenTls {
    pub(super) ca: Option<(PathBuf, Spot)>,
    pub(super) sni: Option<String>,
    pub(super) verify: Option<bool>,
    pub(super) spot: Option<Spot>,
}

pub(super) const ACCOUNT: Shape = Shape {
    known: &[
        "id",
        "enterprise",
        "service",
        "key",
        "endpoints",
        "headers",
        "models",
        "model_map",
        "weight",
        "max_concurrency",
        "price_factor",
        "price_by",
        "default_model",
        "exclusive",
        "tls",
        "proxy",
        "enabled",
        TIMEOUTS[0],
        TIMEOUTS[1],
        TIMEOUTS[2],
        TIMEOUTS[3],
        TIMEOUTS[4],
    ],
    later: &[("quotas", QUOTAS), ("limits", QUOTAS), ("oauth", OAUTH)],
};

fn account(value: Value<'_, '_>, index: usize) -> Option<Account> {
    let fields = value.fields(&ACCOUNT)?;
    let id = id_of(&fields);
    let service = fields.require("service", "name its service, such as claude, openai or gemini", name_of);
    let key = match secret(fields.get("key")) {
        // Told already: what is meant stands there under another name.
        WrittenSecret::Absent if fields.has("oauth") || fields.is_misspelt("key") => WrittenSecret::Faulty,
        key => key,
    };
    Some(Account {
        origin: Origin { spot: fields.spot(), index },
        enterprise: fields.read("enterprise", name_of),
        service,
        key,
        endpoints: endpoints(&fields),
        headers: fields.read("headers", |value| value.map("a mapping such as {x-team: acme}", header)).unwrap_or_default(),
        models: fields.read("models", globs),
        model_map: fields
            .read("model_map", |value| value.map("a mapping such as {claude-*: kimi-k2}", mapping))
            .unwrap_or_default(),
        weight: fields.read("weight", weight),
        max_concurrency: fields.read("max_concurrency", |value| {
            value.number_u32(
                1..=1_000_000,
                "give 1 or more, or leave it out for no bound; to stop using the account set enabled: false",
            )
        }),
        price_factor: fields.read("price_factor", factor),
        price_by: fields
            .read("price_by", |value| value.choice(&[("answered", PriceBy::Answered), ("sent", PriceBy::Sent)]))
            .unwrap_or(PriceBy::Answered),
        default_model: fields.read("default_model", |value| value.model()),
        exclusive: fields.read("exclusive", |value| value.bool()).unwrap_or(true),
        tls: fields.read("tls", tls).unwrap_or_default(),
        proxy: fields.read("proxy", proxy),
        timeouts: timeouts(&fields),
        enabled: fields.read("enabled", |value| value.bool()).unwrap_or(true),
        id: id?,
    })
}

fn secret(value: Option<Value<'_, '_>>) -> WrittenSecret {
    let Some(value) = value else { return WrittenSecret::Absent };
    match value.secret() {
        None => WrittenSecret::Faulty,
        Some(None) => WrittenSecret::Empty(value.spot()),
        Some(Some(secret)) => WrittenSecret::Given(secret, value.spot()),
    }
}

fn header(entry: &super::yaml::Entry<'_>, value: Value<'_, '_>) -> Option<(http::HeaderName, http::HeaderValue)> {
    let name = address::added_header(&entry.name).map_err(|hint| value.fault(Wrong::BadHeader { hint })).ok();
    let text = match value.secret()? {
        Some(secret) => secret,
        None => Secret::new(String::new()),
    };
    let mut text = http::HeaderValue::from_str(text.expose()).ok()?;
    text.set_sensitive(true);
    Some((name?, text))
}

fn mapping(entry: &super::yaml::Entry<'_>, value: Value<'_, '_>) -> Option<(Glob, Arc<str>)> {
    let glob = value.reader.glob(&entry.name);
    let glob = glob
        .map_err(|wanted| value.fault(Wrong::NotThis { value: format!("{:?}", super::read::shown_name(&entry.name)), wanted }))
        .ok();
    let sent = value.model();
    Some((glob?, sent?))
}

fn tls(value: Value<'_, '_>) -> Option<WrittenTls> {
    const SHAPE: Shape = Shape { known: &["ca", "sni", "verify"], later: &[] };
    let fields = value.fields(&SHAPE)?;
    let ca = fields.read("ca", |value| value.file_path().map(|path| (path, value.spot())));
    let sni = fields.read("sni", |value| {
        let name = value.filled("name the host to ask for, or leave it out for the endpoint's own")?;
        value.parse(
            |text| if address::is_dns_name(text) { Ok(()) } else { Err("name of a host such as api.example.com".into()) },
        )?;
        Some(name.trim().to_owned())
    });
    let verify = fields.read("verify", |value| value.bool());
    Some(WrittenTls { ca, sni, verify, spot: Some(fields.spot()) })
}

fn proxy(value: Value<'_, '_>) -> Option<EgressProxy> {
    let Some(secret) = value.secret()? else {
        value.fault(Wrong::EmptyText { hint: "give http://host:port, or leave it out" });
        return None;
    };
    address::proxy(secret.expose()).map_err(|ProxyFault(hint)| value.fault(Wrong::BadUrl { hint })).ok()
}

// ------------------------------------------------------------------ pools and groups

/// An item of a pool or of a binding: an id, or `{id, weight, priority}`; a binding's pools also `{max_usage}`.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) id: Named,
    /// Where the item stands in its list, faulty ones counted.
    pub(super) index: usize,
    pub(super) weight: Option<u32>,
    pub(super) priority: u32,
    /// Millionths.
    pub(super) max_usage: Option<(u32, Spot)>,
}

const ITEM: Shape = Shape { known: &["id", "weight", "priority"], later: &[] };
const POOL_ITEM: Shape = Shape { known: &["id", "weight", "priority", "max_usage"], later: &[] };

/// Reads a list of items; the same id twice is a fault.
fn items(value: Value<'_, '_>, shape: &'static Shape) -> Option<Vec<Item>> {
    let mut index = 0;
    let mut seen: Vec<Id> = Vec::new();
    value.list(|item| {
        index += 1;
        let read = match item.is_scalar() {
            true => Item { id: name_of(item)?, index: index - 1, weight: None, priority: 1, max_usage: None },
            false => mapped_item(item, shape, index - 1)?,
        };
        if seen.contains(&read.id.id) {
            item.fault(Wrong::Repeated { name: read.id.id.to_string() });
            return None;
        }
        seen.push(read.id.id.clone());
        Some(read)
    })
}

fn mapped_item(item: Value<'_, '_>, shape: &'static Shape, index: usize) -> Option<Item> {
    let fields = item.fields(shape)?;
    let id = fields.require("id", "name what is meant", name_of);
    let weight = fields.read("weight", weight);
    let priority = fields.read("priority", |value| value.number_u32(1..=1_000, "give 1 (first) or more")).unwrap_or(1);
    let max_usage = match shape.known.contains(&"max_usage") {
        true => fields.read("max_usage", |value| value.share().map(|share| (share, value.spot()))),
        false => None,
    };
    Some(Item { id: id?, index, weight, priority, max_usage })
}

pub(super) struct Pool {
    pub(super) origin: Origin,
    pub(super) id: Named,
    pub(super) enterprise: Option<Named>,
    pub(super) strategy: Option<Strategy>,
    pub(super) accounts: Vec<Item>,
}

pub(super) const POOL: Shape = Shape { known: &["id", "enterprise", "strategy", "accounts"], later: &[] };

fn pool(value: Value<'_, '_>, index: usize) -> Option<Pool> {
    let fields = value.fields(&POOL)?;
    let id = id_of(&fields);
    Some(Pool {
        origin: Origin { spot: fields.spot(), index },
        enterprise: fields.read("enterprise", name_of),
        strategy: fields.read("strategy", strategy),
        accounts: fields.require("accounts", "list its accounts", |value| items(value, &ITEM)).unwrap_or_default(),
        id: id?,
    })
}

pub(super) struct Group {
    pub(super) origin: Origin,
    pub(super) id: Named,
    pub(super) enterprise: Option<Named>,
    pub(super) department: Option<Named>,
    pub(super) project: Option<Named>,
    pub(super) binding: Binding,
    pub(super) strategy: Option<Strategy>,
    pub(super) sticky: bool,
    pub(super) priority_level: PriorityLevel,
    pub(super) models: Option<Globs>,
    pub(super) operations: Operations,
    pub(super) wishes: Wishes,
    pub(super) model_fallbacks: Vec<(Glob, Vec<Arc<str>>)>,
    pub(super) failover: FailoverOverrides,
    pub(super) max_members: Option<(u32, Spot)>,
    pub(super) enabled: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) mode: Mode,
    pub(super) accounts: Vec<Item>,
    pub(super) pools: Vec<Item>,
}

pub(super) const GROUP: Shape = Shape {
    known: &[
        "id",
        "enterprise",
        "department",
        "project",
        "binding",
        "strategy",
        "sticky",
        "priority_level",
        "models",
        "operations",
        "wishes",
        "model_fallbacks",
        "failover",
        "max_members",
        "enabled",
    ],
    later: &[("quotas", QUOTAS), ("limits", QUOTAS), ("per_member", QUOTAS)],
};

fn group(value: Value<'_, '_>, index: usize) -> Option<Group> {
    let fields = value.fields(&GROUP)?;
    let id = id_of(&fields);
    let binding = fields.require("binding", "bind accounts or pools: binding: {accounts: [claude-1]}", binding);
    Some(Group {
        origin: Origin { spot: fields.spot(), index },
        enterprise: fields.read("enterprise", name_of),
        department: fields.read("department", name_of),
        project: fields.read("project", name_of),
        binding: binding.unwrap_or(Binding { mode: Mode::Dedicated, accounts: Vec::new(), pools: Vec::new() }),
        strategy: fields.read("strategy", strategy),
        sticky: fields.read("sticky", |value| value.bool()).unwrap_or(true),
        priority_level: fields.read("priority_level", priority_level).unwrap_or(PriorityLevel::Medium),
        models: fields.read("models", globs),
        operations: fields.read("operations", operations).unwrap_or(Operations::DEFAULT),
        wishes: fields.read("wishes", wishes).unwrap_or(Wishes { service: true, strategy: true, tag: true }),
        model_fallbacks: fields
            .read("model_fallbacks", |value| value.map("a mapping such as {claude-opus-*: [claude-sonnet-4-5]}", fallback))
            .unwrap_or_default(),
        failover: fields.read("failover", failover).unwrap_or_default(),
        max_members: fields.read("max_members", |value| {
            let most = value.number_u32(
                1..=10_000_000,
                "give 1 or more, or leave it out for no bound; to close the group set enabled: false",
            )?;
            Some((most, value.spot()))
        }),
        enabled: fields.read("enabled", |value| value.bool()).unwrap_or(true),
        id: id?,
    })
}

fn priority_level(value: Value<'_, '_>) -> Option<PriorityLevel> {
    value.choice(&[("high", PriorityLevel::High), ("medium", PriorityLevel::Medium), ("low", PriorityLevel::Low)])
}

fn binding(value: Value<'_, '_>) -> Option<Binding> {
    const SHAPE: Shape = Shape { known: &["mode", "accounts", "pools"], later: &[] };
    let fields = value.fields(&SHAPE)?;
    let (has_accounts, has_pools) = (fields.has("accounts"), fields.has("pools"));
    let accounts = fields.read("accounts", |value| items(value, &ITEM)).unwrap_or_default();
    let pools = fields.read("pools", |value| items(value, &POOL_ITEM)).unwrap_or_default();
    let meant = match (has_accounts, has_pools) {
        (true, true) => Mode::Hybrid,
        (false, true) => Mode::Shared,
        (true, false) => Mode::Dedicated,
        (false, false) => {
            value.fault(Wrong::Other { what: "binds nothing", hint: "list accounts, pools or both ([] for none)" });
            Mode::Dedicated
        }
    };
    let mode = fields.read("mode", |value| {
        let mode = value.choice(&[("dedicated", Mode::Dedicated), ("shared", Mode::Shared), ("hybrid", Mode::Hybrid)])?;
        let wrong = |mode, hint| value.fault(Wrong::ModeWants { mode, hint });
        match mode {
            Mode::Dedicated if has_pools => wrong("dedicated", "it has accounts only: take the pools out, or write hybrid"),
            Mode::Shared if has_accounts => wrong("shared", "it has pools only: take the accounts out, or write hybrid"),
            Mode::Hybrid if !has_accounts => wrong("hybrid", "it wants accounts and pools: add accounts, or write shared"),
            Mode::Hybrid if !has_pools => wrong("hybrid", "it wants accounts and pools: add pools, or write dedicated"),
            Mode::Dedicated if !has_accounts => wrong("dedicated", "it wants accounts: add them, or write shared"),
            Mode::Shared if !has_pools => wrong("shared", "it wants pools: add them, or write dedicated"),
            Mode::Dedicated | Mode::Shared | Mode::Hybrid => {}
        }
        Some(mode)
    });
    Some(Binding { mode: mode.unwrap_or(meant), accounts, pools })
}

fn wishes(value: Value<'_, '_>) -> Option<Wishes> {
    let all = value.list(|item| item.choice(&[("service", 0), ("strategy", 1), ("tag", 2)]))?;
    Some(Wishes { service: all.contains(&0), strategy: all.contains(&1), tag: all.contains(&2) })
}

fn fallback(entry: &super::yaml::Entry<'_>, value: Value<'_, '_>) -> Option<(Glob, Vec<Arc<str>>)> {
    let glob = value.reader.glob(&entry.name);
    let glob = glob
        .map_err(|wanted| value.fault(Wrong::NotThis { value: format!("{:?}", super::read::shown_name(&entry.name)), wanted }))
        .ok();
    let models = value.list(|item| item.model());
    Some((glob?, models?))
}

/// `failover`, at the top or at a group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FailoverOverrides {
    pub(super) max_attempts: Option<u32>,
    pub(super) deadline: Option<Duration>,
    pub(super) timeouts: TimeoutOverrides,
}

pub(super) const FAILOVER: Shape =
    Shape { known: &["max_attempts", TIMEOUTS[0], TIMEOUTS[1], TIMEOUTS[2], TIMEOUTS[3], "deadline", TIMEOUTS[4]], later: &[] };

pub(super) fn failover(value: Value<'_, '_>) -> Option<FailoverOverrides> {
    let fields = value.fields(&FAILOVER)?;
    Some(FailoverOverrides {
        max_attempts: fields.read("max_attempts", |value| value.number_u32(1..=100, "give 1 for no failover, or more")),
        deadline: fields.read("deadline", |value| value.some_time(NO_TIME)),
        timeouts: timeouts(&fields),
    })
}

// ------------------------------------------------------------------ users and keys

pub(super) struct User {
    pub(super) origin: Origin,
    pub(super) id: Named,
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
    pub(super) groups: Vec<(usize, Named)>,
    pub(super) role: Role,
    pub(super) enabled: bool,
    pub(super) preference: Vec<(usize, Named)>,
    pub(super) own_keys: Vec<(Named, WrittenSecret)>,
}

pub(super) const USER: Shape = Shape {
    known: &["id", "name", "email", "groups", "role", "enabled", "preference", "own_keys"],
    later: &[("plan", PLANS), ("quotas", QUOTAS)],
};

fn user(value: Value<'_, '_>, index: usize) -> Option<User> {
    let fields = value.fields(&USER)?;
    let id = id_of(&fields);
    let groups = fields.require("groups", "list the groups that the user belongs to ([] for none)", numbered);
    Some(User {
        origin: Origin { spot: fields.spot(), index },
        name: fields.read("name", |value| value.string()),
        email: fields.read("email", |value| value.string()),
        groups: groups.unwrap_or_default(),
        role: fields
            .read("role", |value| {
                value.choice(&[
                    ("member", Role::Member),
                    ("group_admin", Role::GroupAdmin),
                    ("enterprise_admin", Role::EnterpriseAdmin),
                ])
            })
            .unwrap_or(Role::Member),
        enabled: fields.read("enabled", |value| value.bool()).unwrap_or(true),
        preference: fields.read("preference", numbered).unwrap_or_default(),
        own_keys: fields
            .read("own_keys", |value| value.map("a mapping such as {claude: {file: secrets/alice}}", own_key))
            .unwrap_or_default(),
        id: id?,
    })
}

/// Names with their place in the list; the same name twice is a fault.
fn numbered(value: Value<'_, '_>) -> Option<Vec<(usize, Named)>> {
    let mut index = 0;
    let mut seen: Vec<Id> = Vec::new();
    value.list(|item| {
        index += 1;
        let name = name_of(item)?;
        if seen.contains(&name.id) {
            item.fault(Wrong::Repeated { name: name.id.to_string() });
            return None;
        }
        seen.push(name.id.clone());
        Some((index - 1, name))
    })
}

fn own_key(entry: &super::yaml::Entry<'_>, value: Value<'_, '_>) -> Option<(Named, WrittenSecret)> {
    let service = Named { id: Id::new(&*entry.name), spot: value.spot() };
    let secret = secret(Some(value));
    if let WrittenSecret::Empty(_) = secret {
        value.fault(Wrong::EmptyText { hint: "give the user's own credential, or leave it out" });
    }
    Some((service, secret))
}

pub(super) struct Key {
    pub(super) origin: Origin,
    /// SHA-256 of the whole key; `None` where it is missing or faulty.
    pub(super) hash: Option<([u8; 32], Spot)>,
    pub(super) group: Option<Named>,
    pub(super) user: Option<Named>,
    pub(super) name: Option<String>,
    pub(super) services: Option<Vec<(usize, Named)>>,
    pub(super) models: Option<Globs>,
    pub(super) operations: Option<Operations>,
    pub(super) expires: Option<(String, Spot)>,
    pub(super) allow_from: Option<Vec<IpNet>>,
    pub(super) enabled: bool,
    /// Group and user stand within the key itself, so that faults about them are faults of `key`.
    pub(super) in_key: bool,
}

pub(super) const KEY: Shape = Shape {
    known: &["key", "hash", "group", "user", "name", "services", "models", "operations", "expires", "allow_from", "enabled"],
    later: &[("quotas", QUOTAS), ("limits", QUOTAS)],
};

fn key(value: Value<'_, '_>, index: usize) -> Option<Key> {
    let fields = value.fields(&KEY)?;
    let in_key = fields.has("key");
    let (hash, group, user) = match in_key {
        true => plain_key(&fields),
        false => hashed_key(&fields),
    };
    Some(Key {
        origin: Origin { spot: fields.spot(), index },
        hash,
        group,
        user,
        name: fields.read("name", |value| value.filled("name the key, or leave it out")),
        services: fields.read("services", numbered),
        models: fields.read("models", globs),
        operations: fields.read("operations", operations),
        expires: fields.read("expires", |value| value.string().map(|text| (text, value.spot()))),
        allow_from: fields.read("allow_from", nets),
        enabled: fields.read("enabled", |value| value.bool()).unwrap_or(true),
        in_key,
    })
}

type WhoseKey = (Option<([u8; 32], Spot)>, Option<Named>, Option<Named>);

/// `key: aicp_<group>_<user>_<random>`: it names its group and user itself; where they are given too, they must agree.
fn plain_key(fields: &Fields<'_, '_>) -> WhoseKey {
    const NONE: WhoseKey = (None, None, None);
    if fields.has("hash") {
        fields.fault_at("hash", Wrong::Other { what: "stands beside key", hint: "give either the key or its hash" });
    }
    let Some(value) = fields.get("key") else { return NONE };
    let spot = value.spot();
    let Some(secret) = value.secret() else { return NONE };
    let Some((group, user)) = secret.as_ref().and_then(|secret| parts_of_key(secret.expose())) else {
        value.fault(Wrong::KeyMalformed);
        return NONE;
    };
    for (name, meant) in [("group", &group), ("user", &user)] {
        let given = fields.read(name, name_of);
        if given.is_some_and(|given| given.id != *meant) {
            fields
                .fault_at(name, Wrong::Other { what: "differs from what the key says", hint: "leave it out: the key names it" });
        }
    }
    let hash = secret.map(|secret| (sha256(secret.expose()), spot));
    (hash, Some(Named { id: group, spot }), Some(Named { id: user, spot }))
}

/// `{hash: "sha256:…", group, user}`.
fn hashed_key(fields: &Fields<'_, '_>) -> WhoseKey {
    let hash = fields.require("hash", "give key: aicp_…, or hash, group and user (printed by `aicarpool key new`)", |value| {
        let hash = value.parse(|text| {
            let hex = text.strip_prefix("sha256:").unwrap_or("");
            bytes_of_hex(hex).ok_or_else(|| "hash; write sha256: and 64 hex digits, as `aicarpool key hash` prints them".into())
        })?;
        Some((hash, value.spot()))
    });
    let group = fields.require("group", "name the group that the key belongs to", name_of);
    let user = fields.require("user", "name the user that the key belongs to", name_of);
    (hash, group, user)
}

/// Group and user of a key of the form of design section 4.
fn parts_of_key(key: &str) -> Option<(Id, Id)> {
    let mut parts = key.strip_prefix("aicp_")?.split('_');
    let (group, user, random) = (parts.next()?, parts.next()?, parts.next()?);
    let random_fine = (16..=64).contains(&random.len()) && random.bytes().all(|b| b.is_ascii_alphanumeric());
    let fine = parts.next().is_none() && Id::is_valid(group) && Id::is_valid(user) && random_fine;
    fine.then(|| (Id::from(group), Id::from(user)))
}

pub(super) fn sha256(text: &str) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(text.as_bytes()).into()
}

fn bytes_of_hex(hex: &str) -> Option<[u8; 32]> {
    let digit = |b: u8| (b as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut bytes = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
