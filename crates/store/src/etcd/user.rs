use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A user of etcd's own authentication.
#[derive(Clone, Debug)]
pub struct EtcdUser {
    /// The name.
    pub name: String,
    /// The password.
    pub password: EtcdPassword,
}

/// Where a password is.
#[derive(Clone)]
pub enum EtcdPassword {
    /// It is this.
    Text(String),
    /// In a file, as its only line, of at most 4,096 bytes. The file is read at each authentication, so that one that has
    /// changed is taken then.
    File(PathBuf),
}

impl fmt::Debug for EtcdPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

const BYTES_MAX: u64 = 4_096;

impl EtcdPassword {
    /// The password, or what is wrong with its file.
    pub(super) async fn read(&self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => {
                let path = path.clone();
                // A file may be on a disk that hangs.
                let read = tokio::task::spawn_blocking(move || read(&path)).await;
                read.unwrap_or_else(|error| Err(format!("the file of etcd's password was not read: {error}")))
            }
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let fault = |what: &dyn fmt::Display| format!("the file of etcd's password, {}: {what}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| fault(&error))?;
    file.take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fault(&error))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(fault(
            &"it is longer than 4,096 bytes; expected one line with the password",
        ));
    }
    // What is not UTF-8 is not repeated.
    let text = String::from_utf8(bytes).map_err(|_| fault(&"it is not UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains(['\r', '\n']) {
        return Err(fault(&"expected one line with the password"));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_only_line_of_its_file_and_errors_name_the_file_and_not_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let said = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read(&path)
        };
        for text in ["hunter2", "hunter2\n", "hunter2\r\n"] {
            assert_eq!(said(text.as_bytes()), Ok("hunter2".to_owned()));
        }
        assert_eq!(said(" hunter 2 ".as_bytes()), Ok(" hunter 2 ".to_owned()));
        let long = "hunter2".repeat(1_000);
        for bad in [
            &b""[..],
            b"\n",
            b"hunter2\nhunter3",
            b"hunter2\xff",
            long.as_bytes(),
        ] {
            let message = said(bad).unwrap_err();
            assert!(message.contains(&path.display().to_string()), "{message}");
            assert!(!message.contains("hunter"), "{message}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path).unwrap_err().contains("No such file"));
        let password = EtcdPassword::Text("hunter2".to_owned());
        assert!(!format!("{password:?}").contains("hunter2"));
    }
}
