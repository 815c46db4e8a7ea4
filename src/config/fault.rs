//! What can be wrong with a configuration: every kind of fault with its words, so that the catalogue can be read at once.
//!
//! All have one form, `file:line: path: what is wrong; what would be right`: in the user's words, never a Rust type; with the nearest
//! name when one is close and the choices when they are few; with both places of a conflict; never with a secret's value. What a
//! scalar holds is quoted as it was *written*, so that an environment variable's content never shows.

use std::cell::Cell;
use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// As `groups[2].binding.accounts[0]`, counted within the file; empty for the file as a whole.
    pub path: String,
    pub wrong: Wrong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.wrong)
    }
}

/// What is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    // --- the file
    Unreadable { error: String, hint: &'static str },
    NotText,
    TooLarge { limit: &'static str },
    EmptyFile,
    NotYaml { error: String },
    TooDeep,
    TooManyAliases,
    UnknownAnchor,
    Tagged,
    SecondDocument,
    KeyNoScalar,
    BadMerge,
    NoSuchFile { pattern: String },
    TooManyFiles,
    BadPattern { error: String },
    OnlyInMain,
    NothingToServe,

    // --- shape
    UnknownField { near: Option<String>, known: String },
    GivenTwice { first: String },
    Nothing,
    Wanted { wanted: &'static str, found: &'static str },
    Missing { hint: &'static str },
    NotYet { with: &'static str },
    Unset { name: String },
    BadVariable,

    // --- single values
    NotThis { value: String, wanted: String },
    NotOneOf { value: String, near: Option<String>, choices: String },
    Zero { hint: &'static str },
    Negative { value: String, least: String },
    OutOfRange { value: String, least: String, most: String },
    EmptyText { hint: &'static str },
    BadSecret { hint: &'static str },
    BadUrl { hint: &'static str },
    BadHeader { hint: &'static str },
    BadFile { file: String, error: String, hint: &'static str },
    KeyMalformed,

    // --- references
    Unknown { kind: &'static str, name: String, within: Option<String>, near: Option<String> },
    Taken { name: String, first: String },
    KeyTaken { first: String },
    Elsewhere { kind: &'static str, name: String, enterprise: String, wanted: String },
    NoMember { user: String, group: String },
    Repeated { name: String },
    ModeWants { mode: &'static str, hint: &'static str },
    Exclusive { account: String, other: String },
    StrategiesDiffer { pools: String },
    TooManyMembers { most: u32, members: u32 },
    NoCredential { service: String },
    NoEndpoint { service: String },
    NoFreeAuth,
    DemoReachesOthers { account: String },
    DemoNotLoopback { address: String },
    AddressTaken { first: String },
    Price { error: String },
    Other { what: &'static str, hint: &'static str },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Unreadable { error, hint } => write!(f, "cannot be read ({error}); {hint}"),
            Wrong::NotText => f.write_str("is no UTF-8 text; save it as UTF-8"),
            Wrong::TooLarge { limit } => write!(f, "is larger than {limit}; split it"),
            Wrong::EmptyFile => f.write_str("holds no configuration; write one, or take the file away"),
            Wrong::NotYaml { error } => write!(f, "no YAML: {error}; mend it here or just above"),
            Wrong::TooDeep => f.write_str("nested too deep; 64 levels are the most"),
            Wrong::TooManyAliases => f.write_str("its aliases (*name) expand to too much; write fewer of them"),
            Wrong::UnknownAnchor => f.write_str("an alias within its own anchor; it may only name one that is complete"),
            Wrong::Tagged => f.write_str("has a tag (!name); leave the tag out"),
            Wrong::SecondDocument => f.write_str("a second document (---) begins; put it into a file of its own, named under include"),
            Wrong::KeyNoScalar => f.write_str("the name of a field is a list or mapping; write a plain name"),
            Wrong::BadMerge => f.write_str("<< wants a mapping or a list of mappings; write <<: *name"),
            Wrong::NoSuchFile { pattern } => write!(f, "no file {pattern:?}; make it, or mend the path (it is relative to this file)"),
            Wrong::TooManyFiles => f.write_str("names more than 10,000 files; make the pattern narrower"),
            Wrong::BadPattern { error } => write!(f, "no pattern for files ({error}); write one such as conf.d/*.yaml"),
            Wrong::OnlyInMain => {
                f.write_str("belongs into the main file; an included one holds services, enterprises, accounts, pools, groups, users and keys")
            }
            Wrong::NothingToServe => {
                f.write_str("names no account, group, user or key: the rest may be missing; write the file to its end")
            }

            Wrong::UnknownField { near: Some(near), .. } => write!(f, "unknown field; did you mean {near:?}?"),
            Wrong::UnknownField { near: None, known } => write!(f, "unknown field; known here: {known}"),
            Wrong::GivenTwice { first } => write!(f, "given twice; it was first given at {first}: keep one"),
            Wrong::Nothing => f.write_str("nothing stands here; give a value, [] for an empty list, or leave the field out"),
            Wrong::Wanted { wanted, found } => write!(f, "{found} stands here; write {wanted}"),
            Wrong::Missing { hint } => write!(f, "missing; {hint}"),
            Wrong::NotYet { with } => write!(f, "not yet in this version: comes with {with}; leave it out until then"),
            Wrong::Unset { name } => {
                write!(f, "${{{name}}} is not set; set it, or write ${{{name}:-}} to leave it empty")
            }
            Wrong::BadVariable => {
                f.write_str("${ begins no variable; write ${NAME} or ${NAME:-default} in letters, digits and _, or $${ for a plain ${")
            }

            Wrong::NotThis { value, wanted } => write!(f, "{value} is no {wanted}"),
            Wrong::NotOneOf { value, near: Some(near), .. } => write!(f, "{value} is unknown; did you mean {near:?}?"),
            Wrong::NotOneOf { value, near: None, choices } => write!(f, "{value} is unknown; one of: {choices}"),
            Wrong::Zero { hint } => write!(f, "is 0; {hint}"),
            Wrong::Negative { value, least } => write!(f, "{value} is negative; give {least} or more"),
            Wrong::OutOfRange { value, least, most } => write!(f, "{value} is out of range; give {least} to {most}"),
            Wrong::EmptyText { hint } => write!(f, "is empty; {hint}"),
            Wrong::BadSecret { hint } => write!(f, "cannot be a credential; {hint}"),
            Wrong::BadUrl { hint } => write!(f, "no usable URL; {hint}"),
            Wrong::BadHeader { hint } => write!(f, "no header that may stand here; {hint}"),
            Wrong::BadFile { file, error, hint } => write!(f, "{file}: {error}; {hint}"),
            Wrong::KeyMalformed => f.write_str(
                "no key of the form aicp_<group>_<user>_<16 to 64 letters or digits>; make one with `aicarpool key new`, or give hash, group and user",
            ),

            Wrong::Unknown { kind, name, within, near } => {
                write!(f, "no {kind} {name:?}")?;
                within.iter().try_for_each(|enterprise| write!(f, " in enterprise {enterprise}"))?;
                match near {
                    Some(near) => write!(f, "; did you mean {near:?}?"),
                    None => write!(f, "; add it, or name one that is there"),
                }
            }
            Wrong::Taken { name, first } => write!(f, "{name:?} is taken; it was first given at {first}"),
            Wrong::KeyTaken { first } => write!(f, "the same key again; it was first given at {first}: keep one"),
            Wrong::Elsewhere { kind, name, enterprise, wanted } => {
                write!(f, "{kind} {name:?} belongs to enterprise {enterprise}; name one of enterprise {wanted}")
            }
            Wrong::NoMember { user, group } => {
                write!(f, "user {user:?} is no member of group {group:?}; add the group to the user's groups, or name one of them")
            }
            Wrong::Repeated { name } => write!(f, "{name:?} stands here twice; keep one"),
            Wrong::ModeWants { mode, hint } => write!(f, "mode {mode} does not fit; {hint}"),
            Wrong::Exclusive { account, other } => write!(
                f,
                "account {account:?} is bound here alone, but stands in {other} too; take it out of one, or set exclusive: false at the account"
            ),
            Wrong::StrategiesDiffer { pools } => {
                write!(f, "{pools} stand at the same priority with different strategies; give the group a strategy, or the pools priorities")
            }
            Wrong::TooManyMembers { most, members } => {
                write!(f, "{members} users are members and {most} may be; raise it, or take the group from some users")
            }
            Wrong::NoCredential { service } => {
                write!(f, "missing; service {service} wants a credential: key: ${{NAME}} or key: {{file: path}}")
            }
            Wrong::NoEndpoint { service } => {
                write!(f, "missing; service {service} has no address of its own: give one, as {{openai: \"https://…/v1\"}}")
            }
            Wrong::NoFreeAuth => f.write_str("the service sends no credential (auth: none); leave the key out"),
            Wrong::DemoReachesOthers { account } => write!(
                f,
                "the demo key, which everybody knows, would reach account {account:?}; make a key of your own with `aicarpool key new`"
            ),
            Wrong::DemoNotLoopback { address } => write!(
                f,
                "the demo key, which everybody knows, would be served on {address}; listen on 127.0.0.1 only, or make a key of your own with `aicarpool key new`"
            ),
            Wrong::AddressTaken { first } => write!(f, "the same address as {first}; give each its own"),
            Wrong::Price { error } => f.write_str(error),
            Wrong::Other { what, hint } => write!(f, "{what}; {hint}"),
        }
    }
}

/// Looks for near names, with a bound on all its work together: a file with 100,000 wrong references is still told of at once.
#[derive(Debug)]
pub(super) struct Nearest {
    comparisons_left: Cell<u32>,
}

impl Nearest {
    pub(super) fn new() -> Nearest {
        Nearest { comparisons_left: Cell::new(1_000_000) }
    }

    /// The candidate that is close enough to `name` to be meant; the first of equals.
    pub(super) fn of<'c>(&self, name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
        let most = (name.chars().count() / 3).max(1);
        let mut best: Option<(usize, &str)> = None;
        for candidate in candidates {
            let left = self.comparisons_left.get();
            if left == 0 {
                break;
            }
            self.comparisons_left.set(left - 1);
            if candidate.len().abs_diff(name.len()) > most || name.len() > 100 {
                continue;
            }
            let distance = strsim::damerau_levenshtein(name, candidate);
            if distance <= most && best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, candidate));
            }
        }
        best.map(|(_, candidate)| candidate.to_owned())
    }
}
