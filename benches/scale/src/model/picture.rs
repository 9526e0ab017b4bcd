//! What etcd sends to those who watch it, by what happens and by how large the fleet is.

use std::fmt::Write as _;

use super::paper::{self, Fleet};
use super::world::Counted;
use super::{Happening, short};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 730.0;
const TOP: f64 = 70.0;
const ROW: f64 = 44.0;
/// Bytes a second, powers of ten.
const LEAST: f64 = 2.0;
const MOST: f64 = 11.0;
/// Ten gigabits.
const LINE: f64 = 1.25e9;

/// The fleets that are drawn, smallest first.
const FLEETS: [(u32, u32); 3] = [(10, 10_000), (100, 100_000), (1_000, 1_000_000)];

/// Those in which anything is sent.
const SHOWN: [Happening; 4] = [
    Happening::Deploy,
    Happening::Death,
    Happening::Wandering,
    Happening::Anycast,
];

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.small{font-size:11px;fill:#57606a}\
line{stroke:#d0d7de}.limit{stroke:#cf222e;stroke-dasharray:4 3}.limit-text{fill:#cf222e;font-size:11px}\
.a{fill:#0969da}.b{fill:#8250df}.c{fill:#bc4c00}.paper{fill:none;stroke:#24292f;stroke-width:1.5}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}line{stroke:#3d444d}\
.limit{stroke:#f85149}.limit-text{fill:#f85149}.a{fill:#4493f8}.b{fill:#ab7df8}.c{fill:#f0883e}.paper{stroke:#e6edf3}}";

pub(crate) fn draw(points: &[(Fleet, Happening, Counted)]) -> String {
    let height = TOP + ROW * SHOWN.len() as f64 + 60.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"title\">\n\
         <title id=\"title\">What etcd sends to all proxies together, bytes a second, simulated and by arithmetic</title>\n\
         <style>{STYLE}</style>\n"
    );
    let bottom = TOP + ROW * SHOWN.len() as f64;
    // Writing to a String can't fail.
    let _ = writeln!(
        svg,
        "<text x=\"10\" y=\"22\">What etcd sends to all proxies together, bytes a second</text>"
    );
    for (at, (class, (proxies, backends))) in ["a", "b", "c"].into_iter().zip(FLEETS).enumerate() {
        let x = 10.0 + 190.0 * at as f64;
        let _ = writeln!(
            svg,
            "<circle class=\"{class}\" cx=\"{}\" cy=\"42\" r=\"5\"/><text class=\"small\" x=\"{}\" y=\"46\">{} × {} backends</text>",
            x + 5.0,
            x + 15.0,
            grouped(proxies),
            grouped(backends)
        );
    }
    let _ = writeln!(
        svg,
        "<circle class=\"paper\" cx=\"590\" cy=\"42\" r=\"7\"/><text class=\"small\" x=\"602\" y=\"46\">by arithmetic</text>"
    );
    for power in 0..=9 {
        let exponent = LEAST + f64::from(power);
        let x = place(10_f64.powf(exponent));
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\"/><text class=\"small\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            label(exponent)
        );
    }
    let x = place(LINE);
    let _ = writeln!(
        svg,
        "<line class=\"limit\" x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{bottom}\"/><text class=\"limit-text\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">10 Gbit/s</text>",
        TOP - 6.0,
        bottom + 34.0
    );
    for (at, happening) in SHOWN.into_iter().enumerate() {
        let y = TOP + ROW * (at as f64 + 0.5);
        let _ = writeln!(
            svg,
            "<text class=\"small\" x=\"10\" y=\"{:.1}\">{}</text>",
            y + 4.0,
            happening.name()
        );
        for (class, (proxies, backends)) in ["a", "b", "c"].into_iter().zip(FLEETS) {
            let fleet = Fleet { proxies, backends };
            let Some((.., counted)) = points
                .iter()
                .find(|(of, what, _)| *of == fleet && *what == happening)
            else {
                continue;
            };
            let found = counted.bytes as f64 / happening.time().as_secs_f64();
            let expected = paper::expected(fleet, happening).bytes;
            let _ = writeln!(
                svg,
                "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"><title>{}B a second</title></circle>\
                 <circle class=\"paper\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"7\"><title>{}B a second by arithmetic</title></circle>",
                place(found),
                short(found),
                place(expected),
                short(expected)
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn place(bytes: f64) -> f64 {
    let power = bytes.max(1.0).log10().clamp(LEAST, MOST);
    LEFT + (RIGHT - LEFT) * (power - LEAST) / (MOST - LEAST)
}

fn label(exponent: f64) -> &'static str {
    [
        "100 B", "1 kB", "10 kB", "100 kB", "1 MB", "10 MB", "100 MB", "1 GB", "10 GB", "100 GB",
    ][(exponent - LEAST) as usize]
}

fn grouped(number: u32) -> String {
    match number {
        n if n >= 1_000_000 => format!("{},000,000", n / 1_000_000),
        n if n >= 1_000 => format!("{},000", n / 1_000),
        n => n.to_string(),
    }
}
