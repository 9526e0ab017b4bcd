"""A backend made of Python's http.server. It says where it listens, and ends with its standard input."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from pattern import digest, pieces


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def handle_expect_100(self):
        path = urlsplit(self.path).path
        if path in ("/expect/417", "/expect/401"):
            # The body will not come, or nobody wants it.
            self.close_connection = True
            self.answer(int(path[-3:]), {"Connection": "close"}, b"no")
            return False
        if path != "/expect/ignore":
            self.send_response_only(100)
            self.end_headers()
        return True

    def answer(self, status, fields=(), body=b""):
        self.send_response(status)
        for name, value in dict(fields).items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        url = urlsplit(self.path)
        count = int(url.query or 0)
        if url.path == "/download":
            self.send_response(200)
            self.send_header("Content-Length", str(count))
            self.end_headers()
            if self.command != "HEAD":
                for piece in pieces(count):
                    self.wfile.write(piece)
        elif url.path == "/chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Trailer", "X-Sum")
            self.end_headers()
            for piece in pieces(count):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\nX-Sum: %s\r\n\r\n" % digest(pieces(count))[1].encode())
        elif url.path == "/to-the-end":
            self.close_connection = True
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            for piece in pieces(count):
                self.wfile.write(piece)
        elif url.path.startswith("/status/"):
            self.answer(int(url.path[8:]), {"ETag": '"e"'})
        else:
            self.answer(404)

    do_HEAD = do_GET

    def do_POST(self):
        path = urlsplit(self.path).path
        if path == "/early/413":
            self.close_connection = True
            self.answer(413, {"Connection": "close"}, b"too much")
            return
        if path == "/early/200":
            self.answer(200, {}, b"early")
            digest(self.body())
            return
        self.trailers = {}
        count, sha = digest(self.body())
        self.answer(200, {}, json.dumps({"bytes": count, "sum": sha, "trailers": self.trailers}).encode())

    do_PUT = do_POST

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                assert self.rfile.readline() == b"\r\n"
            while (line := self.rfile.readline()) != b"\r\n":
                name, _, value = line.decode().partition(":")
                self.trailers[name.lower()] = value.strip()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left > 0:
            piece = self.rfile.read(min(left, 65_536))
            if not piece:
                return
            left -= len(piece)
            yield piece


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print("{}:{}".format(*server.server_address), flush=True)
sys.stdin.read()
