// What states and events are called, and how numbers are written.

/** The states in the order of trouble: a word, and how worrying it is. */
export const STATES = {
  ejected: { word: "ejected", tone: "bad", rank: 0 },
  unhealthy: { word: "unhealthy", tone: "bad", rank: 1 },
  suspect: { word: "suspect", tone: "warn", rank: 2 },
  trial: { word: "on trial", tone: "warn", rank: 3 },
  draining: { word: "draining", tone: "off", rank: 4 },
  disabled: { word: "disabled", tone: "off", rank: 5 },
  routable: { word: "takes traffic", tone: "good", rank: 6 },
};

const UNKNOWN = { word: "unknown", tone: "off", rank: 7 };

export function stateOf(name) {
  return STATES[name] ?? UNKNOWN;
}

/** The kinds of events: a word, and how worrying it is. */
export const KINDS = {
  registered: { word: "registered", tone: "good" },
  renewed: { word: "renewed", tone: "off" },
  changed: { word: "changed", tone: "off" },
  ejected: { word: "ejected", tone: "bad" },
  trial: { word: "on trial", tone: "warn" },
  unhealthy: { word: "unhealthy", tone: "bad" },
  readmitted: { word: "readmitted", tone: "good" },
  suspected: { word: "suspected", tone: "warn" },
  draining: { word: "draining", tone: "off" },
  expired: { word: "expired", tone: "bad" },
  removed: { word: "removed", tone: "off" },
  reset: { word: "reset", tone: "warn" },
};

export function kindOf(name) {
  return KINDS[name] ?? { word: String(name), tone: "off" };
}

/** 7, 42.5, 1,234, 12.3k, 4.56M. */
export function count(number) {
  if (!Number.isFinite(number)) return "–";
  if (number >= 999_500) return `${(number / 1e6).toFixed(2)}M`;
  if (number >= 9_999.5) return `${(number / 1e3).toFixed(1)}k`;
  if (number >= 1_000) return Math.round(number).toLocaleString("en");
  if (number >= 99.5 || Number.isInteger(number)) return String(Math.round(number));
  return number.toFixed(1);
}

/** As many a second: with a tenth where it matters, so that figures don't change their width. */
export function perSec(rate) {
  return rate < 99.95 ? rate.toFixed(1) : count(Math.round(rate));
}

/** Milliseconds as µs, ms or s, as it suits them. */
export function latency(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
  if (ms < 1) return `${Math.round(ms * 1_000)} µs`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 9_999.5) return `${Math.round(ms).toLocaleString("en")} ms`;
  return `${(ms / 1_000).toFixed(1)} s`;
}

/** 42 s, 3 min 20 s, 5 h 2 min, 3 d 4 h. */
export function duration(secs) {
  if (secs === null || secs === undefined) return "–";
  const whole = Math.floor(secs);
  const [days, hours, minutes] = [Math.floor(whole / 86_400), Math.floor(whole / 3_600) % 24, Math.floor(whole / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  if (minutes > 0) return `${minutes} min ${whole % 60} s`;
  return `${whole} s`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** The time of day here. */
export function clock(date) {
  return Number.isNaN(date.getTime()) ? "–" : CLOCK.format(date);
}

/** One backend, several backends. */
export function many(number, one, several) {
  return `${count(number)} ${number === 1 ? one : several}`;
}
