//! What happens to the fields of a message on its way through, without any I/O.

pub(crate) mod forward;
pub(crate) mod forwarded;
pub(crate) mod hop;
pub(crate) mod own_fields;
pub(crate) mod trace;
pub(crate) mod via;

use http::HeaderMap;

use crate::http1::field::Field;

/// Which of the fields that mean something to a proxy a head has. Found out in one pass: nearly all that would be
/// looked for, and removed, is not there.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Present(u32);

impl Present {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let names = headers.keys().map(|name| Self::bit(Field::of(name.as_str())));
        Self(names.fold(0, |present, bit| present | bit))
    }

    pub(crate) fn has(self, field: Field) -> bool {
        self.0 & Self::bit(field) != 0
    }

    const fn bit(field: Field) -> u32 {
        1 << field as u32
    }
}
