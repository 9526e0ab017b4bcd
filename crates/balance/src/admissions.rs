//! The order in which a caller that counts by [`Endpoint`]s lets a request in: as usual, as a last resort, and once more
//! where it has been.

use edgeproxy_backend::{Admission, Endpoint, Incarnation, Refusal};

use crate::{Balancer, Claim, PickError, Target};

/// Whether one that was excluded for its failures is used when there is no other one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum LastResort {
    /// It is: its users see its own errors rather than a refusal that outlives the fault.
    #[default]
    Used,
    /// It isn't.
    Unused,
}

impl<T: Target> Balancer<T> {
    /// Finds a place for an attempt at a request that has been `tried` on some already, the latest last: the order in which
    /// admissions are tried, until one doesn't fail. `attempt` picks, or explains a pick, under an admission and without
    /// those that it is given; `error` is why it failed.
    ///
    /// One that was tried is not tried again while another is there; the one that has just failed is not tried again at
    /// all, since with one only there is nothing to retry on.
    pub fn by_admission<R>(
        &self,
        last_resort: LastResort,
        tried: &[Incarnation],
        mut attempt: impl FnMut(Admission, &[Incarnation]) -> R,
        error: impl Fn(&R) -> Option<PickError>,
    ) -> R {
        let regular = if self.ignores_health() {
            Admission::Panic
        } else {
            Admission::Regular
        };
        let first = attempt(regular, tried);
        match error(&first) {
            Some(PickError::NoneRoutable | PickError::Exhausted) => {}
            // Somebody is routable but has no room: a last resort would push in front of it.
            None | Some(PickError::AllFull) => return first,
        }
        if last_resort == LastResort::Used {
            let last_resort = attempt(Admission::LastResort, tried);
            if error(&last_resort).is_none() {
                return last_resort;
            }
        }
        match tried {
            [.., latest] if tried.len() > 1 => attempt(regular, &[*latest]),
            _ => first,
        }
    }
}

impl<L> Claim<L> {
    /// What a meter said to a request that has been `tried` on some already.
    #[inline]
    pub fn of(
        endpoint: &Endpoint,
        tried: &[Incarnation],
        admit: impl FnOnce() -> Result<L, Refusal>,
    ) -> Self {
        if tried.contains(&endpoint.incarnation) {
            return Self::Skip;
        }
        match admit() {
            Ok(place) => Self::Granted(place),
            Err(Refusal::Full) => Self::Full,
            Err(Refusal::Shut | Refusal::OnTrial) => Self::Shut,
        }
    }
}
