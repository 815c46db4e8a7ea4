//! Figures, read exactly from their text: never through a float.

use super::json::Value;

/// A figure of a usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Count {
    /// Missing, or `null`.
    #[default]
    Absent,
    Is(u64),
    /// Negative, fractional, of another type, or beyond all measure.
    Odd,
}

impl Count {
    /// A whole number: `12`, also `12.0` and `1.2e1`, as writers with floats put it.
    pub(super) fn of(value: Value<'_>) -> Count {
        match value {
            Value::Null => Count::Absent,
            Value::Number(text) => Decimal::parse(text).and_then(|d| d.scaled(0, false)).map_or(Count::Odd, Count::Is),
            Value::True | Value::False | Value::Text(_) => Count::Odd,
        }
    }

    /// A time in seconds, in milliseconds. Some say it in a string.
    pub(super) fn milliseconds(value: Value<'_>) -> Count {
        match value {
            Value::Null => Count::Absent,
            Value::Number(text) | Value::Text(text) => {
                Decimal::parse(text).and_then(|d| d.scaled(3, true)).map_or(Count::Odd, Count::Is)
            }
            Value::True | Value::False => Count::Odd,
        }
    }

    /// The figure, or 0.
    pub(super) fn whole(self) -> u64 {
        match self {
            Count::Is(count) => count,
            Count::Absent | Count::Odd => 0,
        }
    }

    pub(super) fn is_there(self) -> bool {
        self != Count::Absent
    }

    /// This figure, or the other where this one is missing or 0.
    pub(super) fn or(self, other: Count) -> Count {
        if matches!(self, Count::Absent | Count::Is(0)) && other.is_there() { other } else { self }
    }
}

/// An amount of money times ten to the power of `scale`, rounded half up; `None` where it is no amount.
pub(super) fn money(value: Value<'_>, scale: i64) -> Option<u64> {
    match value {
        Value::Number(text) | Value::Text(text) => Decimal::parse(text)?.scaled(scale, true),
        Value::Null | Value::True | Value::False => None,
    }
}

/// `digits × 10^exponent`, not negative.
struct Decimal {
    digits: u128,
    exponent: i64,
}

impl Decimal {
    /// `None`: not a number, negative (but for zero), or of more than 38 digits that count.
    fn parse(text: &[u8]) -> Option<Decimal> {
        let (negative, text) = match text.strip_prefix(b"-") {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&text[..at], exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
        let fraction = mantissa.get(point + 1..).unwrap_or_default();
        let mut number = Decimal { digits: 0, exponent };
        if point == 0 && fraction.is_empty() {
            return None;
        }
        for (place, byte) in mantissa[..point].iter().chain(fraction).enumerate() {
            let digit = char::from(*byte).to_digit(10)?;
            match number.digits.checked_mul(10).and_then(|n| n.checked_add(u128::from(digit))) {
                Some(digits) => {
                    number.digits = digits;
                    number.exponent -= i64::from(place >= point);
                }
                // Beyond 38 digits only the size matters.
                None => number.exponent += i64::from(place < point),
            }
        }
        (!negative || number.digits == 0).then_some(number)
    }

    /// The number times `10^scale`; what is no whole number is rounded half up, or is `None`.
    fn scaled(&self, scale: i64, round: bool) -> Option<u64> {
        if self.digits == 0 {
            return Some(0);
        }
        let power = self.exponent.checked_add(scale)?;
        let factor = u32::try_from(power.unsigned_abs()).ok().and_then(|power| 10_u128.checked_pow(power));
        let number = match (power >= 0, factor) {
            (true, factor) => self.digits.checked_mul(factor?)?,
            (false, Some(factor)) if round => (self.digits / factor) + u128::from(self.digits % factor >= factor.div_ceil(2)),
            (false, Some(factor)) => (self.digits % factor == 0).then_some(self.digits / factor)?,
            (false, None) if round => 0,
            (false, None) => return None,
        };
        u64::try_from(number).ok()
    }
}

fn exponent(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse().unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
    Some(if text.starts_with('-') { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: Count) {
        assert_eq!(Count::of(Value::Number(text.as_bytes())), expected, "{text}");
    }

    #[test]
    fn counts_are_whole_numbers() {
        check("0", Count::Is(0));
        check("1234", Count::Is(1234));
        check("18446744073709551615", Count::Is(u64::MAX));
        check("12.0", Count::Is(12));
        check("1.2e1", Count::Is(12));
        check("-0", Count::Is(0));
        check("0e999999999999999999999", Count::Is(0));
        for odd in [
            "-1",
            "1.5",
            "18446744073709551616",
            "1e400",
            "1e99999999999999999999",
            "1e-1",
            "NaN",
            "Infinity",
            "",
            "1x",
            ".",
            "e5",
            "--1",
        ] {
            check(odd, Count::Odd);
        }
        assert_eq!(Count::of(Value::Null), Count::Absent);
        assert_eq!(Count::of(Value::Text(b"34")), Count::Odd);
    }

    #[test]
    fn seconds_become_milliseconds() {
        for (text, expected) in [("7", 7000), ("8.470000267028809", 8470), ("12.34", 12340), ("0.0004", 0), ("0.0005", 1)] {
            assert_eq!(Count::milliseconds(Value::Number(text.as_bytes())), Count::Is(expected), "{text}");
        }
    }

    #[test]
    fn money_is_exact() {
        for (text, expected) in
            [("0.00341475", 3_414_750), ("1.4e-07", 140), ("0.0000000005", 1), ("12", 12_000_000_000), ("1e-400", 0)]
        {
            assert_eq!(money(Value::Number(text.as_bytes()), 9), Some(expected), "{text}");
        }
        assert_eq!(money(Value::Number(b"161508500"), -1), Some(16_150_850));
        assert_eq!(money(Value::Number(b"-1"), 9), None);
        assert_eq!(money(Value::Number(b"1e30"), 9), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-+0-9.eE]{0,60}") {
            let value = Value::Number(text.as_bytes());
            (Count::of(value), Count::milliseconds(value), money(value, 9), money(value, -1));
        }

        #[test]
        fn every_count_is_read(count: u64) {
            check(&count.to_string(), Count::Is(count));
        }
    }
}
