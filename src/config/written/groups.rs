//! Pools, groups and their bindings as they are written.

use std::sync::Arc;
use std::time::Duration;

use super::{NO_TIME, Named, Origin, QUOTAS, TIMEOUTS, globs, id_of, name_of, operations, strategy, timeouts, weight};
use crate::config::fault::Wrong;
use crate::config::read::{self, Shape, Spot, Value};
use crate::config::snapshot::{Glob, Globs, Mode, PriorityLevel, Strategy, TimeoutOverrides, Wishes};
use crate::config::yaml::Entry;
use crate::words::{Id, Operations};

/// An item of a pool or of a binding: an id, or `{id, weight, priority}`; a binding's pools also `{max_usage}`.
#[derive(Clone, Debug)]
pub(in crate::config) struct Item {
    pub(in crate::config) id: Named,
    /// Where the item stands in its list, faulty ones counted.
    pub(in crate::config) index: usize,
    pub(in crate::config) weight: Option<u32>,
    pub(in crate::config) priority: u32,
    /// Millionths.
    pub(in crate::config) max_usage: Option<(u32, Spot)>,
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
            item.fault(Wrong::Repeated { name: read.id.shown() });
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

pub(in crate::config) struct Pool {
    pub(in crate::config) origin: Origin,
    pub(in crate::config) id: Named,
    pub(in crate::config) enterprise: Option<Named>,
    pub(in crate::config) strategy: Option<Strategy>,
    pub(in crate::config) accounts: Vec<Item>,
}

pub(in crate::config) const POOL: Shape = Shape { known: &["id", "enterprise", "strategy", "accounts"], later: &[] };

pub(super) fn pool(value: Value<'_, '_>, index: usize) -> Option<Pool> {
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

pub(in crate::config) struct Group {
    pub(in crate::config) origin: Origin,
    pub(in crate::config) id: Named,
    pub(in crate::config) enterprise: Option<Named>,
    pub(in crate::config) department: Option<Named>,
    pub(in crate::config) project: Option<Named>,
    pub(in crate::config) binding: Binding,
    pub(in crate::config) strategy: Option<Strategy>,
    pub(in crate::config) sticky: bool,
    pub(in crate::config) priority_level: PriorityLevel,
    pub(in crate::config) models: Option<Globs>,
    pub(in crate::config) operations: Operations,
    pub(in crate::config) wishes: Wishes,
    pub(in crate::config) model_fallbacks: Vec<(Glob, Vec<Arc<str>>)>,
    pub(in crate::config) failover: FailoverOverrides,
    pub(in crate::config) max_members: Option<(u32, Spot)>,
    pub(in crate::config) enabled: bool,
}

#[derive(Clone, Debug)]
pub(in crate::config) struct Binding {
    pub(in crate::config) mode: Mode,
    pub(in crate::config) accounts: Vec<Item>,
    pub(in crate::config) pools: Vec<Item>,
}

pub(in crate::config) const GROUP: Shape = Shape {
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

pub(super) fn group(value: Value<'_, '_>, index: usize) -> Option<Group> {
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
    let accounts = fields.read("accounts", |value| items(value, &ITEM)).unwrap_or_default();
    let pools = fields.read("pools", |value| items(value, &POOL_ITEM)).unwrap_or_default();
    // Faulty items count: what is meant is clear.
    let (some_accounts, some_pools) = (fields.holds_some("accounts"), fields.holds_some("pools"));
    let meant = match (some_accounts, some_pools) {
        (true, true) => Mode::Hybrid,
        (false, true) => Mode::Shared,
        (true, false) => Mode::Dedicated,
        (false, false) if fields.has("accounts") => Mode::Dedicated,
        (false, false) if fields.has("pools") => Mode::Shared,
        (false, false) => {
            value.fault(Wrong::Other { what: "binds nothing", hint: "list accounts, pools or both ([] for none)" });
            Mode::Dedicated
        }
    };
    let mode = fields.read("mode", |value| {
        let mode = value.choice(&[("dedicated", Mode::Dedicated), ("shared", Mode::Shared), ("hybrid", Mode::Hybrid)])?;
        let wrong = |mode, hint| value.fault(Wrong::ModeWants { mode, hint });
        match mode {
            Mode::Dedicated if some_pools => wrong("dedicated", "it has accounts only: take the pools out, or write hybrid"),
            Mode::Shared if some_accounts => wrong("shared", "it has pools only: take the accounts out, or write hybrid"),
            Mode::Hybrid if !fields.has("accounts") => {
                wrong("hybrid", "it wants accounts and pools: add accounts, or write shared")
            }
            Mode::Hybrid if !fields.has("pools") => wrong("hybrid", "it wants accounts and pools: add pools, or write dedicated"),
            Mode::Dedicated if !fields.has("accounts") => wrong("dedicated", "it wants accounts: add them, or write shared"),
            Mode::Shared if !fields.has("pools") => wrong("shared", "it wants pools: add them, or write dedicated"),
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

fn fallback(entry: &Entry<'_>, value: Value<'_, '_>) -> Option<(Glob, Vec<Arc<str>>)> {
    let glob = value.reader.glob(&entry.name);
    let glob =
        glob.map_err(|wanted| value.fault(Wrong::NotThis { value: format!("{:?}", read::shown_name(&entry.name)), wanted })).ok();
    let models = value.list(|item| item.model());
    Some((glob?, models?))
}

/// `failover`, at the top or at a group.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::config) struct FailoverOverrides {
    pub(in crate::config) max_attempts: Option<u32>,
    pub(in crate::config) deadline: Option<Duration>,
    pub(in crate::config) timeouts: TimeoutOverrides,
}

pub(in crate::config) const FAILOVER: Shape =
    Shape { known: &["max_attempts", TIMEOUTS[0], TIMEOUTS[1], TIMEOUTS[2], TIMEOUTS[3], "deadline", TIMEOUTS[4]], later: &[] };

pub(in crate::config) fn failover(value: Value<'_, '_>) -> Option<FailoverOverrides> {
    let fields = value.fields(&FAILOVER)?;
    Some(FailoverOverrides {
        max_attempts: fields.read("max_attempts", |value| value.number_u32(1..=100, "give 1 for no failover, or more")),
        deadline: fields.read("deadline", |value| value.some_time(NO_TIME)),
        timeouts: timeouts(&fields),
    })
}
