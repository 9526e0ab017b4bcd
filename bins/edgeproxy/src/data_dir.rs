//! Where registrations are kept unless somebody says otherwise.

use std::ffi::OsString;
use std::path::PathBuf;

/// The first that there is of: the folder that systemd gives a service, the user's folder for state, and the usual place
/// of that. `None`: there is neither a service nor a home.
pub(crate) fn usual(var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(var(name)?);
        path.is_absolute().then_some(path)
    };
    // A service may have several, of which the first is its own.
    let of_service = var("STATE_DIRECTORY").and_then(|folders| std::env::split_paths(&folders).next());
    of_service
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(absolute("XDG_STATE_HOME")?.join("edgeproxy")))
        .or_else(|| Some(absolute("HOME")?.join(".local/state/edgeproxy")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(vars: &[(&str, &str)]) -> Option<PathBuf> {
        usual(|name| {
            let found = vars.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_service_s_folder_comes_before_the_user_s() {
        let home = ("HOME", "/home/u");
        let state = ("XDG_STATE_HOME", "/state");
        let service = ("STATE_DIRECTORY", "/var/lib/edgeproxy:/var/lib/other");
        assert_eq!(with(&[home, state, service]), Some("/var/lib/edgeproxy".into()));
        assert_eq!(with(&[home, state]), Some("/state/edgeproxy".into()));
        assert_eq!(with(&[home]), Some("/home/u/.local/state/edgeproxy".into()));
        assert_eq!(with(&[]), None);
        // By the XDG specification a relative path is as none.
        assert_eq!(
            with(&[("XDG_STATE_HOME", "state"), home]),
            Some("/home/u/.local/state/edgeproxy".into())
        );
    }
}
