//! Where on the screen what stands, by its size alone.

use ratatui::layout::Rect;

/// The parts of the screen, from top to bottom. Each is as wide as the screen; one without lines isn't shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Areas {
    pub(crate) server: Rect,
    pub(crate) totals: Rect,
    pub(crate) alarm: Rect,
    pub(crate) apps: Rect,
    pub(crate) backends: Rect,
    /// Events, or everything of one backend.
    pub(crate) below: Rect,
    pub(crate) keys: Rect,
}

/// What stands below the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Below {
    Events,
    Detail,
}

/// Fewer lines than this have the table alone.
const ROOMY: u16 = 12;
/// Lines of the detail that show all of it, as a rule.
const DETAIL: u16 = 15;
/// The table with its heading beside a detail.
const LEAST_TABLE: u16 = 6;

impl Areas {
    /// Of a screen of so many columns and lines.
    pub(crate) fn of((columns, lines): (u16, u16), apps: usize, has_alarm: bool, below: Below) -> Self {
        let totals = u16::from(lines >= 4);
        let alarm = u16::from(has_alarm && lines >= 8);
        let keys = u16::from(lines >= 3);
        let room = lines.saturating_sub(1 + totals + alarm + keys);
        let below = match below {
            Below::Detail if room >= LEAST_TABLE + 8 => DETAIL.min(room - LEAST_TABLE),
            Below::Detail => room,
            Below::Events if room >= ROOMY => (room / 4).clamp(4, 11),
            Below::Events => 0,
        };
        let rest = room - below;
        let apps = u16::try_from(apps).unwrap_or(u16::MAX).saturating_add(1);
        let apps = if rest >= ROOMY { apps.min(rest / 3) } else { 0 };
        let mut y = 0;
        let mut next = |height: u16| {
            let area = Rect::new(0, y, columns, height.min(lines.saturating_sub(y)));
            y += area.height;
            area
        };
        Self {
            server: next(1),
            totals: next(totals),
            alarm: next(alarm),
            apps: next(apps),
            backends: next(rest - apps),
            below: next(below),
            keys: next(keys),
        }
    }

    /// How many backends are in sight.
    pub(crate) fn rows(&self) -> u16 {
        self.backends.height.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_every_size_belongs_to_one_part() {
        for lines in 0..120 {
            for apps in [0, 1, 3, 1_000] {
                for has_alarm in [false, true] {
                    for below in [Below::Events, Below::Detail] {
                        let areas = Areas::of((80, lines), apps, has_alarm, below);
                        let parts = [
                            areas.server,
                            areas.totals,
                            areas.alarm,
                            areas.apps,
                            areas.backends,
                            areas.below,
                            areas.keys,
                        ];
                        let mut y = 0;
                        for part in parts {
                            assert_eq!(part.y, y, "{lines} {areas:?}");
                            y += part.height;
                        }
                        assert_eq!(y, lines, "{lines} {areas:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_usual_terminal_has_all_parts_and_a_small_one_the_table() {
        let usual = Areas::of((80, 24), 2, false, Below::Events);
        assert_eq!(
            (usual.apps.height, usual.backends.height, usual.below.height),
            (3, 13, 5)
        );
        let small = Areas::of((40, 10), 2, false, Below::Events);
        assert_eq!(
            (small.apps.height, small.backends.height, small.below.height),
            (0, 7, 0)
        );
        assert_eq!(small.rows(), 6);
        let detail = Areas::of((40, 10), 2, false, Below::Detail);
        assert_eq!((detail.backends.height, detail.below.height), (0, 7));
    }
}
