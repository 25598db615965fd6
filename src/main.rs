//! The `density-server` command.

fn main() {}
