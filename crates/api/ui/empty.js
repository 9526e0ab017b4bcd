// What to do where nothing has registered yet.

import { token } from "./api.js";
import { at, el } from "./dom.js";

export class Empty {
  constructor(fleet) {
    this.fleet = fleet;
  }

  draw() {
    const isEmpty = this.fleet.loaded && this.fleet.backends.size === 0 && at("gate").hidden;
    const section = at("empty");
    section.hidden = !isEmpty;
    if (!isEmpty || section.childElementCount > 0) return;
    const api = location.origin;
    const auth = token() ? ` \\\n  -H "Authorization: Bearer $TOKEN"` : "";
    section.append(
      el("h2", { id: "empty-title" }, "Nothing has registered yet"),
      el("p", {}, "A backend that says so is routed to from the next request on. It appears here within a second."),
      el("h3", {}, "With curl"),
      el(
        "pre",
        { tabindex: "0", "aria-label": "The commands" },
        `# something that answers on port 9000\npython3 -m http.server 9000 &\n\n# it registers, for a minute\ncurl -X POST ${api}/api/v1/register${auth} \\\n  -H 'Content-Type: application/json' \\\n  -d '{"id":"backend-1","app":"myapp","region":"eu","ip":"127.0.0.1","port":9000}'\n\n# and says now and then that it is there\ncurl -X POST ${api}/api/v1/heartbeat/backend-1${auth}`,
      ),
      el("h3", {}, "Or by the agent, which does all of that and leaves cleanly"),
      el("pre", { tabindex: "0", "aria-label": "The agent's command" }, `edgeproxy-agent --api ${api} --app myapp --region eu --port 9000 \\\n  -- python3 -m http.server 9000`),
    );
  }
}
