//! What the product takes up.

use edgeproxy_tests::Edgeproxy;

/// At one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Vitals {
    pub(crate) descriptors: usize,
    /// Bytes.
    pub(crate) resident: u64,
    /// Bytes, at most since [`forget_peak`].
    pub(crate) peak: u64,
}

impl Vitals {
    /// # Panics
    /// If the process has ended.
    pub(crate) fn of(edgeproxy: &Edgeproxy) -> Self {
        let folder = format!("/proc/{}", edgeproxy.id());
        let status = std::fs::read_to_string(format!("{folder}/status")).expect("edgeproxy is running");
        let kib = |name: &str| -> u64 {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            let value = value.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
            value.expect("/proc/PID/status says how much memory is and was resident")
        };
        let descriptors = std::fs::read_dir(format!("{folder}/fd")).expect("edgeproxy is running");
        Self {
            descriptors: descriptors.count(),
            resident: kib("VmRSS:") * 1024,
            peak: kib("VmHWM:") * 1024,
        }
    }
}

/// Lets the peak begin anew (`proc_pid_clear_refs(5)`).
pub(crate) fn forget_peak(edgeproxy: &Edgeproxy) {
    // Where it isn't allowed the peak is that of the whole life, which is no less.
    let _ = std::fs::write(format!("/proc/{}/clear_refs", edgeproxy.id()), "5");
}
