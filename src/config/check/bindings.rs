//! Groups and what they are bound to: the tiers of the design's section 5.
//!
//! A tier holds what stands equal: the dedicated accounts of one priority, then (hybrid) the pools of one priority. Within a tier the
//! group's strategy orders, else the pools' one, which must then be the same for all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::accounts::Accounts;
use super::{Known, Taken, at, enterprise_of, take_id, unknown};
use crate::config::fault::Wrong;
use crate::config::read::Reader;
use crate::config::snapshot::{Account, Enterprise, Failover, Group, Member, Source, Strategy, Tier};
use crate::config::written::{self, Item, Named, Written};
use crate::words::Id;

/// The groups: all that may be referred to, and those that are whole.
pub(super) struct Groups {
    pub(super) known: HashMap<Id, Option<Id>>,
    pub(super) built: HashMap<Id, Arc<Group>>,
}

/// A pool, its accounts looked up.
struct Pool {
    strategy: Strategy,
    members: Vec<(Arc<Account>, u32, u32)>,
}

type Pools = HashMap<Id, Known<Pool>>;

pub(super) fn groups(
    reader: &Reader<'_>,
    written: &Written,
    accounts: &Accounts,
    enterprises: &HashMap<Id, Arc<Enterprise>>,
    failover: Failover,
) -> Groups {
    let pools = pools(reader, &written.pools, accounts, enterprises);
    let users_of = check_exclusive(reader, written, accounts);
    let mut groups = Groups { known: HashMap::new(), built: HashMap::new() };
    let mut taken = Taken::new(reader);
    for one in &written.groups {
        if !take_id(&mut taken, "groups", one.origin, &one.id) {
            continue;
        }
        let enterprise = enterprise_of(reader, one.enterprise.as_ref(), enterprises, "groups", one.origin);
        groups.known.insert(one.id.id.clone(), enterprise.as_ref().map(|enterprise| enterprise.id.clone()));
        let Some(enterprise) = enterprise else { continue };
        let group = Group {
            department: part(reader, one, one.department.as_ref(), "department", &enterprise, &enterprise.departments),
            project: part(reader, one, one.project.as_ref(), "project", &enterprise, &enterprise.projects),
            tiers: Binding { reader, one, enterprise: &enterprise.id, bound_by: &users_of }.tiers(accounts, &pools),
            id: one.id.id.clone(),
            enterprise,
            mode: one.binding.mode,
            strategy: one.strategy,
            sticky: one.sticky,
            priority_level: one.priority_level,
            models: one.models.clone(),
            operations: one.operations,
            wishes: one.wishes,
            model_fallbacks: one.model_fallbacks.clone(),
            failover: one.failover.over(failover),
            max_members: one.max_members.map(|(most, _)| most),
            enabled: one.enabled,
        };
        groups.built.insert(group.id.clone(), Arc::new(group));
    }
    groups
}

/// The department or project of a group, which its enterprise must have.
fn part(
    reader: &Reader<'_>,
    one: &written::Group,
    named: Option<&Named>,
    kind: &'static str,
    enterprise: &Enterprise,
    parts: &[Id],
) -> Option<Id> {
    let named = named?;
    if !parts.contains(&named.id) {
        unknown(reader, named, at("groups", one.origin, kind), kind, Some(&enterprise.id), parts.iter().map(Id::as_str));
    }
    Some(named.id.clone())
}

fn pools(
    reader: &Reader<'_>,
    written: &[written::Pool],
    accounts: &Accounts,
    enterprises: &HashMap<Id, Arc<Enterprise>>,
) -> Pools {
    let mut all = HashMap::new();
    let mut taken = Taken::new(reader);
    for one in written {
        if !take_id(&mut taken, "pools", one.origin, &one.id) {
            continue;
        }
        let enterprise =
            enterprise_of(reader, one.enterprise.as_ref(), enterprises, "pools", one.origin).map(|found| found.id.clone());
        let member = |item: &Item| {
            let path = at("pools", one.origin, format_args!("accounts[{}]", item.index));
            let known = referred(reader, "account", &item.id, path, enterprise.as_ref(), accounts)?;
            let account = known.built.as_ref()?;
            Some((Arc::clone(account), item.weight.unwrap_or(account.weight), item.priority))
        };
        let members = one.accounts.iter().filter_map(member).collect();
        let built = Some(Pool { strategy: one.strategy.unwrap_or(Strategy::Weighted), members });
        all.insert(one.id.id.clone(), Known { enterprise, built });
    }
    all
}

/// What an item of a pool or binding refers to: it must be there, and of the same enterprise.
fn referred<'k, T>(
    reader: &Reader<'_>,
    kind: &'static str,
    named: &Named,
    path: String,
    enterprise: Option<&Id>,
    all: &'k HashMap<Id, Known<T>>,
) -> Option<&'k Known<T>> {
    let Some(known) = all.get(&named.id) else {
        let fits = |known: &Known<T>| enterprise.is_none() || known.enterprise.as_ref() == enterprise;
        let candidates = all.iter().filter(|(_, known)| fits(known)).map(|(id, _)| id.as_str());
        unknown(reader, named, path, kind, enterprise, candidates);
        return None;
    };
    if let (Some(theirs), Some(wanted)) = (&known.enterprise, enterprise)
        && theirs != wanted
    {
        let (name, enterprise) = (named.id.to_string(), theirs.to_string());
        reader.fault(named.spot, path, Wrong::Elsewhere { kind, name, enterprise, wanted: wanted.to_string() });
        return None;
    }
    Some(known)
}

/// By account: how many groups reach it, directly or by a pool.
type BoundBy = HashMap<Id, usize>;

/// An account that is bound directly stands nowhere else, unless it says `exclusive: false`.
fn check_exclusive(reader: &Reader<'_>, written: &Written, accounts: &Accounts) -> BoundBy {
    let mut in_pools: HashMap<&Id, Vec<&Id>> = HashMap::new();
    for pool in &written.pools {
        pool.accounts.iter().for_each(|item| in_pools.entry(&item.id.id).or_default().push(&pool.id.id));
    }
    let accounts_of: HashMap<&Id, Vec<&Id>> =
        written.pools.iter().map(|pool| (&pool.id.id, pool.accounts.iter().map(|item| &item.id.id).collect())).collect();
    let mut bound: HashMap<&Id, &Id> = HashMap::new();
    let mut bound_by = BoundBy::new();
    for group in &written.groups {
        let mut reached: Vec<&Id> = group.binding.accounts.iter().map(|item| &item.id.id).collect();
        reached.extend(group.binding.pools.iter().filter_map(|item| accounts_of.get(&item.id.id)).flatten());
        reached.sort_unstable();
        reached.dedup();
        reached.into_iter().for_each(|id| *bound_by.entry(id.clone()).or_default() += 1);
        for item in &group.binding.accounts {
            let id = &item.id.id;
            let first = *bound.entry(id).or_insert(&group.id.id);
            let exclusive = accounts.get(id).and_then(|known| known.built.as_ref()).is_some_and(|account| account.exclusive);
            let other = match (first == &group.id.id, in_pools.get(id)) {
                _ if !exclusive => continue,
                (false, _) => format!("group {first:?}"),
                (true, Some(pools)) => format!("pool {:?}", pools[0]),
                (true, None) => continue,
            };
            let path = at("groups", group.origin, format_args!("binding.accounts[{}]", item.index));
            reader.fault(item.id.spot, path, Wrong::Exclusive { account: id.to_string(), other });
        }
    }
    bound_by
}

/// One group's binding, being made into tiers.
struct Binding<'b> {
    reader: &'b Reader<'b>,
    one: &'b written::Group,
    enterprise: &'b Id,
    bound_by: &'b BoundBy,
}

impl Binding<'_> {
    fn tiers(&self, accounts: &Accounts, pools: &Pools) -> Vec<Tier> {
        let mut tiers = self.dedicated(accounts);
        tiers.extend(self.pooled(pools));
        tiers
    }

    fn member(&self, account: &Arc<Account>, weight: u32, priority: u32, pool: Option<&Id>, max_usage: Option<u32>) -> Member {
        let sole = self.bound_by.get(&account.id).is_none_or(|groups| *groups <= 1);
        Member { account: Arc::clone(account), weight, priority, pool: pool.cloned(), max_usage, sole }
    }

    fn dedicated(&self, accounts: &Accounts) -> Vec<Tier> {
        let mut by_priority: BTreeMap<u32, Vec<Member>> = BTreeMap::new();
        for item in &self.one.binding.accounts {
            let path = at("groups", self.one.origin, format_args!("binding.accounts[{}]", item.index));
            let known = referred(self.reader, "account", &item.id, path, Some(self.enterprise), accounts);
            if let Some(account) = known.and_then(|known| known.built.as_ref()) {
                let member = self.member(account, item.weight.unwrap_or(account.weight), item.priority, None, None);
                by_priority.entry(item.priority).or_default().push(member);
            }
        }
        let strategy = self.one.strategy.unwrap_or(Strategy::Weighted);
        by_priority
            .into_iter()
            .map(|(priority, members)| Tier { source: Source::Dedicated, priority, strategy, members })
            .collect()
    }

    fn pooled(&self, pools: &Pools) -> Vec<Tier> {
        let mut by_priority: BTreeMap<u32, Vec<(&Item, &Pool)>> = BTreeMap::new();
        for item in &self.one.binding.pools {
            let path = at("groups", self.one.origin, format_args!("binding.pools[{}]", item.index));
            let known = referred(self.reader, "pool", &item.id, path, Some(self.enterprise), pools);
            if let Some(pool) = known.and_then(|known| known.built.as_ref()) {
                self.note_usage(item, pool);
                by_priority.entry(item.priority).or_default().push((item, pool));
            }
        }
        by_priority.into_iter().filter_map(|(priority, pools)| self.pool_tier(priority, &pools)).collect()
    }

    /// The pools of one priority as one tier; an account that stands in several counts where it comes first.
    fn pool_tier(&self, priority: u32, pools: &[(&Item, &Pool)]) -> Option<Tier> {
        let (first_item, first) = pools.first()?;
        if self.one.strategy.is_none()
            && let Some((item, other)) = pools.iter().find(|(_, pool)| pool.strategy != first.strategy)
        {
            let path = at("groups", self.one.origin, format_args!("binding.pools[{}]", item.index));
            let named = |item: &Item, pool: &Pool| format!("{:?} ({})", item.id.id, pool.strategy.name());
            let pools = format!("pools {} and {}", named(first_item, first), named(item, other));
            self.reader.fault(item.id.spot, path, Wrong::StrategiesDiffer { pools });
        }
        let mut members: Vec<Member> = Vec::new();
        for (item, pool) in pools {
            for (account, weight, priority) in &pool.members {
                if members.iter().any(|member| member.account.id == account.id) {
                    continue;
                }
                // A pool's weight shares among the pools of its tier: it multiplies the weights within.
                let weight = weight.saturating_mul(item.weight.unwrap_or(1));
                members.push(self.member(account, weight, *priority, Some(&item.id.id), item.max_usage.map(|(share, _)| share)));
            }
        }
        let strategy = self.one.strategy.unwrap_or(first.strategy);
        (!members.is_empty()).then_some(Tier { source: Source::Pools, priority, strategy, members })
    }

    /// `max_usage` counts concurrency, so without `max_concurrency` it says nothing.
    fn note_usage(&self, item: &Item, pool: &Pool) {
        if let Some((_, spot)) = item.max_usage
            && pool.members.iter().all(|(account, ..)| account.max_concurrency.is_none())
        {
            let (place, path) =
                (self.reader.place(spot), at("groups", self.one.origin, format_args!("binding.pools[{}]", item.index)));
            self.reader.note(format!(
                "{place}: {path}.max_usage: has no effect: no account of pool {:?} has a max_concurrency",
                item.id.id
            ));
        }
    }
}
