//! Fleets of real processes' parts over real sockets: membership, queries over several workers, and
//! what happens when one dies, hangs, or never answers.

// A test that cannot go on should say where; the lint's own exception knows only test functions.
#![allow(clippy::unwrap_used)]

mod faults;
mod harness;
mod membership;
mod queries;
