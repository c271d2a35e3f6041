//! The loop over a pipe, frame by frame, with an engine that knows a few literal statements.

mod endings;
mod server;
mod startup;
mod statements;
