use std::sync::Arc;

use edgeproxy_backend::{Country, Endpoint, Expected, Limits, Meter, MonoTime, Region};

use crate::Key;

/// What a [`Balancer`](crate::Balancer) has to know of something that it may pick.
///
/// All but [`in_flight`](Target::in_flight), [`elsewhere`](Target::elsewhere) and [`expected`](Target::expected) is read once, in
/// [`prepare`](crate::Balancer::prepare); a change takes effect with the next one.
pub trait Target {
    /// Identity across rebuilds: the same thing has the same key, and no two things share one.
    fn key(&self) -> u64;
    /// Identity beyond this process: the same after a restart and on every proxy. `hash` and stickiness go by
    /// it. Without one of its own, [`key`](Target::key).
    fn identity(&self) -> u64 {
        self.key()
    }
    /// Its share of traffic relative to the others; 0 takes none.
    fn weight(&self) -> u16;
    /// How many requests it takes at a time.
    fn limits(&self) -> Limits;
    /// Requests that it has under way right now. Read on every pick, so it must be cheap.
    fn in_flight(&self) -> u32;
    /// Requests that it has under way for others, as far as it is known. They count where loads are compared, and not
    /// towards a limit.
    fn elsewhere(&self) -> u32 {
        0
    }
    /// How long it is expected to take for a response, which `ewma` goes by.
    fn expected(&self, _now: MonoTime) -> Expected {
        Expected::UNKNOWN
    }
    /// The meter that `in_flight`, `elsewhere` and `expected` read, if it is one. A balancer keeps it beside the target, and
    /// so reads the load without waiting for the target itself to come from memory.
    fn meter(&self) -> Option<&Arc<Meter>> {
        None
    }
    /// The region that it runs in.
    fn region(&self) -> Region;
    /// The country that it runs in.
    fn country(&self) -> Country;
}

impl Target for Endpoint {
    fn key(&self) -> u64 {
        self.incarnation.get()
    }

    fn identity(&self) -> u64 {
        Key::of(self.backend.id.as_str().as_bytes()).bits()
    }

    fn weight(&self) -> u16 {
        self.backend.weight.get()
    }

    fn limits(&self) -> Limits {
        self.backend.limits
    }

    #[inline]
    fn in_flight(&self) -> u32 {
        self.meter.in_flight()
    }

    #[inline]
    fn elsewhere(&self) -> u32 {
        self.meter.elsewhere()
    }

    fn expected(&self, now: MonoTime) -> Expected {
        self.meter.expected(now)
    }

    fn meter(&self) -> Option<&Arc<Meter>> {
        Some(&self.meter)
    }

    fn region(&self) -> Region {
        self.backend.region
    }

    fn country(&self) -> Country {
        self.backend.country
    }
}

macro_rules! through_pointer {
    ($pointer:ty) => {
        impl<T: Target + ?Sized> Target for $pointer {
            fn key(&self) -> u64 {
                (**self).key()
            }

            fn identity(&self) -> u64 {
                (**self).identity()
            }

            fn weight(&self) -> u16 {
                (**self).weight()
            }

            fn limits(&self) -> Limits {
                (**self).limits()
            }

            #[inline]
            fn in_flight(&self) -> u32 {
                (**self).in_flight()
            }

            #[inline]
            fn elsewhere(&self) -> u32 {
                (**self).elsewhere()
            }

            fn expected(&self, now: MonoTime) -> Expected {
                (**self).expected(now)
            }

            fn meter(&self) -> Option<&Arc<Meter>> {
                (**self).meter()
            }

            fn region(&self) -> Region {
                (**self).region()
            }

            fn country(&self) -> Country {
                (**self).country()
            }
        }
    };
}

through_pointer!(Arc<T>);
through_pointer!(&T);
