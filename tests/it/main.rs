//! Tests of the whole process: the real binary between real sockets. One binary, a module a behaviour.

#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect stops there")]
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "what a failed test shows")]

mod harness;

mod self_test;

mod access_log;
mod admin;
mod choosing;
mod cli;
mod corpus;
mod demo;
mod failover;
mod fault_sweep;
mod first_event;
mod keys;
mod limits;
mod metering;
mod metrics;
mod parking;
mod passing;
mod refusals;
mod reload;
mod routes;
mod shutdown;
mod streaming;
mod tidy;
mod upgrade;
