//! Ids of which a store doesn't know the latest yet.

use std::collections::VecDeque;

use edgeproxy_backend::{BackendId, Incarnation};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::Write;

/// Each id once, however often it changes, oldest change first. What is written is what holds when it is written.
///
/// Bounded by the ids that the registry and the store know: an id that the store has never heard of leaves no trace
/// when it goes before it was written. So backends that come and go while nothing can be written cost nothing.
#[derive(Debug)]
pub(crate) struct Unwritten {
    marks: HashMap<BackendId, Mark, FixedState>,
    /// The ids whose mark is [`Place::Queued`], each once.
    queue: VecDeque<BackendId>,
    /// How many of the queue have nothing to be written any more.
    void: usize,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    registration: Part,
    overrides: Part,
    place: Place,
    /// The last life, if the id is not registered any more.
    gone: Option<Incarnation>,
}

/// What is to be written about one side of an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// Nothing: the store knows.
    Same,
    /// What the store has nothing of.
    New,
    /// Something else than the store may have.
    Changed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Queued,
    /// Somebody is writing it; what changes meanwhile is written after that.
    Taken,
}

/// What a store has of an id that changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Before {
    Nothing,
    Something,
}

/// What is to be written about an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Due {
    pub(crate) registration: bool,
    /// The last life, if the id is not registered any more.
    pub(crate) gone: Option<Incarnation>,
    pub(crate) overrides: bool,
}

/// A queue of this many marks without content is not worth a walk.
const FEW: usize = 32;

impl Mark {
    const BLANK: Self = Self {
        registration: Part::Same,
        overrides: Part::Same,
        place: Place::Queued,
        gone: None,
    };

    fn is_void(&self) -> bool {
        (self.registration, self.overrides) == (Part::Same, Part::Same)
    }
}

impl Part {
    fn change(&mut self, before: Before, place: Place) {
        if *self == Self::Same {
            let is_new = before == Before::Nothing && place == Place::Queued;
            *self = if is_new { Self::New } else { Self::Changed };
        }
    }
}

impl Unwritten {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            marks: HashMap::with_hasher(FixedState::with_seed(seed)),
            queue: VecDeque::new(),
            void: 0,
        }
    }

    /// Ids that wait, those that are being written not included.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len() - self.void
    }

    /// Ids that the store doesn't know the latest of.
    pub(crate) fn len(&self) -> usize {
        self.marks.len() - self.void
    }

    /// A registration is there, or is otherwise than it was.
    pub(crate) fn registered(&mut self, id: &BackendId, before: Before) {
        self.change(id, |mark| {
            mark.registration.change(before, mark.place);
            mark.gone = None;
        });
    }

    /// A registration is not there any more.
    pub(crate) fn gone(&mut self, id: &BackendId, incarnation: Incarnation) {
        self.change(id, |mark| {
            if mark.registration == Part::New {
                mark.registration = Part::Same;
            } else {
                mark.registration = Part::Changed;
                mark.gone = Some(incarnation);
            }
        });
    }

    /// An operator has changed it; whether something is set now.
    pub(crate) fn overridden(&mut self, id: &BackendId, before: Before, now: Before) {
        self.change(id, |mark| {
            if mark.overrides == Part::New && now == Before::Nothing {
                mark.overrides = Part::Same;
            } else {
                mark.overrides.change(before, mark.place);
            }
        });
    }

    /// The store knows of its registration what is to be known.
    pub(crate) fn is_known(&mut self, id: &BackendId) {
        if self.marks.contains_key(id) {
            self.change(id, |mark| {
                mark.registration = Part::Same;
                mark.gone = None;
            });
        }
    }

    /// Whether a change of its registration is yet to be written, or is being written.
    pub(crate) fn has_registration_of(&self, id: &BackendId) -> bool {
        let has = |mark: &Mark| mark.place == Place::Taken || mark.registration != Part::Same;
        self.marks.get(id).is_some_and(has)
    }

    /// Whether a change of an operator's is yet to be written, or is being written.
    pub(crate) fn has_overrides_of(&self, id: &BackendId) -> bool {
        let has = |mark: &Mark| mark.place == Place::Taken || mark.overrides != Part::Same;
        self.marks.get(id).is_some_and(has)
    }

    fn change(&mut self, id: &BackendId, change: impl FnOnce(&mut Mark)) {
        let mark = match self.marks.entry(id.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.queue.push_back(id.clone());
                self.void += 1;
                entry.insert(Mark::BLANK)
            }
        };
        let was_void = mark.is_void();
        change(mark);
        if mark.place == Place::Queued {
            match (was_void, mark.is_void()) {
                (true, false) => self.void -= 1,
                (false, true) => self.void += 1,
                _ => {}
            }
        }
        if self.void > FEW && self.void * 2 > self.queue.len() {
            self.drop_void();
        }
    }

    fn drop_void(&mut self) {
        let Self { marks, queue, void } = self;
        queue.retain(|id| {
            let has_content = marks.get(id).is_some_and(|mark| !mark.is_void());
            if !has_content {
                marks.remove(id);
            }
            has_content
        });
        *void = 0;
    }

    /// The next ids to be written, `max` at the most.
    pub(crate) fn take(&mut self, max: usize, mut each: impl FnMut(&BackendId, Due)) {
        let mut taken = 0;
        while taken < max
            && let Some(id) = self.queue.pop_front()
        {
            let Some(mark) = self.marks.get_mut(&id) else {
                continue;
            };
            if mark.is_void() {
                self.void -= 1;
                self.marks.remove(&id);
                continue;
            }
            taken += 1;
            let due = Due {
                registration: mark.registration != Part::Same,
                gone: mark.gone,
                overrides: mark.overrides != Part::Same,
            };
            *mark = Mark {
                place: Place::Taken,
                ..Mark::BLANK
            };
            each(&id, due);
        }
    }

    /// They are written.
    pub(crate) fn kept(&mut self, writes: &[Write]) {
        for write in writes {
            let Some(mark) = self.marks.get_mut(write.id()) else {
                continue;
            };
            if mark.place == Place::Queued {
                continue; // its other half has been seen already
            }
            if mark.is_void() {
                self.marks.remove(write.id());
            } else {
                mark.place = Place::Queued;
                self.queue.push_back(write.id().clone());
            }
        }
        if self.marks.is_empty() {
            self.marks.shrink_to(FEW);
            self.queue.shrink_to(FEW);
        }
    }

    /// They may not be written: they come first the next time, so that the store is tried with no more ids than it may
    /// know already.
    pub(crate) fn not_kept(&mut self, writes: &[Write]) {
        for write in writes.iter().rev() {
            let Some(mark) = self.marks.get_mut(write.id()) else {
                continue;
            };
            match write {
                Write::Overridden(_) => mark.overrides = Part::Changed,
                Write::Registered(_) => mark.registration = Part::Changed,
                Write::Gone { incarnation, .. } => {
                    if mark.registration == Part::Same {
                        mark.gone = Some(*incarnation);
                    }
                    mark.registration = Part::Changed;
                }
            }
            if mark.place == Place::Taken {
                mark.place = Place::Queued;
                self.queue.push_front(write.id().clone());
            }
        }
    }

    pub(crate) fn is_consistent(&self) -> bool {
        self.void <= self.queue.len() && self.queue.len() <= self.marks.len()
    }
}

#[cfg(test)]
mod tests {
    use edgeproxy_backend::BackendId;

    use super::*;
    use crate::Overridden;

    fn id(n: u32) -> BackendId {
        BackendId::parse(&format!("b{n}")).unwrap()
    }

    fn life(n: u64) -> Incarnation {
        Incarnation::new(n).unwrap()
    }

    /// What a registry would make of it.
    fn take(unwritten: &mut Unwritten, max: usize) -> Vec<Write> {
        let mut writes = Vec::new();
        unwritten.take(max, |id, due| {
            if due.registration {
                let incarnation = due.gone.unwrap_or(Incarnation::FIRST);
                writes.push(Write::Gone {
                    id: id.clone(),
                    incarnation,
                });
            }
            if due.overrides {
                writes.push(Write::Overridden(Overridden::nothing(id.clone())));
            }
        });
        writes
    }

    #[test]
    fn an_id_is_written_once_however_often_it_changed() {
        let mut unwritten = Unwritten::new(0);
        for _ in 0..3 {
            unwritten.registered(&id(1), Before::Nothing);
            unwritten.registered(&id(2), Before::Nothing);
            unwritten.overridden(&id(1), Before::Nothing, Before::Something);
        }
        assert_eq!((unwritten.waiting(), unwritten.len()), (2, 2));
        assert_eq!(take(&mut unwritten, 1).len(), 2);
        assert_eq!((unwritten.waiting(), unwritten.len()), (1, 2));
    }

    #[test]
    fn what_the_store_never_knew_leaves_no_trace() {
        let mut unwritten = Unwritten::new(0);
        for n in 0..10_000 {
            unwritten.registered(&id(n), Before::Nothing);
            unwritten.overridden(&id(n), Before::Nothing, Before::Something);
            unwritten.gone(&id(n), life(1));
            unwritten.overridden(&id(n), Before::Something, Before::Nothing);
        }
        assert_eq!(unwritten.len(), 0);
        assert!(unwritten.marks.len() <= FEW + 1 && unwritten.queue.len() <= FEW + 1);
        assert!(take(&mut unwritten, 10).is_empty() && unwritten.marks.is_empty());
    }

    #[test]
    fn what_changes_while_it_is_written_is_written_again() {
        let mut unwritten = Unwritten::new(0);
        unwritten.registered(&id(1), Before::Nothing);
        let writes = take(&mut unwritten, 10);
        unwritten.gone(&id(1), life(7));
        assert_eq!(unwritten.waiting(), 0, "one write of an id at a time");
        unwritten.kept(&writes);
        let expected = Write::Gone {
            id: id(1),
            incarnation: life(7),
        };
        assert_eq!(take(&mut unwritten, 10), [expected]);
    }

    #[test]
    fn what_could_not_be_written_comes_first_with_what_has_changed_since() {
        let mut unwritten = Unwritten::new(0);
        for n in 1..4 {
            unwritten.registered(&id(n), Before::Nothing);
        }
        unwritten.overridden(&id(1), Before::Nothing, Before::Something);
        let failed = take(&mut unwritten, 2);
        unwritten.gone(&id(2), life(9));
        unwritten.not_kept(&failed);
        let ids: Vec<_> = take(&mut unwritten, 10)
            .iter()
            .map(|write| write.id().clone())
            .collect();
        assert_eq!(ids, [id(1), id(1), id(2), id(3)]);
    }

    #[test]
    fn one_that_failed_and_has_gone_is_still_written_since_the_store_may_know_it() {
        let mut unwritten = Unwritten::new(0);
        unwritten.registered(&id(1), Before::Nothing);
        let failed = take(&mut unwritten, 2);
        unwritten.not_kept(&failed);
        unwritten.gone(&id(1), life(3));
        let expected = Write::Gone {
            id: id(1),
            incarnation: life(3),
        };
        assert_eq!(take(&mut unwritten, 2), [expected]);
    }
}
