//! What it costs, what is charged.
//!
//! The **book** holds a price for each model of each provider, in integer pico-dollars per token, read from decimal text and never
//! through a float. The built-in one (`prices.yaml`, remade by `remake.py`) comes from public price tables; an operator's `prices:`
//! files add to it and override it, for a provider, a service or an account.
//!
//! **Finding an entry** (`book`, `name`): account before service before provider; within one of them the model's exact id or alias,
//! else the pattern with the longest literal beginning. Names are compared without case, without a vendor's prefix (`openai/…`),
//! without `[1m]`, and in the forms that Vertex and Bedrock write. What is not found is unpriced: it costs 0 and says so.
//!
//! **The cost** (`cost`): the block of prices that the *answered* service tier names, in it the highest tier that the whole prompt
//! exceeds, each class at its own price or the one it falls back to, times the multipliers, plus unit prices, times the account's
//! `price_factor`. All of it is one exact fraction, rounded half up once to nano-dollars.
//!
//! This room knows only `words`.

mod book;
mod cost;
mod entry;
mod exact;
mod name;
mod read;

pub use book::{Book, Fault, Named, Scope};
pub use cost::{Ask, Cost, Priced, charged, cost, price_all};
pub use entry::{Entry, Mode};

#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod override_tests;
