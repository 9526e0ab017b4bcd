//! How many connections a worker has room for.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A worker's share of the connections. A slot is one connection's until it is dropped.
pub(crate) struct Slots {
    /// Never closed.
    free: Arc<Semaphore>,
    size: Cell<u32>,
    /// Slots that are taken and will be no more once they are given back, since there are to be fewer.
    surplus: Cell<u32>,
}

/// As many as a semaphore can count, twice.
const MAX: u32 = u32::MAX >> 4;

impl Slots {
    pub(crate) fn new(size: u32) -> Self {
        let size = size.min(MAX);
        Self {
            free: Arc::new(Semaphore::new(size as usize)),
            size: Cell::new(size),
            surplus: Cell::new(0),
        }
    }

    /// The next that is free.
    pub(crate) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let slot = Arc::clone(&self.free).acquire_owned().await.ok()?;
            if let Some(slot) = self.keep(slot) {
                return Some(slot);
            }
        }
    }

    /// One that is free now.
    pub(crate) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let slot = Arc::clone(&self.free).try_acquire_owned().ok()?;
            if let Some(slot) = self.keep(slot) {
                return Some(slot);
            }
        }
    }

    /// Has another number of slots from now on. Nobody loses one: where there are to be fewer than are taken, the next
    /// that are given back are no more.
    pub(crate) fn resize(&self, size: u32) {
        let size = size.min(MAX);
        let before = self.size.replace(size);
        if size > before {
            let more = size - before;
            let kept = more.min(self.surplus.get());
            self.surplus.set(self.surplus.get() - kept);
            self.free.add_permits((more - kept) as usize);
        } else {
            let fewer = before - size;
            let gone = self.free.forget_permits(fewer as usize);
            let gone = u32::try_from(gone).unwrap_or(fewer);
            self.surplus.set(self.surplus.get() + (fewer - gone));
        }
    }

    /// Resolves when every slot is free.
    pub(crate) async fn all(&self) {
        // All that are free, or will be.
        let all = self.size.get() + self.surplus.get();
        // Never closed.
        let _ = self.free.acquire_many(all).await;
    }

    fn keep(&self, slot: OwnedSemaphorePermit) -> Option<OwnedSemaphorePermit> {
        if self.surplus.get() == 0 {
            return Some(slot);
        }
        self.surplus.set(self.surplus.get() - 1);
        slot.forget();
        None
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn free(slots: &Slots) -> usize {
        let taken: Vec<_> = std::iter::from_fn(|| slots.try_take()).collect();
        taken.len()
    }

    fn is_ready(future: impl Future) -> bool {
        matches!(
            pin!(future).poll(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(_)
        )
    }

    #[test]
    fn more_slots_are_there_at_once() {
        let slots = Slots::new(1);
        let held = slots.try_take().unwrap();
        assert!(!is_ready(slots.take()));
        slots.resize(3);
        assert_eq!(free(&slots), 2);
        drop(held);
        assert_eq!(free(&slots), 3);
        assert!(is_ready(slots.all()));
    }

    #[test]
    fn nobody_loses_a_slot_when_there_are_to_be_fewer() {
        let slots = Slots::new(4);
        let mut held: Vec<_> = (0..3).map(|_| slots.try_take().unwrap()).collect();
        slots.resize(1);
        assert_eq!(free(&slots), 0);
        assert!(!is_ready(slots.all()), "three are held");
        held.truncate(1);
        assert_eq!(free(&slots), 0, "the one that there is to be is held");
        held.clear();
        assert!(is_ready(slots.all()));
        assert_eq!(free(&slots), 1);
    }

    #[test]
    fn slots_that_were_to_go_can_stay() {
        let slots = Slots::new(3);
        let held: Vec<_> = (0..3).map(|_| slots.try_take().unwrap()).collect();
        slots.resize(1);
        slots.resize(2);
        drop(held);
        assert_eq!(free(&slots), 2);
        assert!(is_ready(slots.all()));
    }
}
