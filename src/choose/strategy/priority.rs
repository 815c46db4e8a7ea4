//! `priority`: the account's `priority`, 1 first; then by weight.

pub(crate) fn rank(priority: u32) -> u64 {
    u64::from(priority)
}
