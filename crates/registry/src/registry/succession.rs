//! Another process takes this one's place, or this one another's.

use std::sync::Arc;

use edgeproxy_backend::{BackendId, Endpoint, Incarnation, MonoTime};

use super::Registry;
use crate::Kept;

impl Registry {
    /// Nobody can renew anything until it [goes on](Self::go_on): every deadline moves by all that lies between, whatever is
    /// taken in meanwhile.
    pub fn stand_still(&mut self, now: MonoTime) {
        self.advance(now);
        self.clock.stand();
        debug_assert!(self.check_invariants());
    }

    /// Time passes again, from `now` on.
    pub fn go_on(&mut self, now: MonoTime) {
        self.advance(now);
        self.clock.go_on();
        debug_assert!(self.check_invariants());
    }

    /// The process whose [`kept`](Self::kept) this one goes on from has requests under way. From now on no drain ends before its
    /// deadline unless that process [has none](Self::handle_predecessor_done) on the backend either, until it
    /// [is gone](Self::handle_predecessor_gone).
    pub fn handle_predecessor(&mut self, now: MonoTime) {
        self.advance(now);
        self.begin_preceded();
        debug_assert!(self.check_invariants());
    }

    /// The backends that have begun to drain, or were disabled, since this was last called, for the process before to begin no
    /// more requests there; `max` of them at the most, and the others by the next call. `None`: nobody is to be named, and
    /// nothing is waited for, that it would have to be asked about. O(n) in those that drain.
    pub fn ask_predecessor(&mut self, max: usize) -> Option<Vec<(BackendId, Incarnation)>> {
        let asked = self.ask_predecessor_now(max);
        debug_assert!(self.check_invariants());
        asked
    }

    /// The process before has no request under way there any more, and begins none.
    pub fn handle_predecessor_done(&mut self, id: &BackendId, incarnation: Incarnation, now: MonoTime) {
        self.advance(now);
        self.predecessor_is_done_with(id, incarnation);
        debug_assert!(self.check_invariants());
    }

    /// The process before has ended.
    pub fn handle_predecessor_gone(&mut self, now: MonoTime) {
        self.advance(now);
        self.end_preceded();
        debug_assert!(self.check_invariants());
    }

    /// The process that has taken this one's place has that incarnation drain, or disabled: it gets no more requests from here, either.
    /// What it still has in flight is on the meter. `None`: there is none here.
    pub fn handle_successor_drains(
        &mut self,
        id: &BackendId,
        incarnation: Incarnation,
        now: MonoTime,
    ) -> Option<Arc<Endpoint>> {
        self.advance(now);
        let endpoint = self.drain_with_successor(id, incarnation);
        debug_assert!(self.check_invariants());
        endpoint
    }

    /// All that a store that knows everything has, oldest incarnation first, and ids in order. O(n).
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.all_kept()
    }

    /// The number that the next incarnation gets.
    #[must_use]
    pub const fn following_incarnation(&self) -> Incarnation {
        self.next_incarnation
    }
}
