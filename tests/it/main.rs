//! Tests of the whole process: the real binary between real sockets. One binary, a module a behaviour.

mod harness;

mod self_test;

mod access_log;
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
mod upgrade;
