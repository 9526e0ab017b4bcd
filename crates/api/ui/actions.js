// What an operator can change, each after a question.

import * as api from "./api.js";
import { at, el, say } from "./dom.js";

/** Roles, each with those that it includes. */
const INCLUDES = { none: 0, read: 1, register: 2, operate: 3 };

/** Whether a role may do what takes another one. */
export function may(role, needed) {
  return (INCLUDES[role] ?? 0) >= INCLUDES[needed];
}

let timer = null;

/** Tells what was done, for a while. */
export function tell(words) {
  say(at("told"), words);
  clearTimeout(timer);
  timer = setTimeout(() => say(at("told"), ""), 6_000);
}

/** What went wrong, in words for whoever clicked. */
export function explainRefusal(error) {
  if (error instanceof api.Refused && error.status === 401) return `Not done: the server doesn't know who you are. ${error.message}`;
  if (error instanceof api.Refused && error.status === 403) return `Not done: your token doesn't allow it. ${error.message}`;
  if (error instanceof api.Refused && !error.isOverdue) return `Not done: ${error.message}`;
  // The answer is missing; what was asked may have arrived.
  return `Perhaps not done: ${error.message || "the server can't be reached"}`;
}

/**
 * Asks, does it, and tells. Whatever is refused is said where the question was, which stays open. Resolves once the
 * dialog is closed.
 */
export function confirm({ title, words, button, tone = "primary", field = null, act }) {
  const dialog = at("confirm");
  const refused = el("p", { class: "refused", role: "alert" });
  const go = el("button", { class: tone, value: "go" }, button);
  const cancel = el("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const form = el(
    "form",
    {
      method: "dialog",
      async onsubmit(event) {
        event.preventDefault();
        go.disabled = true;
        say(refused, "");
        try {
          const told = await act();
          dialog.close();
          tell(told);
        } catch (error) {
          say(refused, explainRefusal(error));
        } finally {
          go.disabled = false;
        }
      },
    },
    el("h2", { id: "confirm-title" }, title),
    el("p", {}, words),
    field,
    refused,
    el("div", { class: "buttons" }, cancel, go),
  );
  dialog.replaceChildren(form);
  dialog.showModal();
  (field?.querySelector("input") ?? go).focus();
  return new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
}

const warned = (words, answer) => (answer.warnings?.length ? `${words} ${answer.warnings.join(" ")}` : words);

export function askDrain({ id, incarnation, app }) {
  const secs = el("input", { type: "number", min: 0, max: 3600, step: 1, value: 30, required: true });
  return confirm({
    title: `Drain ${id}?`,
    words: `It leaves ${app}: no new request goes to it, what is in flight may end in the time that you give it, and then it is deregistered. A backend whose agent still runs registers again.`,
    button: "Drain it",
    tone: "danger",
    field: el("label", {}, "Seconds for what is in flight", secs),
    async act() {
      const answer = await api.drain(id, incarnation, Number(secs.value));
      return warned(answer.draining ? `${id} is draining.` : `${id} is gone.`, answer);
    },
  });
}

export function askEnabled({ id, incarnation }, enable) {
  return confirm({
    title: enable ? `Enable ${id}?` : `Disable ${id}?`,
    words: enable
      ? "What an operator has set is taken back, and it takes traffic again if nothing else is against it."
      : "No new request goes to it until it is enabled again, whatever it says of itself, and after a restart as well. What is in flight goes on.",
    button: enable ? "Enable it" : "Disable it",
    tone: enable ? "primary" : "danger",
    async act() {
      const answer = await api.patch(id, incarnation, { enabled: enable ? null : false });
      return warned(enable ? `${id} is enabled.` : `${id} is disabled.`, answer);
    },
  });
}

export function askWeight({ id, incarnation, weight }, wanted) {
  return confirm({
    title: wanted === null ? `Give ${id} its own weight back?` : `Give ${id} the weight ${wanted}?`,
    words:
      wanted === null
        ? "It goes by the weight that it registers with again."
        : `It has ${weight} now.${wanted === 0 ? " With 0 it takes no new traffic." : ""} What you set holds until it is taken back, after a restart as well.`,
    button: wanted === null ? "Give it back" : "Set it",
    async act() {
      const answer = await api.patch(id, incarnation, { weight: wanted });
      return warned(`${id} has the weight ${answer.weight}.`, answer);
    },
  });
}
