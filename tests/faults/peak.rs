//! The most memory that a proxy had.

use edgeproxy_tests::Edgeproxy;

/// Lets the peak begin anew (`proc_pid_clear_refs(5)`).
pub(crate) fn forget_peak(proxy: &Edgeproxy) {
    // Where it isn't allowed the peak is that of the whole life, which is no less.
    let _ = std::fs::write(format!("/proc/{}/clear_refs", proxy.id()), "5");
}

/// Resident at a time, in bytes, since [`forget_peak`].
///
/// # Panics
/// If the proxy has ended.
pub(crate) fn peak(proxy: &Edgeproxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("/proc/PID/status says how much memory was resident") * 1024
}
