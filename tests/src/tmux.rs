use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Edgeproxy, eventually};

/// A real terminal: a window of a tmux server of its own, with a shell in it. Both end when it is dropped.
pub struct Tmux {
    folder: TempDir,
}

impl Tmux {
    /// Why there can be none.
    #[must_use]
    pub fn missing() -> Option<&'static str> {
        let version = Command::new("tmux").arg("-V").stdout(Stdio::null()).status();
        let runs = version.is_ok_and(|status| status.success());
        (!runs).then_some("there is no tmux: apt-get install tmux")
    }

    /// One of so many columns and lines, whose shell knows where edgeproxy is and nothing of this environment's settings.
    ///
    /// # Panics
    /// If it can't be had.
    #[must_use]
    pub fn start(columns: u16, lines: u16) -> Self {
        let folder = TempDir::with_prefix("edgeproxy-tmux-").expect("a temporary folder can be made");
        let tmux = Self { folder };
        let binary = Edgeproxy::binary();
        let bin = binary
            .parent()
            .map(Path::display)
            .expect("the binary lies in a folder");
        let path = format!("{bin}:/usr/bin:/bin");
        let mut command = tmux.command();
        command
            .args(["-u", "-f", "/dev/null", "new-session", "-d", "-x"])
            .arg(columns.to_string())
            .arg("-y")
            .arg(lines.to_string())
            .args(["sh"])
            .current_dir(tmux.folder.path())
            .env_clear()
            .env("PATH", path)
            .env("HOME", tmux.folder.path())
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "screen");
        let output = command.output().expect("tmux runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // The status line would take one of them.
        tmux.tell(&["set", "-g", "status", "off"]);
        let raw = tmux.folder.path().join("raw");
        std::fs::write(&raw, "").expect("the folder can be written to");
        tmux.tell(&["pipe-pane", &format!("cat >> '{}'", raw.display())]);
        tmux.resize(columns, lines);
        tmux
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command
            .arg("-S")
            .arg(self.folder.path().join("socket"))
            .stdin(Stdio::null());
        command
    }

    fn tell(&self, args: &[&str]) -> String {
        let output = self.command().args(args).output().expect("tmux runs");
        assert!(
            output.status.success(),
            "tmux {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types a line and Enter.
    pub fn line(&self, text: &str) {
        self.tell(&["send-keys", "-l", text]);
        self.key("Enter");
    }

    /// Presses a key, by tmux's name of it: `q`, `Down`, `C-c`.
    pub fn key(&self, key: &str) {
        self.tell(&["send-keys", key]);
    }

    /// Has another size from now on.
    pub fn resize(&self, columns: u16, lines: u16) {
        self.tell(&[
            "resize-window",
            "-x",
            &columns.to_string(),
            "-y",
            &lines.to_string(),
        ]);
    }

    /// What is on the screen.
    #[must_use]
    pub fn screen(&self) -> String {
        self.tell(&["capture-pane", "-p"])
    }

    /// What is on the screen, with the escape sequences of its colours.
    #[must_use]
    pub fn screen_with_colours(&self) -> String {
        self.tell(&["capture-pane", "-p", "-e"])
    }

    /// Every byte that was written to it so far.
    ///
    /// # Panics
    /// If they can't be read.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("raw")).expect("tmux writes them down")
    }

    /// A word about the window, by tmux's name of it: `alternate_on`, `cursor_flag`.
    #[must_use]
    pub fn fact(&self, name: &str) -> String {
        let fact = self.tell(&["display-message", "-p", &format!("#{{{name}}}")]);
        fact.trim().to_owned()
    }

    /// Sends a signal to what the shell runs.
    ///
    /// # Panics
    /// If it runs nothing.
    pub fn signal(&self, signal: Signal) {
        let shell = self.fact("pane_pid");
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
        let children = children.expect("the shell is a process");
        let child = children.split_whitespace().next().and_then(|id| id.parse().ok());
        let child = child.and_then(Pid::from_raw).expect("the shell runs something");
        kill_process(child, signal).expect("it runs");
    }

    /// Waits until the screen is as the condition wants it, and gives it.
    ///
    /// # Panics
    /// With the screen, if it isn't in time.
    pub async fn shows(&self, limit: Duration, what: &str, is: impl Fn(&str) -> bool) -> String {
        let (screen, _) = eventually(limit, what, async || {
            let screen = self.screen();
            if is(&screen) {
                Ok(screen)
            } else {
                Err(format!("\n{screen}"))
            }
        })
        .await;
        screen
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.command().arg("kill-server").output();
    }
}
