//! Users and keys as they are written.

use ipnet::IpNet;

use super::{Named, Origin, PLANS, QUOTAS, WrittenSecret, globs, id_of, name_of, nets, operations, secret};
use crate::config::fault::Wrong;
use crate::config::read::{Fields, Shape, Spot, Value};
use crate::config::snapshot::{Globs, Role};
use crate::config::yaml::Entry;
use crate::words::{Id, Operations};

pub(in crate::config) struct User {
    pub(in crate::config) origin: Origin,
    pub(in crate::config) id: Named,
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) email: Option<String>,
    pub(in crate::config) groups: Vec<(usize, Named)>,
    pub(in crate::config) role: Role,
    pub(in crate::config) enabled: bool,
    pub(in crate::config) preference: Vec<(usize, Named)>,
    pub(in crate::config) own_keys: Vec<(Named, WrittenSecret)>,
}

pub(in crate::config) const USER: Shape = Shape {
    known: &["id", "name", "email", "groups", "role", "enabled", "preference", "own_keys"],
    later: &[("plan", PLANS), ("quotas", QUOTAS)],
};

pub(super) fn user(value: Value<'_, '_>, index: usize) -> Option<User> {
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
            item.fault(Wrong::Repeated { name: name.shown() });
            return None;
        }
        seen.push(name.id.clone());
        Some((index - 1, name))
    })
}

fn own_key(entry: &Entry<'_>, value: Value<'_, '_>) -> Option<(Named, WrittenSecret)> {
    let service = Named::new(Id::new(&*entry.name), value.spot());
    let secret = secret(Some(value));
    if let WrittenSecret::Empty(_) = secret {
        value.fault(Wrong::EmptyText { hint: "give the user's own credential, or leave it out" });
    }
    Some((service, secret))
}

pub(in crate::config) struct Key {
    pub(in crate::config) origin: Origin,
    /// SHA-256 of the whole key; `None` where it is missing or faulty.
    pub(in crate::config) hash: Option<([u8; 32], Spot)>,
    pub(in crate::config) group: Option<Named>,
    pub(in crate::config) user: Option<Named>,
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) services: Option<Vec<(usize, Named)>>,
    pub(in crate::config) models: Option<Globs>,
    pub(in crate::config) operations: Option<Operations>,
    pub(in crate::config) expires: Option<Expires>,
    pub(in crate::config) allow_from: Option<Vec<IpNet>>,
    pub(in crate::config) enabled: bool,
    /// Group and user stand within the key itself, so that faults about them are faults of `key`.
    pub(in crate::config) in_key: bool,
}

/// When a key expires, as text: read once the time zone is known.
pub(in crate::config) struct Expires {
    pub(in crate::config) text: String,
    /// What a fault may quote.
    pub(in crate::config) quoted: String,
    pub(in crate::config) spot: Spot,
}

pub(in crate::config) const KEY: Shape = Shape {
    known: &["key", "hash", "group", "user", "name", "services", "models", "operations", "expires", "allow_from", "enabled"],
    later: &[("quotas", QUOTAS), ("limits", QUOTAS)],
};

pub(super) fn key(value: Value<'_, '_>, index: usize) -> Option<Key> {
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
        expires: fields.read("expires", |value| {
            value.text().map(|text| Expires { quoted: text.quoted(), text: text.text.into_owned(), spot: value.spot() })
        }),
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
    (hash, Some(Named::new(group, spot)), Some(Named::new(user, spot)))
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

pub(in crate::config) fn sha256(text: &str) -> [u8; 32] {
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
