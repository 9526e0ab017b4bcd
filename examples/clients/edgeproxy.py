"""Registers a server with edgeproxy, by Python's standard library alone.

    with Member("http://127.0.0.1:8081", id="shop-1", app="shop", region="eu", ip="10.0.0.5", port=8080):
        ...  # serve, until it is time to stop; it leaves at the end of the block

Run as a program it is a small server that does so: API, ID, APP, REGION, IP and PORT in the environment.
"""

import http.client
import json
import os
import random
import sys
import threading
import time
import urllib.error
import urllib.request

# No proxy of the environment's between a server and its proxy.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def members(text, status):
    """Those of a JSON object. A refusal may have none, an answer that is no refusal may not."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    if status < 400:
        raise ValueError("an answer that is not edgeproxy's")
    return {}


class Refused(Exception):
    """The registration was refused, and would be again."""


class Member:
    """A server's membership, kept by a thread."""

    def __init__(self, api, *, token_file=None, drain=30, **registration):
        self.apis = [url.rstrip("/") for url in api.split(",")]
        self.token_file = token_file
        self.drain = drain
        self.registration = registration
        self.id = registration["id"]
        self.incarnation = None
        self.left = False
        self.interval = 20
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self):
        self._register()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.left = self.leave()

    def leave(self):
        """Deregisters, and returns when nothing is in flight any more: whether an API could be told."""
        self.stopping.set()
        self.thread.join()
        if self.incarnation is None:
            return True
        # A proxy that restarts is back soon, and would route to a server that has stopped.
        deadline = time.monotonic() + self.drain + 5
        while True:
            status, _ = self._call("DELETE", f"backends/{self.id}?drain={self.drain}s", fenced=True)
            if status in (200, 404, 412):
                break
            if time.monotonic() > deadline:
                print(f"{self.id} is not deregistered ({status}), and its lease has to run out", file=sys.stderr)
                return False
            time.sleep(0.5)
        gone = status != 200
        deadline = min(deadline, time.monotonic() + self.drain + 1)
        while not gone and time.monotonic() < deadline:
            status, listed = self._call("GET", f"backends/{self.id}")
            gone = status == 404 or status == 200 and listed.get("incarnation") != self.incarnation
            time.sleep(0 if gone else 0.1)
        return True

    def _register(self):
        """Registers, however long that takes."""
        wait = 0.5
        while not self.stopping.is_set():
            status, answer = self._call("POST", "register", self.registration)
            if status in (200, 201):
                self.incarnation = answer["incarnation"]
                self.interval = answer["heartbeat_interval_secs"]
                return
            if 400 <= status < 500 and status not in (408, 429):
                raise Refused(f"{status}: {answer.get('error')}")
            self.stopping.wait(random.uniform(0.05, wait))
            wait = min(wait * 2, 10)

    def _keep(self):
        # A little early and not all at once.
        wait = self.interval * random.uniform(0.75, 1)
        while not self.stopping.wait(wait):
            status, _ = self._call("POST", f"heartbeat/{self.id}", fenced=True)
            wait = self.interval * random.uniform(0.75, 1) if status == 200 else random.uniform(0.05, 2)
            if status == 404:
                try:
                    self._register()
                except Refused as refused:
                    print(f"not registered any more: {refused}", file=sys.stderr)
            elif status == 412:
                print(f"another server has taken {self.id} over", file=sys.stderr)
                self.incarnation = None
                return

    def _call(self, method, path, body=None, fenced=False):
        """The status and the members of the first answer that an API gives; 0 if none does."""
        status = 0
        for api in list(self.apis):
            request = urllib.request.Request(f"{api}/api/v1/{path}", method=method)
            if body is not None:
                request.data = json.dumps(body).encode()
                request.add_header("Content-Type", "application/json")
            if fenced:
                # A successor under the same id is not to be taken out.
                request.add_header("If-Match", f'"{self.incarnation}"')
            try:
                if self.token_file:
                    with open(self.token_file, encoding="ascii") as file:
                        request.add_header("Authorization", f"Bearer {file.read().strip()}")
                try:
                    answer = OPENER.open(request, timeout=5)
                except urllib.error.HTTPError as refusal:
                    answer = refusal
                with answer:
                    if answer.code < 500:
                        return answer.code, members(answer.read(), answer.code)
                    status = answer.code
            except (OSError, ValueError, http.client.HTTPException) as error:
                print(f"{api}: {error!r}", file=sys.stderr)
            # The next one first, from now on.
            self.apis.append(self.apis.pop(0))
        return status, {}


def main():
    import http.server
    import signal

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = os.environ["ID"].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    ip, port = os.environ["IP"], int(os.environ["PORT"])
    server = http.server.ThreadingHTTPServer((ip, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    extra = {"ttl_secs": int(os.environ["TTL"])} if "TTL" in os.environ else {}
    member = Member(
        os.environ["API"],
        id=os.environ["ID"],
        app=os.environ["APP"],
        region=os.environ["REGION"],
        ip=ip,
        port=port,
        token_file=os.environ.get("TOKEN_FILE"),
        **extra,
    )

    def stop(*_):
        # By a thread: a handler runs in the midst of anything, and whatever it interrupts may hold the event's lock.
        threading.Thread(target=member.stopping.set, daemon=True).start()

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    with member:
        if member.incarnation is not None:
            print("registered", member.id, flush=True)
        member.stopping.wait()
    server.shutdown()
    if not member.left:
        sys.exit(1)
    print("deregistered", member.id, flush=True)


if __name__ == "__main__":
    main()
