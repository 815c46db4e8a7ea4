//! How to reach an account, and what its answer means.

pub mod hints; // how long a provider asks to be left alone
pub mod verdict; // what an answer means
