// Small plots, drawn on canvases. They are decoration: the figure stands beside each in text.

let colours = null;

/** Counts what has every plot drawn anew: other colours, another size. */
let edition = 0;

/** What a plot was drawn by, beside its figures. */
export function drawnBy() {
  return edition;
}

/** The page's colours, read once for each scheme. */
function palette() {
  if (colours) return colours;
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  colours = { accent: of("--accent"), soft: of("--accent-soft"), bad: of("--bad"), warn: of("--warn"), muted: of("--muted"), line: of("--line") };
  return colours;
}

/** Calls back when the colours have changed. */
export function onColours(changed) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    colours = null;
    edition++;
    changed();
  });
}

function prepared(canvas) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  // Asking the page for a size costs a layout: where the style sheet's isn't known it is asked for once, and after a resize.
  if (!canvas.size || canvas.ratio !== ratio) {
    canvas.size = canvas.fixed ?? [canvas.clientWidth, canvas.clientHeight];
    canvas.ratio = ratio;
    [canvas.width, canvas.height] = canvas.size.map((side) => Math.round(side * ratio));
  }
  const [width, height] = canvas.size;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** Has every canvas ask for its size again. */
export function resized() {
  edition++;
  for (const canvas of document.querySelectorAll("canvas")) canvas.size = null;
}

/**
 * Draws `name` of a history as a line with what is under it shaded, and `errors`, if given, as bars from the bottom.
 * `least` is the least that the full height stands for, so that noise near zero stays small.
 */
export function spark(canvas, history, name, { errors = null, least = 1, tone = "accent", limit = 0 } = {}) {
  const { context, width, height } = prepared(canvas);
  if (width === 0) return;
  const { [tone]: stroke, soft, bad, line } = palette();
  const highest = history.max(name);
  const top = Math.max(least, highest, errors ? history.max(errors) : 0);
  const x = (back) => width - 1 - (back * (width - 2)) / (history.length - 1);
  const y = (value) => height - 1.5 - (value / top) * (height - 4);
  context.fillStyle = line;
  context.fillRect(0, height - 1, width, 1);
  if (limit > 0 && limit <= top) {
    context.fillRect(0, Math.round(y(limit)), width, 1);
  }
  // A line along the bottom would say that there is something.
  if (highest === 0 && !errors) return;
  context.beginPath();
  let last = null;
  let first = null;
  for (let back = 0; back < history.filled; back++) {
    const value = history.at(name, back);
    if (Number.isNaN(value)) continue;
    if (last === null) context.moveTo(x(back), y(value));
    else context.lineTo(x(back), y(value));
    first ??= x(back);
    last = x(back);
  }
  if (last !== null) {
    context.strokeStyle = stroke;
    context.lineWidth = 1.4;
    context.lineJoin = "round";
    context.stroke();
    context.lineTo(last, height - 1);
    context.lineTo(first, height - 1);
    context.closePath();
    context.fillStyle = soft;
    context.fill();
  }
  if (errors) {
    context.fillStyle = bad;
    const step = Math.max(1.5, width / history.length - 0.5);
    for (let back = 0; back < history.filled; back++) {
      const value = history.at(errors, back);
      if (value > 0) context.fillRect(x(back) - step / 2, Math.min(y(value), height - 3), step, height);
    }
  }
}
