//! Nothing to build; a build script makes cargo compile the build dependencies, too.

fn main() {}
