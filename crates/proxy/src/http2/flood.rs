//! What a client's frames cost, counted from the bytes as they come.
//!
//! h2 0.4.20 bounds by itself: concurrent streams, a header list's decoded size, CONTINUATION frames for each
//! head, streams that were reset before they were accepted, streams that it had to reset itself (MadeYouReset,
//! CVE-2025-8671), and DATA frames with little or nothing in them. It bounds neither resets of requests that have
//! begun (rapid reset, CVE-2023-44487, as slow as to be accepted in between), nor PING (CVE-2019-9512), SETTINGS
//! (CVE-2019-9515), PRIORITY (CVE-2019-9513), WINDOW_UPDATE, and frames of unknown types. Those are bounded here.

use std::time::Duration;

use tokio::time::Instant;

use crate::Config;

/// Follows a client's frames, of which it reads nothing but the heads.
pub(crate) struct Flood {
    /// Bytes until the next frame's head.
    skip: usize,
    head: [u8; HEAD],
    /// How much of the head has come.
    have: usize,
    resets: Bucket,
    control: Bucket,
}

/// What a client has sent too much of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flooded {
    /// Streams that it asked for and reset.
    Resets,
    /// Frames that ask for nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, and what nobody knows.
    Control,
}

const HEAD: usize = 9;
const PREFACE: usize = crate::http1::connection::PREFACE.len();

/// Control frames in one go, in units of the cheapest. A client that has been quiet may open a thousand streams'
/// windows and be far from it.
const CONTROL_MAX: u32 = 10_000;
/// And each second. A client that sends as many has cost a thousandth of a core.
const CONTROL_PER_SEC: u32 = 1_000;
/// A PING is answered.
const PING_COST: u32 = 8;
/// SETTINGS are answered, and touch every stream.
const SETTINGS_COST: u32 = 16;
/// What every request may bring along, and every write may be answered with: window updates, a ping that measures.
const CREDIT: u32 = 4;
/// And one for as many bytes written: no DATA frame is shorter than its head and a few bytes.
const BYTES_PER_CREDIT: usize = 16;

impl Flood {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let resets = u32::try_from(config.max_reset_streams).unwrap_or(u32::MAX);
        Self {
            skip: PREFACE,
            head: [0; HEAD],
            have: 0,
            // All that may be open at a time may be given up at a time.
            resets: Bucket::new(config.max_streams.saturating_add(resets), resets, now),
            control: Bucket::new(CONTROL_MAX, CONTROL_PER_SEC, now),
        }
    }

    /// Of frames that nobody sends to do harm.
    pub(crate) fn unbounded(now: Instant) -> Self {
        let endless = || Bucket::new(u32::MAX, u32::MAX, now);
        Self {
            skip: PREFACE,
            head: [0; HEAD],
            have: 0,
            resets: endless(),
            control: endless(),
        }
    }

    /// Bytes have come.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> Result<(), Flooded> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            let (taken, rest) = bytes.split_at((HEAD - self.have).min(bytes.len()));
            if let Some(place) = self.head.get_mut(self.have..self.have + taken.len()) {
                place.copy_from_slice(taken);
            }
            self.have += taken.len();
            bytes = rest;
            if self.have < HEAD {
                return Ok(());
            }
            self.have = 0;
            let [a, b, c, kind, flags, ..] = self.head;
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.skip = length;
            self.frame(kind, flags, length)?;
        }
    }

    /// Bytes have been written, which the client may answer.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        let credit = u32::try_from(bytes / BYTES_PER_CREDIT).unwrap_or(u32::MAX);
        self.control.put(credit.saturating_add(CREDIT));
    }

    fn frame(&mut self, kind: u8, flags: u8, length: usize) -> Result<(), Flooded> {
        const END_STREAM: u8 = 1;
        const ACK: u8 = 1;
        let cost = match kind {
            // DATA
            0 if length > 0 || flags & END_STREAM != 0 => 0,
            // HEADERS
            1 => {
                self.control.put(CREDIT);
                0
            }
            // RST_STREAM
            3 => return self.resets.take(1).then_some(()).ok_or(Flooded::Resets),
            // SETTINGS
            4 if flags & ACK == 0 => SETTINGS_COST,
            // PING
            6 if flags & ACK == 0 => PING_COST,
            // CONTINUATION
            9 => 0,
            _ => 1,
        };
        if cost == 0 || self.control.take(cost) {
            Ok(())
        } else {
            Err(Flooded::Control)
        }
    }
}

/// A token bucket that looks at the clock only when it seems empty.
struct Bucket {
    left: u32,
    max: u32,
    per_sec: u32,
    refilled: Instant,
}

impl Bucket {
    fn new(max: u32, per_sec: u32, now: Instant) -> Self {
        Self {
            left: max,
            max,
            per_sec,
            refilled: now,
        }
    }

    fn put(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.max);
    }

    fn take(&mut self, count: u32) -> bool {
        if self.left < count {
            self.refill(Instant::now());
        }
        match self.left.checked_sub(count) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.refilled);
        let earned = since.as_micros() * u128::from(self.per_sec) / Duration::from_secs(1).as_micros();
        // Time that was too short to earn anything is kept.
        if earned > 0 {
            self.refilled = now;
            self.put(u32::try_from(earned).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flood() -> Flood {
        Flood::new(&Config::default(), Instant::now())
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    /// How many of them pass.
    fn passes(flood: &mut Flood, frame: &[u8]) -> usize {
        (0..100_000).take_while(|_| flood.read(frame).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn every_kind_has_its_price_and_time_brings_it_back() {
        for (kind, flags, length, most) in [
            (3, 0, 4, 128 + 64),
            (4, 0, 6, 625),
            (6, 0, 8, 1_250),
            (8, 0, 4, 10_000),
            (2, 0, 5, 10_000),
            (0x42, 0, 0, 10_000),
            (0, 0, 0, 10_000),
        ] {
            let mut flood = flood();
            flood.read(&[0; PREFACE]).unwrap();
            let frame = frame(kind, flags, &vec![0; length]);
            assert_eq!(passes(&mut flood, &frame), most, "frames of type {kind}");
            // It is over after the first error; this is about the price alone.
            (flood.skip, flood.have) = (0, 0);
            tokio::time::advance(Duration::from_secs(1)).await;
            let again = passes(&mut flood, &frame);
            assert!(
                (1..=1_000).contains(&again),
                "{again} frames of type {kind} a second later"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_answers_the_proxy_is_paid_for_by_what_was_written() {
        let mut flood = flood();
        flood.read(&[0; PREFACE]).unwrap();
        for _ in 0..100_000 {
            // A DATA frame of a message, which the client acknowledges twice.
            flood.wrote(9 + 30);
            flood.read(&frame(8, 0, &[0; 4])).unwrap();
            flood.read(&frame(8, 0, &[0; 4])).unwrap();
        }
        for _ in 0..100_000 {
            // A ping that measures, its answer, and the next message.
            flood.wrote(9 + 30);
            flood.read(&frame(6, 0, &[0; 8])).unwrap();
            flood.wrote(17);
        }
        // Bodies and acknowledgements are free.
        assert_eq!(passes(&mut flood, &frame(0, 0, b"x")), 100_000);
        assert_eq!(passes(&mut flood, &frame(0, 1, b"")), 100_000);
    }

    #[tokio::test(start_paused = true)]
    async fn pings_do_not_pay_for_themselves() {
        let mut flood = flood();
        flood.read(&[0; PREFACE]).unwrap();
        let passed = (0..100_000)
            .take_while(|_| {
                flood.wrote(17);
                flood.read(&frame(6, 0, &[0; 8])).is_ok()
            })
            .count();
        assert!(passed < 5_000, "{passed}");
    }

    proptest! {
        #[test]
        fn it_makes_no_difference_how_the_bytes_are_cut(
            frames in proptest::collection::vec((0_u8..12, 0_u8..6, 0_usize..300), 0..40),
            cuts in proptest::collection::vec(1_usize..50, 1..20),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let _guard = runtime.enter();
            let mut bytes = vec![0; PREFACE];
            for (kind, flags, length) in frames {
                bytes.extend(frame(kind, flags, &vec![7; length]));
            }
            let (mut whole, mut cut) = (flood(), flood());
            let expected = whole.read(&bytes);
            let mut rest = &bytes[..];
            let mut found = Ok(());
            for size in cuts.iter().cycle() {
                if rest.is_empty() || found.is_err() {
                    break;
                }
                let (part, after) = rest.split_at((*size).min(rest.len()));
                found = cut.read(part);
                rest = after;
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(
                (cut.control.left, cut.resets.left, cut.skip, cut.have),
                (whole.control.left, whole.resets.left, whole.skip, whole.have)
            );
        }
    }
}
