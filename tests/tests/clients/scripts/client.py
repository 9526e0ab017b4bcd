"""Python's http.client and urllib as clients: HOST:PORT COUNT. Says `ok` and a name for each thing that went well."""

import http.client
import json
import sys
import urllib.error
import urllib.request

from pattern import digest, pieces

proxy, count = sys.argv[1], int(sys.argv[2])
expected = digest(pieces(count))
connection = http.client.HTTPConnection(proxy, timeout=60)
sockets = set()


def ask(method, path, body=None, fields={}, **how):
    connection.request(method, path, body, {"Host": "shop", **fields}, **how)
    sockets.add(id(connection.sock))
    return connection.getresponse()


def stream(response):
    while piece := response.read(65_536):
        yield piece


def same(found, wanted):
    assert found == wanted, f"found {found}, expected {wanted}"


def ok(name):
    print("ok", name, flush=True)


response = ask("POST", "/upload", pieces(count), {"Content-Length": str(count)})
answer = json.loads(response.read())
same((answer["bytes"], answer["sum"]), expected)
ok("upload of a length")

response = ask("POST", "/upload", pieces(count), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
answer = json.loads(response.read())
same((answer["bytes"], answer["sum"]), expected)
ok("upload in chunks")

response = ask("GET", f"/download?{count}")
same(response.getheader("Content-Length"), str(count))
same(digest(stream(response)), expected)
ok("download of a length")

response = ask("GET", f"/chunks?{count}")
same(response.getheader("Transfer-Encoding"), "chunked")
same(digest(stream(response)), expected)
ok("download in chunks")

response = ask("HEAD", f"/download?{count}")
same((response.getheader("Content-Length"), response.read()), (str(count), b""))
ok("HEAD")

for status in (204, 304):
    response = ask("GET", f"/status/{status}")
    same((response.status, response.getheader("ETag"), response.read()), (status, '"e"', b""))
    ok(str(status))

same(len(sockets), 1)
ok("all on one connection")

with urllib.request.urlopen(f"http://{proxy}/to-the-end?{count}", timeout=60) as response:
    same(digest(stream(response)), expected)
ok("an answer that ends with its connection")

request = urllib.request.Request(f"http://{proxy}/upload", data=b"a=1&b=2", method="POST")
with urllib.request.urlopen(request, timeout=60) as response:
    same(json.load(response)["bytes"], 7)
ok("a form by urllib")

try:
    urllib.request.urlopen(f"http://{proxy}/nowhere", timeout=60)
    raise AssertionError("found an answer, expected 404")
except urllib.error.HTTPError as error:
    same(error.code, 404)
ok("404 by urllib")
