//! How to reach an account (`names`, `peer`, `connect_proxy`), what is sent to it (`headers`), and what its answer means
//! (`verdict`, `hints`).

pub mod connect_proxy;
pub mod headers;
pub mod names;
pub mod peer;
