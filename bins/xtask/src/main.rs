//! The project's own tasks: test, ci, bench.

fn main() {}
