//! What a client's connection serves at a time, by the connection's own task.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Wake, Waker};

use slab::Slab;

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// Futures that are polled by one task, each only when it has been woken, until it is done.
///
/// A task for each would do the same for more: its memory, which the runtime aligns to two cache lines, costs the
/// allocator ten times what a small box does, and the future is moved into it by way of three others.
pub(crate) struct Served {
    futures: Slab<Pin<Box<dyn Future<Output = ()>>>>,
    /// By the keys of the futures. Whoever comes later on the same place gets the same.
    wakers: Vec<(Arc<One>, Waker)>,
    woken: Arc<Mutex<Woken>>,
    /// Memory for those whose turn it is.
    turn: Vec<usize>,
}

/// Who wants to be polled. Behind a lock that nobody waits for: a worker's connections are woken by the worker, and by
/// another only when it hands on a place that somebody queues for.
#[derive(Default)]
struct Woken {
    keys: Vec<usize>,
    /// Told of the first.
    task: Option<Waker>,
}

struct One {
    key: usize,
    is_woken: AtomicBool,
    woken: Arc<Mutex<Woken>>,
}

impl Served {
    pub(crate) fn new() -> Self {
        Self {
            futures: Slab::new(),
            wakers: Vec::new(),
            woken: Arc::default(),
            turn: Vec::new(),
        }
    }

    /// Takes one on, and wakes the task for it.
    pub(crate) fn push(&mut self, future: Pin<Box<dyn Future<Output = ()>>>) {
        let key = self.futures.insert(future);
        // Keys are given out from the bottom.
        while self.wakers.len() <= key {
            let one = Arc::new(One {
                key: self.wakers.len(),
                is_woken: AtomicBool::new(false),
                woken: Arc::clone(&self.woken),
            });
            self.wakers.push((Arc::clone(&one), one.into()));
        }
        if let Some((one, _)) = self.wakers.get(key) {
            one.wake_by_ref();
        }
    }

    /// Polls each that has been woken, once. Whoever is woken meanwhile wakes the task. Whether there was any.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        {
            let mut woken = lock(&self.woken);
            mem::swap(&mut woken.keys, &mut self.turn);
            if !woken.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                woken.task = Some(cx.waker().clone());
            }
        }
        let any = !self.turn.is_empty();
        for key in self.turn.drain(..) {
            let Some((one, waker)) = self.wakers.get(key) else {
                continue;
            };
            // Not a mere store: whoever finds it woken doesn't wake it again, so what that one did before must be seen by the
            // poll below.
            one.is_woken.swap(false, Ordering::AcqRel);
            // It may have been woken for one that has ended, whose place it has now or nobody.
            if let Some(future) = self.futures.get_mut(key)
                && ends(future.as_mut(), waker)
            {
                drop(self.futures.remove(key));
            }
        }
        any
    }
}

/// Whether it is done, or has panicked, which is for nobody else to suffer from; as it would be in a task of its own.
fn ends(future: Pin<&mut dyn Future<Output = ()>>, waker: &Waker) -> bool {
    let polled = panic::catch_unwind(AssertUnwindSafe(|| future.poll(&mut Context::from_waker(waker))));
    polled.map_or(true, |polled| polled.is_ready())
}

impl Wake for One {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut woken = lock(&self.woken);
        woken.keys.push(self.key);
        let task = if woken.keys.len() == 1 {
            woken.task.clone()
        } else {
            None
        };
        // Whom a waker wakes may use it at once.
        drop(woken);
        if let Some(task) = task {
            task.wake();
        }
    }
}

fn lock(woken: &Mutex<Woken>) -> MutexGuard<'_, Woken> {
    woken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::sync::atomic::AtomicU32;
    use std::task::Poll;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicU32);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Futures that count how often they are polled, leave their wakers behind, and end when they are told to.
    #[derive(Clone, Default)]
    struct Stage {
        polled: Rc<RefCell<Vec<u32>>>,
        wakers: Rc<RefCell<Vec<Option<Waker>>>>,
        ends: Rc<Cell<Option<usize>>>,
    }

    impl Stage {
        fn future(&self, index: usize) -> impl Future<Output = ()> + use<> {
            let stage = self.clone();
            stage.polled.borrow_mut().resize(index + 1, 0);
            stage.wakers.borrow_mut().resize(index + 1, None);
            poll_fn(move |cx| {
                stage.polled.borrow_mut()[index] += 1;
                stage.wakers.borrow_mut()[index] = Some(cx.waker().clone());
                if stage.ends.get() == Some(index) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
        }

        fn wake(&self, index: usize) {
            let waker = self.wakers.borrow()[index].clone();
            waker.unwrap().wake();
        }
    }

    #[test]
    fn only_those_are_polled_that_were_woken_and_the_task_is_told_once() {
        let (stage, task) = (Stage::default(), Arc::new(Counted::default()));
        let waker = Waker::from(Arc::clone(&task));
        let mut cx = Context::from_waker(&waker);
        let mut served = Served::new();
        for index in 0..3 {
            served.push(Box::pin(stage.future(index)));
        }
        assert!(served.poll(&mut cx));
        assert!(!served.poll(&mut cx));
        assert_eq!(*stage.polled.borrow(), [1, 1, 1]);
        for index in [2, 0, 2] {
            stage.wake(index);
        }
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
        assert!(served.poll(&mut cx));
        assert_eq!(*stage.polled.borrow(), [2, 1, 2]);
        stage.wake(1);
        assert_eq!(task.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn one_that_has_ended_is_dropped_and_its_place_is_the_next_ones() {
        let (stage, mut cx) = (Stage::default(), Context::from_waker(Waker::noop()));
        let mut served = Served::new();
        served.push(Box::pin(stage.future(0)));
        served.poll(&mut cx);
        stage.ends.set(Some(0));
        stage.wake(0);
        served.poll(&mut cx);
        assert_eq!(Rc::strong_count(&stage.polled), 1, "it has been dropped");
        stage.wake(0);
        served.poll(&mut cx);
        assert_eq!(*stage.polled.borrow(), [2]);
        served.push(Box::pin(stage.future(1)));
        served.poll(&mut cx);
        assert_eq!(*stage.polled.borrow(), [2, 1]);
        assert_eq!(served.wakers.len(), 1);
    }

    #[test]
    fn one_that_wakes_itself_has_its_turn_with_the_next_poll() {
        let polls = Rc::new(Cell::new(0));
        let (mut served, counted) = (Served::new(), Rc::clone(&polls));
        served.push(Box::pin(poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            cx.waker().wake_by_ref();
            Poll::Pending
        })));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(served.poll(&mut cx));
        assert_eq!(polls.get(), 1);
        assert!(served.poll(&mut cx));
        assert_eq!(polls.get(), 2);
    }

    #[test]
    fn one_that_panics_ends_alone() {
        let (stage, mut cx) = (Stage::default(), Context::from_waker(Waker::noop()));
        let mut served = Served::new();
        served.push(Box::pin(async { panic!("it is meant to") }));
        served.push(Box::pin(stage.future(1)));
        served.poll(&mut cx);
        assert_eq!(*stage.polled.borrow(), [0, 1]);
        assert_eq!(served.futures.len(), 1);
    }
}
