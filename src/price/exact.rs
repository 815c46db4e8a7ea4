//! Exact fractions: sums and products of prices before the one rounding. `None` stands for beyond all measure (more than `u128`
//! holds); it ends as the largest amount there is, never as a wrapped one.

use crate::words::Factor;

/// A factor such as 1.1, as a reduced fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ratio {
    pub num: u64,
    pub den: u64,
}

impl Ratio {
    pub(super) const ONE: Ratio = Ratio { num: 1, den: 1 };

    /// From units of 1e-9, as [`crate::words::parse_decimal_nano`] reads them.
    pub(super) fn from_nano(nano: u64) -> Ratio {
        let common = u64::try_from(gcd(u128::from(nano), u128::from(Factor::SCALE))).unwrap_or(1);
        Ratio { num: nano / common, den: Factor::SCALE / common }
    }
}

impl From<Factor> for Ratio {
    fn from(factor: Factor) -> Ratio {
        Ratio::from_nano(factor.0)
    }
}

/// A non-negative fraction, in whatever unit its user says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exact {
    num: u128,
    den: u128,
}

impl Exact {
    pub(super) const ZERO: Exact = Exact { num: 0, den: 1 };

    pub(super) fn new(num: u128, den: u64) -> Exact {
        Exact { num, den: u128::from(den) }.reduced()
    }

    pub(super) fn plus(self, other: Exact) -> Option<Exact> {
        if self.den == other.den {
            return Some(Exact { num: self.num.checked_add(other.num)?, den: self.den });
        }
        let common = gcd(self.den, other.den);
        let left = self.num.checked_mul(other.den / common)?;
        let right = other.num.checked_mul(self.den / common)?;
        Some(Exact { num: left.checked_add(right)?, den: self.den.checked_mul(other.den / common)? })
    }

    pub(super) fn times(self, ratio: Ratio) -> Option<Exact> {
        if ratio == Ratio::ONE {
            return Some(self);
        }
        let num = self.num.checked_mul(u128::from(ratio.num))?;
        Some(Exact { num, den: self.den.checked_mul(u128::from(ratio.den))? }.reduced())
    }

    /// This divided by `unit`, rounded half up.
    pub(super) fn round(self, unit: u64) -> Option<u64> {
        let den = self.den.checked_mul(u128::from(unit))?;
        u64::try_from(self.num.checked_add(den / 2)? / den).ok()
    }

    fn reduced(self) -> Exact {
        if self.den == 1 {
            return self;
        }
        let common = gcd(self.num, self.den);
        Exact { num: self.num / common, den: self.den / common }
    }
}

/// The greatest common divisor; `b` is never 0.
fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}
