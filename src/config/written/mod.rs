//! The entities as they are written: each field read and checked by itself, references still by name and line. What the names refer
//! to is the work of `check`.

mod accounts;
mod groups;
mod people;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::address;
use super::fault::Wrong;
use super::read::{self, Fields, Shape, Spot, Value};
use super::snapshot::{Endpoint, Endpoints, Globs, Strategy, TimeoutOverrides};
use crate::words::{Dialect, Factor, Id, Nanodollars, Operation, Operations};

use accounts::secret;
#[cfg(test)]
pub(super) use accounts::{ACCOUNT, SERVICE};
pub(super) use accounts::{Account, Service, WrittenSecret, WrittenTls};
#[cfg(test)]
pub(super) use groups::{FAILOVER, GROUP, POOL};
pub(super) use groups::{FailoverOverrides, Group, Item, Pool, failover};
#[cfg(test)]
pub(super) use people::{KEY, USER};
pub(super) use people::{Key, User, sha256};

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

/// A name and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) id: Id,
    pub(super) spot: Spot,
    /// As written, where a variable stands in it: what that holds may be a secret in the wrong place.
    written: Option<Box<str>>,
}

impl Named {
    pub(super) fn new(id: Id, spot: Spot) -> Named {
        Named { id, spot, written: None }
    }

    fn of(id: Id, value: Value<'_, '_>) -> Named {
        let written = value.written().filter(|written| written.contains("${")).map(Box::from);
        Named { id, spot: value.spot(), written }
    }

    /// What a fault may quote.
    pub(super) fn shown(&self) -> String {
        read::shown_name(self.written.as_deref().unwrap_or(self.id.as_str())).into_owned()
    }
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
        each(fields, "services", &mut self.services, accounts::service);
        each(fields, "enterprises", &mut self.enterprises, enterprise);
        each(fields, "accounts", &mut self.accounts, accounts::account);
        each(fields, "pools", &mut self.pools, groups::pool);
        each(fields, "groups", &mut self.groups, groups::group);
        each(fields, "users", &mut self.users, people::user);
        each(fields, "keys", &mut self.keys, people::key);
    }
}

// ------------------------------------------------------------------ what several entities have

/// The id of an entity. One with a wrong form is told of and still stands, so that references to it are no second fault.
fn id_of(fields: &Fields<'_, '_>) -> Option<Named> {
    fields.require("id", "give it an id, unique among its kind", |value| {
        value.id().map(|id| Named::of(id, value)).or_else(|| {
            let text = if value.is_scalar() && !value.node.is_nothing() { value.written() } else { None };
            text.map(|text| Named::of(Id::new(text), value))
        })
    })
}

fn name_of(value: Value<'_, '_>) -> Option<Named> {
    value.filled("name one").map(|text| Named::of(Id::new(text), value))
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
