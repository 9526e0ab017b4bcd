//! The contract, by the stores that are here.

use edgeproxy_store::testing::Medium;
use edgeproxy_store::{FileStore, Memory, Store};
use tempfile::TempDir;

struct Process(Memory);

impl Medium for Process {
    fn open(&mut self) -> Box<dyn Store> {
        Box::new(self.0.clone())
    }
}

struct Folder(TempDir);

impl Medium for Folder {
    fn open(&mut self) -> Box<dyn Store> {
        Box::new(FileStore::open(self.0.path()))
    }
}

mod memory {
    use super::*;

    edgeproxy_store::contract!(Process(Memory::new()));
}

mod file {
    use super::*;

    edgeproxy_store::contract!(Folder(tempfile::tempdir().expect("a folder")));
}
