"""gRPC as its own library speaks it: `serve` prints its port, `call HOST:PORT` makes every kind of call there.

Messages are bytes as they are, so that no compiler of any schema is needed.
"""

import sys
import threading
import time
from concurrent import futures

import grpc

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
LARGE = bytes(range(256)) * 65_536  # 16 MiB


class Service(grpc.GenericRpcHandler):
    def __init__(self):
        self.cancelled = 0
        self.methods = {
            "/t/Echo": grpc.unary_unary_rpc_method_handler(self.echo),
            "/t/Repeat": grpc.unary_stream_rpc_method_handler(lambda message, _: iter([message] * 1_000)),
            "/t/Count": grpc.stream_unary_rpc_method_handler(
                lambda messages, _: str(sum(1 for _ in messages)).encode()
            ),
            "/t/Chat": grpc.stream_stream_rpc_method_handler(lambda messages, _: messages),
            "/t/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "/t/Hang": grpc.unary_unary_rpc_method_handler(self.hang),
            "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(self.check),
            "/t/Cancelled": grpc.unary_unary_rpc_method_handler(lambda *_: str(self.cancelled).encode()),
        }

    def service(self, details):
        return self.methods.get(details.method)

    def echo(self, message, context):
        asked = dict(context.invocation_metadata()).get("x-ask-bin")
        if asked is not None:
            context.send_initial_metadata([("x-answer-bin", asked)])
            context.set_trailing_metadata([("x-end", "1")])
        return message

    def fail(self, _message, context):
        context.set_trailing_metadata([("x-why", "because")])
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no \u2013 100 %")

    def check(self, message, _context):
        # HealthCheckRequest{service: "t"}, and a status of SERVING or SERVICE_UNKNOWN.
        return b"\x08\x01" if message == b"\x0a\x01t" else b"\x08\x03"

    def hang(self, _message, context):
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait(30)
        self.cancelled += 1
        return b""


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(32), options=UNLIMITED)
    server.add_generic_rpc_handlers([Service()])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()  # Until whoever started this is gone.
    server.stop(None)


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it did not fail")


def call(target):
    with grpc.insecure_channel(target, options=UNLIMITED) as channel:
        echo = channel.unary_unary("/t/Echo")
        assert echo(b"hello", timeout=10) == b"hello"

        response, made = echo.with_call(b"x", timeout=10, metadata=[("x-ask-bin", b"\x00\xff")])
        assert dict(made.initial_metadata())["x-answer-bin"] == b"\x00\xff"
        assert dict(made.trailing_metadata())["x-end"] == "1"
        assert response == b"x" and made.code() == grpc.StatusCode.OK

        assert echo(LARGE, timeout=30) == LARGE
        assert list(channel.unary_stream("/t/Repeat")(b"x", timeout=10)) == [b"x"] * 1_000
        assert channel.stream_unary("/t/Count")(iter([b"x"] * 1_000), timeout=10) == b"1000"

        said = []

        def words():
            for word in (b"one", b"two", b"three"):
                # Not before the one in front of it has come back.
                said.append(word)
                yield word
                while said:
                    time.sleep(0.001)

        heard = []
        for word in channel.stream_stream("/t/Chat")(words(), timeout=10):
            assert said == [word], (said, word)
            heard.append(said.pop())
        assert heard == [b"one", b"two", b"three"], heard

        error = code_of(lambda: channel.unary_unary("/t/Fail")(b"x", timeout=10))
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.details() == "no \u2013 100 %", error
        assert dict(error.trailing_metadata())["x-why"] == "because"

        error = code_of(lambda: channel.unary_unary("/t/None")(b"x", timeout=10))
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

        hang = channel.unary_unary("/t/Hang")
        error = code_of(lambda: hang(b"x", timeout=0.2))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
        given_up = hang.future(b"x")
        given_up.cancel()
        assert code_of(given_up.result if not given_up.cancelled() else raising).code() == grpc.StatusCode.CANCELLED

        deadline = time.monotonic() + 10
        while channel.unary_unary("/t/Cancelled")(b"", timeout=10) == b"0":
            assert time.monotonic() < deadline, "the server never heard that nobody waits"

        many = [echo.future(str(n).encode(), timeout=20) for n in range(200)]
        assert [made.result() for made in many] == [str(n).encode() for n in range(200)]
    print("ok")


def raising():
    class Cancelled(grpc.RpcError):
        def code(self):
            return grpc.StatusCode.CANCELLED

    raise Cancelled


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else call(sys.argv[2])
