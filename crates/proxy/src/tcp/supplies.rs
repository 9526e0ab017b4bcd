use std::cell::{Cell, RefCell};
use std::io;

use super::bounds::Bounds;
#[cfg(not(target_os = "linux"))]
use super::copy::Bulk;
#[cfg(target_os = "linux")]
use super::splice::Bulk;

/// A buffer of [`BUFFER_BYTES`].
pub(super) type Buffer = Box<[u8]>;

/// What a direction begins with. It holds one only between a read and the write of it, so what this costs is
/// paid for connections whose receiver has stopped, not for idle ones.
pub(super) const BUFFER_BYTES: usize = 16 * 1024;

/// Buffers kept for later: what a burst may need again, 1 MiB.
const MAX_SPARE_BUFFERS: usize = 64;

/// Carriers of bulk at a time, for each worker. With half a MiB in each, a thousand stalled receivers would
/// otherwise pin half a GiB of the kernel's memory; whoever gets none goes on with a buffer. The kernel's own
/// limit for an unprivileged user, 64 MiB of pipes, is 128.
const MAX_BULK: usize = 128;

/// Carriers kept for later.
const MAX_SPARE_BULK: usize = 16;

/// What the TCP connections of one worker borrow for as long as bytes are under way.
///
/// When the last connection has ended, the spare carriers go too: they hold descriptors.
#[derive(Default)]
pub(crate) struct Supplies {
    buffers: RefCell<Vec<Buffer>>,
    bulk: RefCell<Vec<Bulk>>,
    /// Carriers that exist, spare ones included.
    bulk_made: Cell<usize>,
    bulk_unusable: Cell<bool>,
    connections: Cell<usize>,
    pub(super) bounds: Bounds,
}

impl Supplies {
    pub(super) fn buffer(&self) -> Buffer {
        let spare = self.buffers.borrow_mut().pop();
        spare.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice())
    }

    pub(super) fn return_buffer(&self, buffer: Buffer) {
        let mut spare = self.buffers.borrow_mut();
        if spare.len() < MAX_SPARE_BUFFERS {
            spare.push(buffer);
        }
    }

    /// A carrier of bulk, empty. `None`: there are as many as there may be, or the system gives none.
    pub(super) fn bulk(&self) -> Option<Bulk> {
        if let Some(spare) = self.bulk.borrow_mut().pop() {
            return Some(spare);
        }
        if self.bulk_unusable.get() || self.bulk_made.get() >= MAX_BULK {
            return None;
        }
        match Bulk::open() {
            Ok(bulk) => {
                self.bulk_made.set(self.bulk_made.get() + 1);
                Some(bulk)
            }
            Err(error) => {
                tracing::debug!(%error, "no pipe can be had; bytes are copied");
                None
            }
        }
    }

    /// Takes a carrier back. One with something in it is closed with it.
    pub(super) fn return_bulk(&self, bulk: Bulk) {
        let mut spare = self.bulk.borrow_mut();
        if bulk.held() == 0 && spare.len() < MAX_SPARE_BULK && !self.bulk_unusable.get() {
            spare.push(bulk);
        } else {
            self.bulk_made.set(self.bulk_made.get().saturating_sub(1));
        }
    }

    /// Whether an error means that carriers can't be used on this system at all. If so, none is given out any
    /// more, and a buffer has to do.
    pub(super) fn is_unusable(&self, error: &io::Error) -> bool {
        let unusable = matches!(
            error.kind(),
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
        );
        if unusable {
            self.bulk_unusable.set(true);
        }
        unusable
    }

    /// Closes spare carriers, which hold descriptors.
    pub(crate) fn let_go(&self) {
        let spare = std::mem::take(&mut *self.bulk.borrow_mut());
        self.bulk_made
            .set(self.bulk_made.get().saturating_sub(spare.len()));
    }

    /// Counts a connection until that is dropped.
    pub(super) fn begin(&self) -> Begun<'_> {
        self.connections.set(self.connections.get() + 1);
        Begun(self)
    }
}

/// A connection that may borrow.
pub(super) struct Begun<'a>(&'a Supplies);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let supplies = self.0;
        supplies.connections.set(supplies.connections.get() - 1);
        if supplies.connections.get() == 0 {
            supplies.let_go();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriers_are_bounded_kept_and_closed_after_the_last_connection() {
        let supplies = Supplies::default();
        let (one, other) = (supplies.begin(), supplies.begin());
        let all: Vec<_> = std::iter::from_fn(|| supplies.bulk()).collect();
        // The system may have given fewer.
        assert!((1..=MAX_BULK).contains(&all.len()), "{}", all.len());
        for bulk in all {
            supplies.return_bulk(bulk);
        }
        assert!((1..=MAX_SPARE_BULK).contains(&supplies.bulk.borrow().len()));
        drop(one);
        assert!(!supplies.bulk.borrow().is_empty());
        drop(other);
        assert!(supplies.bulk.borrow().is_empty());
        assert_eq!(supplies.bulk_made.get(), 0);
    }

    #[test]
    fn spare_carriers_are_closed_on_demand_and_others_can_be_had() {
        let supplies = Supplies::default();
        let _connection = supplies.begin();
        let (lent, spare) = (supplies.bulk().unwrap(), supplies.bulk().unwrap());
        supplies.return_bulk(spare);
        supplies.let_go();
        assert!(supplies.bulk.borrow().is_empty());
        assert_eq!(supplies.bulk_made.get(), 1, "the one that is lent");
        supplies.return_bulk(lent);
        assert!(supplies.bulk().is_some());
    }

    #[test]
    fn a_system_that_cannot_is_asked_once() {
        let supplies = Supplies::default();
        assert!(!supplies.is_unusable(&io::ErrorKind::ConnectionReset.into()));
        assert!(supplies.bulk().is_some());
        assert!(supplies.is_unusable(&io::ErrorKind::InvalidInput.into()));
        assert!(supplies.bulk().is_none());
    }

    #[test]
    fn buffers_are_kept_up_to_a_number() {
        let supplies = Supplies::default();
        for _ in 0..2 * MAX_SPARE_BUFFERS {
            supplies.return_buffer(vec![0; BUFFER_BYTES].into_boxed_slice());
        }
        assert_eq!(supplies.buffers.borrow().len(), MAX_SPARE_BUFFERS);
        assert_eq!(supplies.buffer().len(), BUFFER_BYTES);
    }
}
