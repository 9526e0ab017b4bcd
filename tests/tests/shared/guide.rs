//! The guide to several regions, command by command, and what it says that is printed.

use std::time::Duration;

use edgeproxy_tests::page;

use crate::Test;

pub(crate) const TESTS: &[Test] = &[(
    "the_guide_to_several_regions_is_executed_command_by_command",
    the_guide_to_several_regions,
)];

/// All commands together.
const LIMIT: Duration = Duration::from_secs(120);

const PORTS: [&str; 9] = [
    "8080", "8081", "8082", "8083", "9001", "9002", "9003", "2379", "2380",
];

fn the_guide_to_several_regions() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let guide = include_str!("../../../docs/multi-region.md");
    runtime.block_on(page::run(guide, &PORTS, LIMIT));
}
