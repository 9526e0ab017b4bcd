// Registers a server with edgeproxy, by Node alone.
//
//   const member = await Member.join("http://127.0.0.1:8081", {id: "shop-1", app: "shop", region: "eu", ip: "10.0.0.5", port: 8080});
//   …                       // serve, until it is time to stop
//   await member.leave();   // when nothing is in flight any more
//
// Run as a program it is a small server that does so: API, ID, APP, REGION, IP and PORT in the environment.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const between = (from, to) => (from + Math.random() * (to - from)) * 1000;

export class Member {
  /** Resolves once it is registered; rejects if the registration is refused, and would be again. */
  static async join(api, registration, { tokenFile, drain = 30 } = {}) {
    const member = new Member();
    Object.assign(member, { apis: api.split(",").map((url) => url.replace(/\/$/, "")), registration, tokenFile, drain });
    member.id = registration.id;
    member.stopping = new AbortController();
    await member.#register();
    member.kept = member.#keep();
    return member;
  }

  /** Deregisters, and resolves when nothing is in flight any more: with whether an API could be told. */
  async leave() {
    this.stopping.abort();
    await this.kept;
    if (!this.incarnation) return true;
    // A proxy that restarts is back soon, and would route to a server that has stopped.
    let deadline = performance.now() + (this.drain + 5) * 1000;
    let [status, answer] = [0, {}];
    for (;;) {
      [status] = await this.#call("DELETE", `backends/${this.id}?drain=${this.drain}s`, { fenced: true });
      if ([200, 404, 412].includes(status)) break;
      if (performance.now() > deadline) {
        console.error(`${this.id} is not deregistered (${status}), and its lease has to run out`);
        return false;
      }
      await sleep(500);
    }
    let gone = status !== 200;
    deadline = Math.min(deadline, performance.now() + (this.drain + 1) * 1000);
    while (!gone && performance.now() < deadline) {
      [status, answer] = await this.#call("GET", `backends/${this.id}`);
      gone = status === 404 || (status === 200 && answer.incarnation !== this.incarnation);
      if (!gone) await sleep(100);
    }
    return true;
  }

  async #register() {
    for (let wait = 0.5; !this.stopping.signal.aborted; wait = Math.min(wait * 2, 10)) {
      const [status, answer] = await this.#call("POST", "register", { body: this.registration });
      if (status === 200 || status === 201) {
        this.incarnation = answer.incarnation;
        this.interval = answer.heartbeat_interval_secs;
        return;
      }
      if (status >= 400 && status < 500 && status !== 408 && status !== 429) {
        throw new Error(`refused with ${status}: ${answer.error}`);
      }
      await this.#wait(between(0.05, wait));
    }
  }

  async #keep() {
    // A little early and not all at once.
    let wait = between(this.interval * 0.75, this.interval);
    while (await this.#wait(wait)) {
      const [status] = await this.#call("POST", `heartbeat/${this.id}`, { fenced: true });
      wait = status === 200 ? between(this.interval * 0.75, this.interval) : between(0.05, 2);
      if (status === 404) {
        await this.#register().catch((refused) => console.error(`not registered any more: ${refused.message}`));
      } else if (status === 412) {
        console.error(`another server has taken ${this.id} over`);
        this.incarnation = undefined;
        return;
      }
    }
  }

  /** Whether it is to go on after that. */
  async #wait(millis) {
    await sleep(millis, undefined, { signal: this.stopping.signal }).catch(() => {});
    return !this.stopping.signal.aborted;
  }

  /** The status and the members of the first answer that an API gives; 0 if none does. */
  async #call(method, path, { body, fenced } = {}) {
    let status = 0;
    for (const api of [...this.apis]) {
      try {
        const headers = {};
        if (body) headers["content-type"] = "application/json";
        // A successor under the same id is not to be taken out.
        if (fenced) headers["if-match"] = `"${this.incarnation}"`;
        if (this.tokenFile) headers.authorization = `Bearer ${(await readFile(this.tokenFile, "ascii")).trim()}`;
        const answer = await fetch(`${api}/api/v1/${path}`, {
          method,
          headers,
          body: body && JSON.stringify(body),
          signal: AbortSignal.timeout(5000),
        });
        status = answer.status;
        if (status < 500) return [status, (await answer.json().catch(() => null)) ?? {}];
      } catch (error) {
        console.error(`${api}: ${error.cause?.message ?? error.message}`);
      }
      // The next one first, from now on.
      this.apis.push(this.apis.shift());
    }
    return [status, {}];
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { API, ID, APP, REGION, IP, PORT, TTL, TOKEN_FILE } = process.env;
  const server = createServer((_, response) => response.end(ID));
  await new Promise((open) => server.listen(Number(PORT), IP, open));
  const registration = { id: ID, app: APP, region: REGION, ip: IP, port: Number(PORT) };
  if (TTL) registration.ttl_secs = Number(TTL);
  const member = await Member.join(API, registration, { tokenFile: TOKEN_FILE });
  console.log(`registered ${ID}`);
  await new Promise((stop) => ["SIGTERM", "SIGINT"].forEach((name) => process.once(name, stop)));
  if (await member.leave()) console.log(`deregistered ${ID}`);
  else process.exitCode = 1;
  server.close();
  server.closeAllConnections?.();
}
