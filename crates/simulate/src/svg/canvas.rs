use std::fmt::Write as _;

use super::Caption;

/// A picture in the making.
pub(super) struct Canvas {
    width: f64,
    body: String,
}

/// Where something is drawn.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Frame {
    pub(super) fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// How high up a part of the scale is.
    fn y(&self, part: f64) -> f64 {
        self.bottom() - self.height * part.clamp(0.0, 1.0)
    }

    fn x(&self, at: usize, of: usize) -> f64 {
        self.left + self.width * at as f64 / of.max(1) as f64
    }
}

/// Which end of a text is where it is put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Anchor {
    Start,
    End,
}

/// Every colour is chosen against both backgrounds, with a contrast of 4.5 or more for text.
const STYLE: &str = "\
svg{--paper:#fff;--ink:#1b1f24;--soft:#57606a;--grid:#d8dee4;--good:#0969da;--bad:#cf222e;--warm:#9a6700;--out:#cf222e}\
@media(prefers-color-scheme:dark){svg{--paper:#0d1117;--ink:#e6edf3;--soft:#9198a1;--grid:#30363d;--good:#4493f8;\
--bad:#f85149;--warm:#d29922;--out:#f85149}}\
text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;fill:var(--ink)}\
.title{font-size:17px;font-weight:600}.head{font-size:14px;font-weight:600}\
.muted,.tick{fill:var(--soft)}.tick{font-size:11px}\
.paper{fill:var(--paper)}.grid{stroke:var(--grid);fill:none}.frame{fill:none;stroke:var(--grid)}\
.good{fill:var(--good);fill-opacity:.32;stroke:var(--good);stroke-width:1}\
.bad{fill:var(--bad);fill-opacity:.75;stroke:var(--bad);stroke-width:.5}\
.line{fill:none;stroke:var(--good);stroke-width:1.5}.warm{fill:none;stroke:var(--warm);stroke-width:1.5}\
.out{fill:var(--out);fill-opacity:.16}.mark{stroke:var(--bad);stroke-width:1.5}\
.fair{fill:none;stroke:var(--soft);stroke-dasharray:3 3}";

impl Canvas {
    pub(super) const fn new(width: f64) -> Self {
        Self {
            width,
            body: String::new(),
        }
    }

    fn add(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a text can't fail.
        let _ = self.body.write_fmt(arguments);
        self.body.push('\n');
    }

    pub(super) fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::End => " text-anchor=\"end\"",
        };
        let text = escaped(text);
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\"{anchor}>{text}</text>"
        ));
    }

    pub(super) fn box_(&mut self, frame: Frame, class: &str) {
        let Frame {
            left,
            top,
            width,
            height,
        } = frame;
        self.add(format_args!(
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"{class}\"/>"
        ));
    }

    pub(super) fn horizontal(&mut self, frame: Frame, part: f64, class: &str) {
        let (y, right) = (frame.y(part), frame.left + frame.width);
        self.add(format_args!(
            "<path d=\"M{:.1} {y:.1}H{right:.1}\" class=\"{class}\"/>",
            frame.left
        ));
    }

    pub(super) fn vertical(&mut self, frame: Frame, part: f64, class: &str, title: &str) {
        let x = frame.left + frame.width * part.clamp(0.0, 1.0);
        let title = escaped(title);
        self.add(format_args!(
            "<path d=\"M{x:.1} {:.1}V{:.1}\" class=\"{class}\"><title>{title}</title></path>",
            frame.bottom() - 7.0,
            frame.bottom()
        ));
    }

    /// What lies between two curves, given as parts of the scale, in steps; nothing where they are the same everywhere.
    pub(super) fn between(&mut self, frame: Frame, lower: &[f64], upper: &[f64], class: &str) {
        if lower.iter().zip(upper).all(|(lower, upper)| upper <= lower) {
            return;
        }
        let of = upper.len();
        let mut path = String::new();
        let mut pen = Pen::new(&mut path);
        for (at, part) in upper.iter().enumerate() {
            pen.step(frame.x(at, of), frame.x(at + 1, of), frame.y(*part));
        }
        pen.rest();
        for (at, part) in lower.iter().enumerate().rev() {
            pen.step(frame.x(at + 1, of), frame.x(at, of), frame.y(*part));
        }
        pen.rest();
        self.add(format_args!("<path d=\"{path}Z\" class=\"{class}\"/>"));
    }

    /// A line through the middles of moments, with gaps where there is nothing.
    pub(super) fn line(&mut self, frame: Frame, parts: &[Option<f64>], class: &str) {
        let of = parts.len();
        let half = frame.width / of.max(1) as f64 / 2.0;
        let (mut path, mut is_down) = (String::new(), false);
        for (at, part) in parts.iter().enumerate() {
            let Some(part) = part else {
                is_down = false;
                continue;
            };
            let pen = if is_down { 'L' } else { 'M' };
            let _ = write!(path, "{pen}{:.1} {:.1}", frame.x(at, of) + half, frame.y(*part));
            is_down = true;
        }
        if !path.is_empty() {
            self.add(format_args!("<path d=\"{path}\" class=\"{class}\"/>"));
        }
    }

    /// From one moment up to, and without, another.
    pub(super) fn span(&mut self, frame: Frame, (from, to): (usize, usize), of: usize, class: &str) {
        let left = frame.x(from, of);
        let span = Frame {
            left,
            width: frame.x(to, of) - left,
            ..frame
        };
        self.box_(span, class);
    }

    pub(super) fn finish(self, height: f64, caption: Caption<'_>) -> String {
        let (width, body) = (self.width, self.body);
        let (title, description) = (escaped(caption.title), escaped(caption.description));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" role=\"img\">\n<title>{title}</title>\n<desc>{description}</desc>\n\
             <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" class=\"paper\"/>\n{body}</svg>\n"
        )
    }
}

/// Draws steps, and leaves out those that change nothing.
struct Pen<'a> {
    path: &'a mut String,
    at: Option<(f64, f64)>,
}

impl<'a> Pen<'a> {
    const fn new(path: &'a mut String) -> Self {
        Self { path, at: None }
    }

    fn step(&mut self, from: f64, to: f64, y: f64) {
        // Writing to a text can't fail.
        let _ = match self.at {
            None => write!(self.path, "M{from:.1} {y:.1}"),
            Some((_, before)) if (before - y).abs() < 0.05 => Ok(()),
            Some(_) => write!(self.path, "H{from:.1}V{y:.1}"),
        };
        self.at = Some((to, y));
    }

    /// Goes to the end of the latest step.
    fn rest(&mut self) {
        if let Some((x, _)) = self.at {
            let _ = write!(self.path, "H{x:.1}");
        }
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
