//! How to reach an account (`names`, `peer`, `connect_proxy`), what is sent to it (`headers`), and what its answer means
//! (`verdict`, with `hints` for how long it asks to be left alone).

pub mod connect_proxy;
pub mod headers;
pub mod hints;
pub mod names;
pub mod peer;
pub mod verdict;
