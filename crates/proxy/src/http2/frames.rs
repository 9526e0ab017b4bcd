//! What is wrong with a client's frames by their heads alone.
//!
//! h2 0.4.20 refuses all of it too, and ends the connection; but it says PROTOCOL_ERROR where RFC 9113 has a name for
//! what was wrong, and a PUSH_PROMISE of a client may end without a word. So what it would not understand is kept from
//! it, and the connection is ended with the right reason.

use h2::Reason;

/// Follows a client's frames. It reads their heads, and of their payloads those of SETTINGS.
pub(crate) struct Frames {
    /// Bytes until the next frame's head or setting.
    skip: usize,
    /// What has come of a head, or of a setting.
    part: [u8; HEAD],
    have: usize,
    /// Bytes of a SETTINGS frame that are still to come.
    settings: usize,
}

/// A frame that has to end the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wrong {
    pub(crate) reason: Reason,
    /// How many of the bytes that have just come are before it.
    pub(crate) before: usize,
}

const HEAD: usize = 9;
const SETTING: usize = 6;
const PREFACE: usize = crate::http1::connection::PREFACE.len();

impl Frames {
    /// Before anything has come, the preface included.
    pub(crate) fn new() -> Self {
        Self {
            skip: PREFACE,
            part: [0; HEAD],
            have: 0,
            settings: 0,
        }
    }

    /// Bytes have come.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        let (mut at, mut before) = (0, 0);
        loop {
            let skipped = self.skip.min(bytes.len() - at);
            self.skip -= skipped;
            at += skipped;
            if at == bytes.len() {
                return Ok(());
            }
            let wanted = if self.settings > 0 { SETTING } else { HEAD };
            if self.settings == 0 {
                before = at.saturating_sub(self.have);
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let (taken, _) = rest.split_at((wanted - self.have).min(rest.len()));
            if let Some(place) = self.part.get_mut(self.have..self.have + taken.len()) {
                place.copy_from_slice(taken);
            }
            self.have += taken.len();
            at += taken.len();
            if self.have < wanted {
                return Ok(());
            }
            self.have = 0;
            let read = if self.settings > 0 {
                self.settings -= SETTING;
                self.setting()
            } else {
                self.head()
            };
            read.map_err(|reason| Wrong { reason, before })?;
        }
    }

    /// RFC 9113 §6.
    fn head(&mut self) -> Result<(), Reason> {
        const ACK: u8 = 1;
        let [a, b, c, kind, flags, ..] = self.part;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let fits = match kind {
            PRIORITY => length == 5,
            RST_STREAM | WINDOW_UPDATE => length == 4,
            SETTINGS if flags & ACK != 0 => length == 0,
            SETTINGS => length % SETTING == 0,
            PING => length == 8,
            GOAWAY => length >= 8,
            // RFC 9113 §8.4: a client can't push.
            PUSH_PROMISE => return Err(Reason::PROTOCOL_ERROR),
            _ => true,
        };
        if !fits {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        if kind == SETTINGS {
            self.settings = length;
        } else {
            self.skip = length;
        }
        Ok(())
    }

    /// RFC 9113 §6.5.2.
    fn setting(&self) -> Result<(), Reason> {
        const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
        const MAX: u32 = (1 << 31) - 1;
        let [a, b, value @ ..] = self.part;
        let [c, d, e, f, ..] = value;
        if [a, b] == INITIAL_WINDOW_SIZE && u32::from_be_bytes([c, d, e, f]) > MAX {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        Ok(())
    }
}

const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    /// The preface, these, and what is found in one piece.
    fn read(frames: &[Vec<u8>]) -> Result<(), Wrong> {
        Frames::new().read(&[vec![0; PREFACE], frames.concat()].concat())
    }

    #[test]
    fn each_kind_of_frame_has_its_length() {
        for (kind, flags, right, wrong) in [
            (PRIORITY, 0, 5, 4),
            (RST_STREAM, 0, 4, 3),
            (SETTINGS, 0, 12, 13),
            (SETTINGS, 1, 0, 6),
            (PING, 0, 8, 6),
            (GOAWAY, 0, 20, 7),
            (WINDOW_UPDATE, 0, 4, 5),
        ] {
            let right = frame(kind, flags, &vec![0; right]);
            assert_eq!(read(&[right.clone(), right.clone()]), Ok(()), "{kind}");
            let expected = Wrong {
                reason: Reason::FRAME_SIZE_ERROR,
                before: PREFACE + right.len(),
            };
            assert_eq!(
                read(&[right, frame(kind, flags, &vec![0; wrong])]),
                Err(expected),
                "{kind}"
            );
        }
        // Others have any length, and their payloads are not looked into.
        for kind in [0, 1, 9, 0x42] {
            assert_eq!(read(&[frame(kind, 0, &frame(PING, 0, b""))]), Ok(()));
        }
    }

    #[test]
    fn a_window_beyond_all_bounds_and_a_push_are_refused() {
        let setting = |id: u8, value: u32| [&[0, id][..], &value.to_be_bytes()].concat();
        let settings = |value| frame(SETTINGS, 0, &[setting(3, u32::MAX), setting(4, value)].concat());
        assert_eq!(read(&[settings((1 << 31) - 1)]), Ok(()));
        let expected = Wrong {
            reason: Reason::FLOW_CONTROL_ERROR,
            before: PREFACE,
        };
        assert_eq!(read(&[settings(1 << 31)]), Err(expected));
        let expected = Wrong {
            reason: Reason::PROTOCOL_ERROR,
            before: PREFACE,
        };
        assert_eq!(read(&[frame(PUSH_PROMISE, 4, b"abcdef")]), Err(expected));
    }

    proptest! {
        /// Whatever the pieces, the same is found, and the last byte of a wrong frame is never let through.
        #[test]
        fn it_makes_no_difference_how_the_bytes_are_cut(
            frames in proptest::collection::vec((0_u8..10, 0_u8..2, 0_usize..20), 1..10),
            cuts in proptest::collection::vec(1_usize..30, 1..20),
        ) {
            let frames: Vec<_> = frames
                .into_iter()
                .map(|(kind, flags, length)| frame(kind, flags, &vec![0; length]))
                .collect();
            let bytes = [vec![0; PREFACE], frames.concat()].concat();
            let expected = Frames::new().read(&bytes);
            let (mut cut, mut passed, mut found) = (Frames::new(), 0, Ok(()));
            for size in cuts.iter().cycle() {
                let end = (passed + size).min(bytes.len());
                found = cut.read(&bytes[passed..end]);
                if let Err(wrong) = found {
                    passed += wrong.before;
                    break;
                }
                passed = end;
                if passed == bytes.len() {
                    break;
                }
            }
            prop_assert_eq!(found.map_err(|wrong| wrong.reason), expected.map_err(|wrong| wrong.reason));
            if let Err(wrong) = expected {
                let head = wrong.before..wrong.before + HEAD;
                prop_assert!(head.contains(&passed), "{passed} of {head:?}");
            }
        }
    }
}
