//! Fleets of real processes' parts over real sockets: membership, queries over several workers, and
//! what happens when one dies, hangs, or never answers.

mod faults;
mod harness;
mod membership;
mod queries;
