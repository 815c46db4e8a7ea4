//! `least_connections`: fewest in flight ÷ weight, on this instance; ties by weight.

/// Keeps the fraction of the quotient.
const SCALE: u64 = 1 << 30;

pub(crate) fn rank(in_flight: u32, weight: u32) -> u64 {
    u64::from(in_flight) * SCALE / u64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn fewest_per_weight_comes_first() {
        assert_eq!(rank(0, 1), rank(0, 9), "idle ones are ties");
        assert!(rank(2, 3) < rank(1, 1));
        assert!(rank(3, 3) == rank(1, 1));
        assert!(rank(1, 3) < rank(1, 2));
    }
}
