//! Users and keys: whose groups, which services, until when; and the rule for the demo key that everybody knows.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::bindings::Groups;
use super::{DEFAULT_ENTERPRISE, Taken, accounts, at, take_id, unknown};
use crate::config::fault::Wrong;
use crate::config::read::{Reader, Spot};
use crate::config::settings;
use crate::config::snapshot::{Account, Auth, Group, Key, Service, User};
use crate::config::written::{self, Named, WrittenSecret, sha256};
use crate::live::Lives;
use crate::words::{Dialect, Id, UnixMs};

/// The key of the committed configuration.
const DEMO_KEY: &str = "aicp_demo_you_00000000000000000000000000000000";

type Services = HashMap<Id, Arc<Service>>;
type Users = HashMap<Id, Arc<User>>;

pub(super) fn users(
    reader: &Reader<'_>,
    written: &[written::User],
    groups: &Groups,
    services: &Services,
    lives: &Lives,
) -> Users {
    let mut all = HashMap::with_capacity(written.len());
    let mut taken = Taken::new(reader);
    for one in written {
        if !take_id(&mut taken, "users", one.origin, &one.id) {
            continue;
        }
        let enterprise = check_groups(reader, one, groups);
        let own_keys = own_keys(reader, one, &enterprise, services, lives);
        let user = User {
            id: one.id.id.clone(),
            name: one.name.clone().unwrap_or_else(|| one.id.id.to_string()),
            email: one.email.clone(),
            groups: one.groups.iter().map(|(_, named)| named.id.clone()).collect(),
            role: one.role,
            enabled: one.enabled,
            preference: service_list(reader, &one.preference, services, "users", one.origin, "preference"),
            own_keys,
        };
        all.insert(user.id.clone(), Arc::new(user));
    }
    all
}

/// Each group must be there, and all of them in one enterprise, which comes back.
fn check_groups(reader: &Reader<'_>, one: &written::User, groups: &Groups) -> Id {
    let mut enterprise: Option<Id> = None;
    for (index, named) in &one.groups {
        let path = || at("users", one.origin, format_args!("groups[{index}]"));
        let Some(theirs) = groups.known.get(&named.id) else {
            unknown(reader, named, path(), "group", None, groups.known.keys().map(Id::as_str));
            continue;
        };
        let Some(theirs) = theirs else { continue };
        match &enterprise {
            None => enterprise = Some(theirs.clone()),
            Some(wanted) if wanted != theirs => {
                let (name, enterprise) = (named.id.to_string(), theirs.to_string());
                reader.fault(
                    named.spot,
                    path(),
                    Wrong::Elsewhere { kind: "group", name, enterprise, wanted: wanted.to_string() },
                );
            }
            Some(_) => {}
        }
    }
    enterprise.unwrap_or_else(|| Id::from(DEFAULT_ENTERPRISE))
}

fn own_keys(reader: &Reader<'_>, one: &written::User, enterprise: &Id, services: &Services, lives: &Lives) -> Vec<Arc<Account>> {
    let mut all = Vec::new();
    for (named, secret) in &one.own_keys {
        let path = || at("users", one.origin, format_args!("own_keys.{}", crate::config::read::shown_name(named.id.as_str())));
        let Some(service) = services.get(&named.id) else {
            unknown(reader, named, path(), "service", None, services.keys().map(Id::as_str));
            continue;
        };
        if service.demo || service.auth == Some(Auth::None) {
            reader.fault(named.spot, path(), Wrong::NoFreeAuth);
            continue;
        }
        if Dialect::ALL.into_iter().all(|dialect| service.endpoints.get(dialect).is_none()) {
            let hint = "give it endpoints under services, or leave the key out";
            reader.fault(named.spot, path(), Wrong::Other { what: "the service has no address of its own", hint });
            continue;
        }
        if let WrittenSecret::Given(secret, _) = secret {
            let id = Id::new(format!("own/{}/{}", one.id.id, service.id));
            all.push(Arc::new(accounts::own_account(id, enterprise.clone(), service, secret.clone(), lives)));
        }
    }
    all
}

/// Names of services, each of which must be there.
fn service_list(
    reader: &Reader<'_>,
    written: &[(usize, Named)],
    services: &Services,
    section: &'static str,
    origin: written::Origin,
    field: &str,
) -> Vec<Id> {
    for (index, named) in written {
        if !services.contains_key(&named.id) {
            let path = at(section, origin, format_args!("{field}[{index}]"));
            unknown(reader, named, path, "service", None, services.keys().map(Id::as_str));
        }
    }
    written.iter().map(|(_, named)| named.id.clone()).collect()
}

/// No group has more members than it may.
pub(super) fn check_members(reader: &Reader<'_>, groups: &[written::Group], users: &Users) {
    let mut members: HashMap<&Id, u32> = HashMap::new();
    // Counting: the order of the users does not matter.
    users.values().flat_map(|user| &user.groups).for_each(|group| *members.entry(group).or_default() += 1);
    for group in groups {
        if let (Some((most, spot)), Some(count)) = (group.max_members, members.get(&group.id.id))
            && *count > most
        {
            reader.fault(spot, at("groups", group.origin, "max_members"), Wrong::TooManyMembers { most, members: *count });
        }
    }
}

pub(super) fn keys(
    reader: &Reader<'_>,
    written: &[written::Key],
    groups: &Groups,
    users: &Users,
    services: &Services,
    read: &settings::Read,
) -> HashMap<[u8; 32], Arc<Key>> {
    let demo = sha256(DEMO_KEY);
    let mut all = HashMap::with_capacity(written.len());
    let mut taken = Taken::new(reader);
    for one in written {
        let place = if one.in_key { "key" } else { "hash" };
        let path = || at("keys", one.origin, place);
        let first = one.hash.is_none_or(|(hash, spot)| taken.take(hash, spot, path, |first| Wrong::KeyTaken { first }));
        let owner = owner(reader, one, groups, users);
        let expires = one.expires.as_ref().and_then(|(text, spot)| expires(reader, one, text, *spot, &read.settings.timezone));
        let services = one.services.as_ref().map(|list| service_list(reader, list, services, "keys", one.origin, "services"));
        let (Some((hash, spot)), Some((group, user)), true) = (one.hash, owner, first) else { continue };
        if hash == demo {
            check_demo(reader, spot, &path(), &group, &user, read);
        }
        let name = one.name.clone().unwrap_or_else(|| hash[..4].iter().map(|byte| format!("{byte:02x}")).collect());
        let key = Key {
            hash,
            name: name.into(),
            group,
            user,
            services,
            models: one.models.clone(),
            operations: one.operations,
            expires,
            allow_from: one.allow_from.clone(),
            buffered: Default::default(),
            enabled: one.enabled,
        };
        all.insert(hash, Arc::new(key));
    }
    all
}

/// Group and user of a key: both there, and the one a member of the other.
fn owner(reader: &Reader<'_>, one: &written::Key, groups: &Groups, users: &Users) -> Option<(Arc<Group>, Arc<User>)> {
    let path = |field: &'static str| at("keys", one.origin, if one.in_key { "key" } else { field });
    let (group, user) = (one.group.as_ref(), one.user.as_ref());
    if let Some(named) = group
        && !groups.known.contains_key(&named.id)
    {
        unknown(reader, named, path("group"), "group", None, groups.known.keys().map(Id::as_str));
    }
    if let Some(named) = user
        && !users.contains_key(&named.id)
    {
        unknown(reader, named, path("user"), "user", None, users.keys().map(Id::as_str));
    }
    let (group, user) = (group?, user?);
    let found = users.get(&user.id)?;
    if groups.known.contains_key(&group.id) && !found.groups.contains(&group.id) {
        let wrong = Wrong::NoMember { user: user.id.to_string(), group: group.id.to_string() };
        reader.fault(group.spot, path("group"), wrong);
        return None;
    }
    Some((Arc::clone(groups.built.get(&group.id)?), Arc::clone(found)))
}

/// `2027-01-01` (its first moment) or `2027-01-01T18:00` in the configured time zone, or a moment with an offset of its own.
fn expires(reader: &Reader<'_>, one: &written::Key, text: &str, spot: Spot, zone: &TimeZone) -> Option<UnixMs> {
    let text = text.trim();
    let moment = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        Some(civil.to_zoned(zone.clone()).ok()?.timestamp())
    });
    if moment.is_none() {
        let value = format!("{:?}", text.chars().take(40).collect::<String>());
        let wanted = "date; write one such as 2027-01-01 or 2027-01-01T18:00".into();
        reader.fault(spot, at("keys", one.origin, "expires"), Wrong::NotThis { value, wanted });
    }
    moment.map(|moment| UnixMs(moment.as_millisecond()))
}

/// The demo key is known to everybody: it may reach nothing but the demo, and only from this machine.
fn check_demo(reader: &Reader<'_>, spot: Spot, path: &str, group: &Group, user: &User, read: &settings::Read) {
    let members = group.tiers.iter().flat_map(|tier| &tier.members).map(|member| &member.account);
    if let Some(account) = members.chain(&user.own_keys).find(|account| !account.service.demo) {
        reader.fault(spot, path, Wrong::DemoReachesOthers { account: account.id.to_string() });
    }
    let open = read.settings.listen.iter().find(|listen| !listen.address.ip().to_canonical().is_loopback());
    if let Some(listen) = open {
        reader.fault(spot, path, Wrong::DemoNotLoopback { address: listen.address.to_string() });
    }
}
