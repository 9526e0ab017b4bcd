// The token of this tab.

import { keepToken, token } from "./api.js";
import { at, el, say } from "./dom.js";

export class Session {
  /** `changed` is called when another token, or none, is to be used. */
  constructor(changed) {
    this.changed = changed;
    this.role = "none";
    at("sign").addEventListener("click", () => this.ask());
    at("gate-sign").addEventListener("click", () => this.ask());
  }

  /** What the server says of whoever this is. */
  hello({ role, apps, name }) {
    this.role = role;
    at("gate").hidden = true;
    say(at("sign"), name ? `${name}: ${role}${apps === "*" ? "" : `, ${apps}`}` : "Token…");
    at("sign").title = name ? "Show another token, or forget this one" : "No token is needed here; show one to be known by it";
    at("sign").hidden = !name && !token();
  }

  /** Nothing is shown without another token. */
  refused(error) {
    this.role = "none";
    at("sign").hidden = false;
    say(at("sign"), "Token…");
    at("gate").hidden = false;
    const had = token() ? "The token of this tab isn't taken: " : "";
    say(at("gate-reason"), `${had}${error.message}`);
  }

  ask() {
    const dialog = at("token");
    const input = el("input", { type: "password", autocomplete: "off", spellcheck: "false", required: true });
    const close = () => dialog.close();
    dialog.replaceChildren(
      el(
        "form",
        {
          method: "dialog",
          onsubmit: (event) => {
            event.preventDefault();
            keepToken(input.value.trim());
            input.value = "";
            close();
            this.changed();
          },
        },
        el("h2", { id: "token-title" }, "Token"),
        el("p", { class: "muted" }, "It is sent with each request to this server and kept in this tab alone."),
        el("label", {}, "Token", input),
        el(
          "div",
          { class: "buttons" },
          token()
            ? el("button", { type: "button", onclick: () => (keepToken(null), close(), this.changed()) }, "Forget it")
            : null,
          el("button", { type: "button", onclick: close }, "Cancel"),
          el("button", { class: "primary" }, "Use it"),
        ),
      ),
    );
    dialog.showModal();
    input.focus();
  }
}
