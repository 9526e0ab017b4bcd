//! A disk that fails when it is told to, and whose power can be cut: it knows what has been written and what is
//! durable, and makes of the difference what a real one may make of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::Disk;

/// What the operation of that number does instead of what it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::file) enum Fault {
    /// It fails, once. A write has written a part; a sync has forgotten what it could not write.
    Once(usize, io::ErrorKind),
    /// It fails, and so does everything that takes room after it.
    FullFrom(usize),
    /// Power is cut in it, and nothing works any more.
    PowerCut(usize),
}

/// A clone is the same disk.
#[derive(Clone, Debug, Default)]
pub(in crate::file) struct Model(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names since they were synced, in order.
    renamings: Vec<BTreeMap<String, usize>>,
    fault: Option<Fault>,
    operations: usize,
    syncs: usize,
    random: fastrand::Rng,
}

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// What has happened since it was synced.
    pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
enum Pending {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

fn apply(pending: &Pending, bytes: &mut Vec<u8>) {
    match pending {
        Pending::Write(at, written) => {
            let end = at + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(written);
        }
        Pending::Truncate(len) => bytes.truncate(*len),
    }
}

impl Model {
    /// An empty disk; what it makes of faults is drawn from `seed`.
    pub(in crate::file) fn new(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self(Rc::new(RefCell::new(State {
            random,
            ..State::default()
        })))
    }

    /// From the next operation on, which has the number 0.
    pub(in crate::file) fn set_fault(&self, fault: Fault) {
        let mut state = self.0.borrow_mut();
        state.operations = 0;
        state.fault = Some(fault);
    }

    /// Nothing fails any more.
    pub(in crate::file) fn mend(&self) {
        self.0.borrow_mut().fault = None;
    }

    /// How many operations there were since a fault was set, or ever.
    pub(in crate::file) fn operations(&self) -> usize {
        self.0.borrow().operations
    }

    /// How many times content was synced.
    pub(in crate::file) fn syncs(&self) -> usize {
        self.0.borrow().syncs
    }

    /// What a file says.
    pub(in crate::file) fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.0.borrow();
        state.names.get(name).map(|file| state.files[*file].bytes.clone())
    }

    /// Puts a durable file there.
    pub(in crate::file) fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        let (bytes, durable) = (bytes.to_vec(), bytes.to_vec());
        state.files.push(Content {
            bytes,
            durable,
            pending: Vec::new(),
        });
        let file = state.files.len() - 1;
        state.names.insert(name.to_owned(), file);
        state.durable_names = state.names.clone();
    }

    /// The disk as it may be found after power was cut: with what was synced, and any of what wasn't.
    pub(in crate::file) fn after_power_cut(&self) -> Self {
        let mut state = self.0.borrow_mut();
        let State { files, random, .. } = &mut *state;
        let mut found = Vec::new();
        for content in files.iter() {
            let mut bytes = content.durable.clone();
            for pending in &content.pending {
                match (pending, random.u8(..4)) {
                    // Pages are written in any order.
                    (_, 0) => {}
                    (Pending::Write(at, written), 1) => {
                        let part = random.usize(..=written.len());
                        apply(&Pending::Write(*at, written[..part].to_vec()), &mut bytes);
                    }
                    (Pending::Write(at, written), 2) => {
                        // There is room for it, but nothing in it.
                        apply(&Pending::Write(*at, vec![0; written.len()]), &mut bytes);
                    }
                    _ => apply(pending, &mut bytes),
                }
            }
            found.push(Content {
                durable: bytes.clone(),
                bytes,
                pending: Vec::new(),
            });
        }
        // Names change one after the other.
        let changes = state.renamings.len();
        let renamed = state.random.usize(..=changes);
        let names = renamed
            .checked_sub(1)
            .map_or(&state.durable_names, |last| &state.renamings[last])
            .clone();
        let random = state.random.fork();
        Self(Rc::new(RefCell::new(State {
            files: found,
            durable_names: names.clone(),
            names,
            random,
            ..State::default()
        })))
    }
}

impl State {
    /// Counts an operation. Says what goes wrong with it.
    fn begin(&mut self, takes_room: bool) -> Option<io::Error> {
        let number = self.operations;
        self.operations += 1;
        match self.fault? {
            Fault::Once(at, kind) => (at == number).then(|| kind.into()),
            Fault::FullFrom(from) => {
                (takes_room && number >= from).then(|| io::ErrorKind::StorageFull.into())
            }
            Fault::PowerCut(at) => (number >= at).then(|| io::Error::other("power was cut")),
        }
    }

    fn change_names(&mut self, change: impl FnOnce(&mut BTreeMap<String, usize>)) {
        change(&mut self.names);
        self.renamings.push(self.names.clone());
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn fails(error: Option<io::Error>) -> io::Result<()> {
    error.map_or(Ok(()), Err)
}

impl Disk for Model {
    type File = usize;

    fn open(&self, name: &str) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        fails(state.begin(false))?;
        state.file(name)
    }

    fn create(&self, name: &str) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        fails(state.begin(true))?;
        state.files.push(Content::default());
        let file = state.files.len() - 1;
        state.change_names(|names| {
            names.insert(name.to_owned(), file);
        });
        Ok(file)
    }

    fn len_as(&self, name: &str, file: &usize) -> io::Result<Option<u64>> {
        let mut state = self.0.borrow_mut();
        fails(state.begin(false))?;
        let is_same = state.names.get(name) == Some(file);
        Ok(is_same.then(|| state.files[*file].bytes.len() as u64))
    }

    fn read(&self, file: &usize) -> io::Result<Vec<u8>> {
        let mut state = self.0.borrow_mut();
        fails(state.begin(false))?;
        Ok(state.files[*file].bytes.clone())
    }

    fn write(&self, file: &usize, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let error = state.begin(true);
        let at = usize::try_from(at).expect("a small file");
        let len = error
            .as_ref()
            .map_or(bytes.len(), |_| state.random.usize(..=bytes.len()));
        let write = Pending::Write(at, bytes[..len].to_vec());
        let content = &mut state.files[*file];
        apply(&write, &mut content.bytes);
        content.pending.push(write);
        fails(error)
    }

    fn truncate(&self, file: &usize, len: u64) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        fails(state.begin(false))?;
        let truncate = Pending::Truncate(usize::try_from(len).expect("a small file"));
        let content = &mut state.files[*file];
        apply(&truncate, &mut content.bytes);
        content.pending.push(truncate);
        Ok(())
    }

    fn sync(&self, file: &usize) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        // Room that is only found missing when it is written to.
        let error = state.begin(true);
        let cut = matches!(state.fault, Some(Fault::PowerCut(_)));
        state.syncs += 1;
        let content = &mut state.files[*file];
        match error {
            Some(error) if cut => return Err(error),
            // What could not be written is forgotten, and no later sync writes it.
            Some(error) => {
                content.pending.clear();
                return Err(error);
            }
            None => {
                for pending in std::mem::take(&mut content.pending) {
                    apply(&pending, &mut content.durable);
                }
            }
        }
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut state = self.0.borrow_mut();
        fails(state.begin(false))?;
        Ok(state.names.keys().cloned().collect())
    }

    fn link(&self, name: &str, other: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        fails(state.begin(true))?;
        let file = state.file(name)?;
        if state.names.contains_key(other) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change_names(|names| {
            names.insert(other.to_owned(), file);
        });
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        fails(state.begin(false))?;
        let file = state.file(from)?;
        state.change_names(|names| {
            names.remove(from);
            names.insert(to.to_owned(), file);
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        fails(state.begin(false))?;
        state.file(name)?;
        state.change_names(|names| {
            names.remove(name);
        });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        fails(state.begin(false))?;
        state.durable_names = state.names.clone();
        state.renamings.clear();
        Ok(())
    }
}
