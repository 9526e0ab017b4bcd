//! `edgeproxy token`: tokens for the API, and their entries in the file of tokens.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use edgeproxy_access::{AppPattern, Entry, Grants, Role, Token, UnixSecs, UnixSecsError};
use ipnet::IpNet;

use crate::output::{print, tell};

/// Which token.
#[derive(Subcommand, Debug)]
pub(crate) enum TokenTask {
    /// Make one: it is printed once, and its entry for the file of tokens on standard error, or added to the file.
    New(EntryOptions),
    /// Write the entry of one that was made elsewhere, which is read from standard input.
    Hash(EntryOptions),
}

/// What it is for.
#[derive(Args, Debug)]
pub(crate) struct EntryOptions {
    /// What it is called in the audit log.
    #[arg(long)]
    name: String,
    /// What it allows: read, register or operate.
    #[arg(long)]
    role: Role,
    /// For which apps: a name, its beginning and a star, or "*".
    #[arg(long, value_name = "APP")]
    app: AppPattern,
    /// When it ends: a date, a date and a time in UTC, or a time from now on such as 90d.
    #[arg(long, value_name = "WHEN", value_parser = expiry)]
    expires: Option<UnixSecs>,
    /// A network that it may be used from; may be given several times.
    #[arg(long, value_name = "CIDR")]
    from: Vec<IpNet>,
    /// Add the entry to this file, which is made with mode 0600 if it isn't there.
    #[arg(long, value_name = "FILE")]
    append: Option<PathBuf>,
}

/// Makes or hashes one; 0, or 1 with the reason.
pub(crate) fn token(task: &TokenTask) -> ExitCode {
    let done = match task {
        TokenTask::New(options) => make(options),
        TokenTask::Hash(options) => hash(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("edgeproxy: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn make(options: &EntryOptions) -> anyhow::Result<()> {
    let token = Token::generate()?;
    let entry = options.entry(&token)?;
    match &options.append {
        // Whoever can't have the entry has no use for the token.
        Some(path) => append(path, &entry)?,
        None => tell(&format!(
            "# Its entry, for the file of EDGEPROXY_API_TOKENS_FILE:\n{entry}"
        )),
    }
    print(&format!("{}\n", token.reveal()));
    if io::stdout().is_terminal() {
        tell("# This is the only time that the token is shown.\n");
    }
    Ok(())
}

fn hash(options: &EntryOptions) -> anyhow::Result<()> {
    let token = Token::parse(&read(&mut io::stdin().lock(), "standard input")?)?;
    let entry = options.entry(&token)?;
    match &options.append {
        Some(path) => append(path, &entry),
        None => {
            print(&entry);
            Ok(())
        }
    }
}

impl EntryOptions {
    fn entry(&self, token: &Token) -> anyhow::Result<String> {
        let mut entry = Entry::new(&self.name, self.role, self.app.clone(), token.digest());
        entry.expires = self.expires;
        entry.from.clone_from(&self.from);
        let text = entry.to_string();
        Grants::parse(&text).context("this makes no entry")?;
        Ok(text)
    }
}

/// A token from a file, for a request.
pub(crate) fn from_file(path: &Path) -> anyhow::Result<Token> {
    let shown = path.display().to_string();
    let mut file = std::fs::File::open(path).with_context(|| format!("{shown} can't be read"))?;
    Token::parse(&read(&mut file, &shown)?).with_context(|| format!("{shown} holds no token"))
}

/// One line, without its end.
fn read(from: &mut impl Read, what: &str) -> anyhow::Result<String> {
    /// More than a token has, and an end of the line.
    const MOST: u64 = 4_096;
    let mut text = String::new();
    from.take(MOST)
        .read_to_string(&mut text)
        .with_context(|| format!("{what} can't be read as text"))?;
    Ok(text.trim().to_owned())
}

/// Adds an entry, unless the file would be none with it.
fn append(path: &Path, entry: &str) -> anyhow::Result<()> {
    let shown = path.display();
    let before = match std::fs::read_to_string(path) {
        Ok(before) => before,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => bail!("{shown} can't be read: {error}"),
    };
    let gap = match before.as_str() {
        "" => "",
        before if before.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let added = format!("{gap}{entry}");
    if let Err(error) = Grants::parse(&format!("{before}{added}")) {
        bail!("with this entry {shown} could not be used: {error}");
    }
    let mut file = OpenOptions::new();
    file.append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(added.as_bytes()))
        .with_context(|| format!("{shown} can't be written"))
}

fn expiry(text: &str) -> Result<UnixSecs, String> {
    let Ok(duration) = humantime::parse_duration(text) else {
        return text.parse().map_err(|error: UnixSecsError| error.to_string());
    };
    SystemTime::now()
        .checked_add(duration)
        .map(UnixSecs::of)
        .filter(|at| *at <= LAST)
        .ok_or_else(|| {
            format!("{text:?} from now is after the year 9999; give less, or no expiry for a token that doesn't end")
        })
}

/// The end of the year 9999, the last moment that a file can name.
const LAST: UnixSecs = UnixSecs(253_402_300_799);

#[cfg(test)]
mod tests {
    use super::*;

    fn options(name: &str) -> EntryOptions {
        EntryOptions {
            name: name.to_owned(),
            role: Role::Register,
            app: AppPattern::Any,
            expires: None,
            from: Vec::new(),
            append: None,
        }
    }

    #[test]
    fn entries_are_added_one_after_the_other_and_none_that_spoils_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let tokens = ["a", "b", "c"].map(|name| (name, Token::generate().unwrap()));
        for (name, token) in &tokens {
            append(&path, &options(name).entry(token).unwrap()).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let grants = Grants::parse(&text).unwrap();
        for (name, token) in &tokens {
            assert_eq!(grants.of_token(token.reveal().as_bytes()).unwrap().name(), *name);
        }
        let again = options("a").entry(&Token::generate().unwrap()).unwrap();
        let told = append(&path, &again).unwrap_err().to_string();
        assert!(told.contains("which another entry has"), "{told}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn an_entry_ends_at_a_date_or_after_a_time() {
        let UnixSecs(now) = UnixSecs::of(SystemTime::now());
        let UnixSecs(then) = expiry("90d").unwrap();
        assert!((now + 7_775_990..=now + 7_776_010).contains(&then), "{then}");
        assert_eq!(expiry("1970-01-02"), Ok(UnixSecs(86_400)));
        assert!(expiry("soon").is_err());
        for never in ["10000y", "300000000000y"] {
            let told = expiry(never).unwrap_err();
            assert!(told.contains("after the year 9999"), "{told}");
        }
    }
}
