//! What stands in single values: variables, sizes, times, shares, patterns. Pure.

use std::sync::Arc;
use std::time::Duration;

use globset::GlobBuilder;

use super::fault::Wrong;
use super::snapshot::Glob;
use crate::words::parse_decimal_nano;

/// Puts variables in: `${NAME}`, `${NAME:-default}` (where it is unset or empty), `$${` for a plain `${`.
pub(super) fn substituted(written: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, Wrong> {
    let mut text = String::with_capacity(written.len());
    let mut rest = written;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            text.push_str(&rest[..start - 1]);
            text.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        text.push_str(&rest[..start]);
        let (inner, after) = rest[start + 2..].split_once('}').ok_or(Wrong::BadVariable)?;
        let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let bad =
            name.is_empty() || name.len() > 200 || !name.chars().all(letter) || name.starts_with(|c: char| c.is_ascii_digit());
        if bad || default.is_some_and(|default| default.contains("${")) {
            return Err(Wrong::BadVariable);
        }
        match (environment(name), default) {
            (Some(value), Some(default)) if value.is_empty() => text.push_str(default),
            (Some(value), _) => text.push_str(&value),
            (None, Some(default)) => text.push_str(default),
            (None, None) => return Err(Wrong::Unset { name: name.to_owned() }),
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// A whole number and the unit behind it.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let digits: String = text[..end].chars().filter(|c| *c != '_').collect();
    Some((digits.parse().ok()?, text[end..].trim()))
}

/// Bytes: `512B`, `64KB`, `32MB`, `1GB` (1024-based), or a bare number of bytes.
pub(super) fn size_of(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let bytes: u64 = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" | "KIB" => 1 << 10,
        "MB" | "MIB" => 1 << 20,
        "GB" | "GIB" => 1 << 30,
        "TB" | "TIB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(bytes).filter(|size| *size <= 1 << 50)
}

/// `500ms`, `30s`, `5m`, `1h`; a bare 0 is none.
pub(super) fn time_of(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        // None at all needs no unit.
        "" if number == 0 => 1,
        _ => return None,
    };
    // A year is beyond any use here, and far below what a clock can add.
    number.checked_mul(ms).filter(|ms| *ms <= 8_760 * 3_600_000).map(Duration::from_millis)
}

/// `80%` or `0.8`, in millionths.
pub(super) fn share_of(text: &str) -> Option<u32> {
    // A decimal comes in units of 1e-9; of a per cent, a millionth is 1e-4.
    let (number, millionth) = text.strip_suffix('%').map_or((text, 1_000), |number| (number, 100_000));
    let nano = parse_decimal_nano(number).ok()?;
    u32::try_from(nano / millionth).ok().filter(|_| nano % millionth == 0)
}

/// A pattern over model names, in which `*` and `?` alone are special; compared without case.
pub(super) fn glob_of(text: &str) -> Option<Glob> {
    if text.is_empty() || text.len() > 200 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '[' | ']' | '{' | '}' | '!' | '\\' => pattern.extend(['\\', c]),
            // "**" has a meaning of its own to globset, and two stars match what one does.
            '*' if pattern.ends_with('*') => {}
            _ => pattern.push(c),
        }
    }
    let mut builder = GlobBuilder::new(&pattern);
    let glob = builder.case_insensitive(true).literal_separator(false).backslash_escape(true).build().ok()?;
    Some(Glob { text: text.into(), matcher: Arc::new(glob.compile_matcher()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        let environment = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let check = |written: &str, wanted: Result<&str, Wrong>| {
            assert_eq!(substituted(written, &environment), wanted.map(str::to_owned), "{written}");
        };
        check("${A}", Ok("a"));
        check("x${A}y${A}z", Ok("xayaz"));
        check("${B:-b}${A:-b}", Ok("ba"));
        check("${EMPTY}|${EMPTY:-e}|${B:-}", Ok("|e|"));
        check("$${A} $A ${A}$", Ok("${A} $A a$"));
        check("${B:-x:-y}", Ok("x:-y"));
        check("${B}", Err(Wrong::Unset { name: "B".into() }));
        for bad in ["${", "${A", "${}", "${a-b}", "${1}", "${:-x}", "${A:=x}", "${A:-${B}}"] {
            check(bad, Err(Wrong::BadVariable));
        }
    }

    #[test]
    fn globs() {
        let check =
            |text: &str, name: &str, wanted: bool| assert_eq!(glob_of(text).unwrap().is_match(name), wanted, "{text} {name}");
        check("claude-*", "Claude-Sonnet-4-5", true);
        check("claude-*", "my-claude-3", false);
        check("*", "meta-llama/llama-4", true);
        check("*/*", "meta-llama/llama-4", true);
        check("*/*", "gpt-5", false);
        check("o?-*", "o4-mini", true);
        check("o?", "o", false);
        check("a**b", "a/x/b", true);
        check("claude[1m]", "claude[1m]", true);
        check("claude[1m]", "claude1", false);
        check("{a,b}*", "a", false);
        check("!a\\b?", "!a\\bc", true);
        assert!(["", "a b", "a\n", &"a".repeat(201)].iter().all(|text| glob_of(text).is_none()));
    }

    #[test]
    fn sizes() {
        let check = |text: &str, wanted: Option<u64>| assert_eq!(size_of(text), wanted, "{text}");
        check("64KB", Some(65_536));
        check("1_000 B", Some(1_000));
        check("32mb", Some(32 << 20));
        check("1GB", Some(1 << 30));
        check("7", Some(7));
        for bad in ["", "KB", "1.5MB", "-1KB", "1XB", "99999999TB", "18446744073709551616"] {
            check(bad, None);
        }
    }

    #[test]
    fn times() {
        let check = |text: &str, wanted: Option<u64>| {
            assert_eq!(time_of(text).map(|time| time.as_millis()), wanted.map(u128::from), "{text}")
        };
        check("500ms", Some(500));
        check("30s", Some(30_000));
        check("5m", Some(300_000));
        check("1h", Some(3_600_000));
        check("0", Some(0));
        for bad in ["", "30", "s", "1.5s", "-1s", "1d", "1h30m", "9999h", "99999999999999999999s"] {
            check(bad, None);
        }
    }

    #[test]
    fn shares() {
        let check = |text: &str, wanted: Option<u32>| assert_eq!(share_of(text), wanted, "{text}");
        check("80%", Some(800_000));
        check("0.8", Some(800_000));
        check("1", Some(1_000_000));
        check("12.5%", Some(125_000));
        check("0.000001", Some(1));
        for bad in ["", "%", "-1%", "0.0000001", "0.00001%", "eighty"] {
            check(bad, None);
        }
    }
}
