//! The load balancer that backends register themselves with.

fn main() {}
