// Elements. Text is set as text alone: what a backend calls itself can't become markup, and the page's policy
// (trusted types, none allowed) would stop whoever tried.

/** The element with that id of the page. */
export function at(id) {
  return document.getElementById(id);
}

/** An element with attributes, listeners (`onclick: …`) and children: elements, or values that are shown as text. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** The symbol of a state; decoration, since the word stands beside it. */
export function symbol(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#s-${name}`);
  svg.append(use);
  return svg;
}

/** Changes a text only where it differs, since every write costs a layout. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Changes an attribute only where it differs: each write has the browser look up styles again. */
export function mark(element, name, value) {
  const text = String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Fills a list of choices and keeps what is chosen, if it is still there. */
export function choices(select, options) {
  const signature = options.map(([value, label]) => `${value}\n${label}`).join("\n\n");
  if (select.dataset.options === signature) return;
  const chosen = select.value;
  select.dataset.options = signature;
  select.replaceChildren(...options.map(([value, label]) => el("option", { value }, label)));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

/** Calls `draw` once before the next frame, however often it is asked to. */
export function onFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}
