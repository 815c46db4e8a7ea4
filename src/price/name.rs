//! The names that a model goes by, and the index over them.
//!
//! 1. Compared in lower case; `@default` (Vertex) is nothing, another `@` is `-`; `projects/…/models/` and `arn:…/` are addresses.
//! 2. Without `[1m]` (Claude Code's mark of a long context).
//! 3. Without a vendor's prefix (`openai/…`, `models/…`).
//! 4. Bedrock: without the region (kept: it may have a multiplier), `anthropic.`, and `-v1:0` or `-v1`.
//!
//! Each step gives one more form; ids that hold such a prefix themselves (Groq's `openai/gpt-oss-120b`) are found by an earlier one.

use std::collections::HashMap;

/// Longer names are in no book; bounds what one look-up costs.
const LONGEST: usize = 256;

/// Of clients, routers and SDKs that name the vendor with the model.
const VENDORS: [&str; 25] = [
    "openai/",
    "anthropic/",
    "models/",
    "google/",
    "gemini/",
    "vertex_ai/",
    "bedrock/",
    "azure/",
    "azure_ai/",
    "deepseek/",
    "moonshot/",
    "moonshotai/",
    "zai/",
    "z-ai/",
    "zhipu/",
    "dashscope/",
    "qwen/",
    "minimax/",
    "xai/",
    "x-ai/",
    "mistral/",
    "mistralai/",
    "groq/",
    "openrouter/",
    "demo/",
];

/// Bedrock's inference profiles.
const REGIONS: [&str; 7] = ["us", "eu", "apac", "au", "jp", "global", "us-gov"];

/// Room for a name's lower-case text, on the caller's stack.
pub(super) struct Room([u8; LONGEST]);

impl Room {
    pub(super) fn new() -> Room {
        Room([0; LONGEST])
    }
}

/// A model's name in the forms that may stand in the book, the most literal first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    forms: [&'a str; 4],
    count: usize,
    /// Bedrock's region, where the name carried one.
    pub region: Option<&'a str>,
}

impl<'a> Name<'a> {
    /// `None` for a name that is empty or too long for any book. `dots`: also `.` becomes `-`, as Anthropic writes versions.
    pub(super) fn new(model: &str, dots: bool, room: &'a mut Room) -> Option<Name<'a>> {
        let model = model.trim();
        let text = room.0.get_mut(..model.len())?;
        text.copy_from_slice(model.as_bytes());
        for byte in text.iter_mut() {
            *byte = match *byte {
                b'@' => b'-',
                b'.' if dots => b'-',
                other => other.to_ascii_lowercase(),
            };
        }
        let text = std::str::from_utf8(text).ok()?;
        let text = if model.ends_with("@default") { text.strip_suffix("-default").unwrap_or(text) } else { text };
        if text.is_empty() {
            return None;
        }
        let mut name = Name { forms: [text; 4], count: 1, region: None };
        let mut form = address(text);
        form = form.strip_suffix("[1m]").unwrap_or(form);
        name.push(form);
        while let Some(rest) = VENDORS.iter().find_map(|vendor| form.strip_prefix(vendor)) {
            form = rest;
        }
        name.push(form);
        if let Some((rest, region)) = bedrock(form) {
            name.region = region;
            name.push(rest);
        }
        Some(name)
    }

    fn push(&mut self, form: &'a str) {
        if self.forms[self.count - 1] != form && !form.is_empty() && self.count < self.forms.len() {
            self.forms[self.count] = form;
            self.count += 1;
        }
    }

    fn forms(&self) -> &[&'a str] {
        &self.forms[..self.count]
    }
}

/// The last part of a Vertex resource name or of an ARN.
fn address(text: &str) -> &str {
    if let Some((_, last)) = text.rsplit_once("/models/") {
        return last;
    }
    if text.starts_with("arn:") { text.rsplit_once('/').map_or(text, |(_, last)| last) } else { text }
}

/// What is left of a Bedrock id, and its region.
fn bedrock(form: &str) -> Option<(&str, Option<&str>)> {
    let (region, rest) = match form.strip_prefix("anthropic.") {
        Some(rest) => (None, rest),
        None => {
            let (region, rest) = form.split_once('.')?;
            (Some(*REGIONS.iter().find(|r| **r == region)?), rest.strip_prefix("anthropic.")?)
        }
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let bare = rest.rsplit_once("-v").filter(|(_, version)| match version.split_once(':') {
        Some((major, minor)) => digits(major) && digits(minor),
        None => digits(version),
    });
    Some((bare.map_or(rest, |(bare, _)| bare), region))
}

/// The names of one scope: a provider's, a service's or an account's.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    exact: HashMap<Box<str>, usize>,
    /// Longest literal beginning first; of equal ones the operator's first.
    globs: Vec<Glob>,
}

#[derive(Clone, Debug)]
struct Glob {
    pattern: Box<str>,
    /// Bytes before the first `*` or `?`.
    literal: usize,
    entry: usize,
}

impl Names {
    /// Adds `text` as a name of `entry`, before what has the same name or an equally long beginning.
    pub(super) fn add(&mut self, text: &str, entry: usize) {
        let text = lower(text);
        match text.find(['*', '?']) {
            None => {
                self.exact.insert(text.into(), entry);
            }
            Some(literal) => {
                self.globs.retain(|glob| *glob.pattern != *text);
                let at = self.globs.partition_point(|glob| glob.literal > literal);
                self.globs.insert(at, Glob { pattern: text.into(), literal, entry });
            }
        }
    }

    /// The exact name, else the pattern with the longest literal beginning. `also`: a further exact name, tried after the forms.
    pub(super) fn find(&self, name: &Name<'_>, also: Option<&str>) -> Option<usize> {
        let exact = name.forms().iter().copied().chain(also).find_map(|form| self.exact.get(form));
        exact.copied().or_else(|| {
            let matches = |glob: &&Glob| name.forms().iter().any(|form| glob.is_match(form));
            self.globs.iter().find(matches).map(|glob| glob.entry)
        })
    }

    /// All names that lead to `entry`.
    pub(super) fn of(&self, entry: usize) -> Vec<String> {
        let mut exact: Vec<String> = self.exact.iter().filter(|(_, e)| **e == entry).map(|(n, _)| n.to_string()).collect();
        exact.sort();
        exact.extend(self.globs.iter().filter(|glob| glob.entry == entry).map(|glob| glob.pattern.to_string()));
        exact
    }
}

impl Glob {
    fn is_match(&self, name: &str) -> bool {
        let (literal, pattern) = self.pattern.as_bytes().split_at(self.literal);
        name.as_bytes().strip_prefix(literal).is_some_and(|rest| glob(pattern, rest))
    }
}

/// Names of the book as [`Name`] makes them of requests.
pub(super) fn lower(text: &str) -> String {
    text.trim().to_ascii_lowercase().replace('@', "-")
}

/// Whether `text` matches `pattern`, in which `*` stands for any bytes and `?` for one. Takes at most `pattern × text` steps.
pub(super) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                p = at + 1;
                t = from + 1;
                star = Some((at, t));
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(model: &str, forms: &[&str], region: Option<&str>) {
        let mut room = Room::new();
        let name = Name::new(model, false, &mut room).expect("a name");
        assert_eq!((name.forms(), name.region), (forms, region), "{model}");
    }

    #[test]
    fn names_take_the_forms_that_the_book_may_hold() {
        check("Claude-Sonnet-4-5", &["claude-sonnet-4-5"], None);
        check("claude-opus-5-5[1m]", &["claude-opus-5-5[1m]", "claude-opus-5-5"], None);
        check("openai/gpt-4o", &["openai/gpt-4o", "gpt-4o"], None);
        check("models/gemini-2.5-pro", &["models/gemini-2.5-pro", "gemini-2.5-pro"], None);
        check("publishers/google/models/gemini-2.5-pro", &["publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"], None);
        check("claude-sonnet-4-5@20250929", &["claude-sonnet-4-5-20250929"], None);
        check("claude-sonnet-4-5@default", &["claude-sonnet-4-5"], None);
        check(
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            &["us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"],
            Some("us"),
        );
        check("anthropic.claude-opus-4-8-v1", &["anthropic.claude-opus-4-8-v1", "claude-opus-4-8"], None);
        check(
            "openrouter/anthropic/claude-x[1m]",
            &["openrouter/anthropic/claude-x[1m]", "openrouter/anthropic/claude-x", "claude-x"],
            None,
        );
        check("gpt-4o.mini", &["gpt-4o.mini"], None);
    }

    #[test]
    fn an_empty_or_endless_name_is_no_name() {
        for model in ["", "  ", &"x".repeat(300)] {
            assert!(Name::new(model, false, &mut Room::new()).is_none());
        }
    }

    #[test]
    fn the_longest_literal_beginning_wins_and_exact_names_before_all() {
        let mut names = Names::default();
        for (i, text) in ["gpt-*", "gpt-4o*", "gpt-4o-mini", "*", "gpt-4o-20??-??-??", "gpt-?o-mini-x"].iter().enumerate() {
            names.add(text, i);
        }
        let find = |model: &str| names.find(&Name::new(model, false, &mut Room::new()).expect("a name"), None);
        assert_eq!(find("gpt-4o-mini"), Some(2));
        assert_eq!(find("openai/GPT-4o-mini"), Some(2));
        assert_eq!(find("gpt-4o-2024-08-06"), Some(4));
        assert_eq!(find("gpt-4o-mini-x"), Some(1));
        assert_eq!(find("gpt-5"), Some(0));
        assert_eq!(find("else"), Some(3));
    }

    proptest! {
        /// Against the plain recursive meaning of a pattern.
        #[test]
        fn patterns_match_what_they_mean(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn means(p: &[u8], t: &[u8]) -> bool {
                match p.split_first() {
                    None => t.is_empty(),
                    Some((b'*', rest)) => (0..=t.len()).any(|n| means(rest, &t[n..])),
                    Some((b, rest)) => t.split_first().is_some_and(|(c, left)| (*b == b'?' || b == c) && means(rest, left)),
                }
            }
            prop_assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), means(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn no_name_panics(model in "\\PC{0,300}") {
            let _name = Name::new(&model, true, &mut Room::new());
        }
    }
}
