//! `weighted`: random by weight. All are ties, and the scores of `sticky` are drawn by weight.

pub(crate) const RANK: u64 = 0;
