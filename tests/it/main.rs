//! Tests of the whole process: the real binary between real sockets. One binary, a module a behaviour.

mod harness;

mod self_test;
