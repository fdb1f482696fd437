"""Applications for the tests of wsgi, each behind the validator of the standard library where it keeps to
PEP 3333.  Most answer with JSON, so that a test sees what they saw."""

from __future__ import annotations

import json
import threading
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional
from wsgiref.validate import validator

Environ = Dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], Any]]

TEXT = [("Content-Type", "text/plain")]

# What the applications have told the test.
told: List[str] = []
# What some of them wait for.
gate = threading.Event()


def _environ(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    shown = {name: value for name, value in environ.items() if isinstance(value, (str, bool, tuple))}
    return [json.dumps(shown).encode()]


def _by_lines(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"]
    ways: Dict[str, Callable[[], List[bytes]]]
    ways = {"/read": lambda: [body.read(7), body.read(1 << 20), body.read(5)],
            "/readline": lambda: [body.readline(), body.readline(3), body.readline(), body.read(100)],
            "/readlines": body.readlines,
            "/iter": lambda: list(body)}
    pieces = ways[environ["PATH_INFO"]]()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([piece.decode() for piece in pieces]).encode()]


def _length(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """How much came, and when the call began."""
    told.append("called")
    body, size = environ["wsgi.input"], 0
    while True:
        data = body.read(60_000)
        if not data:
            break
        size += len(data)
    start_response("200 OK", list(TEXT))
    return [str(size).encode()]


def _late(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Reads when the gate opens."""
    assert gate.wait(10)
    return _length(environ, start_response)


class Body:
    """A body that says when it is closed, and may fail on its way."""

    def __init__(self, pieces: Iterable[bytes], fault: Optional[Exception] = None) -> None:
        self._pieces = iter(pieces)
        self._fault = fault

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        for piece in self._pieces:
            return piece
        if self._fault is not None:
            raise self._fault
        raise StopIteration

    def close(self) -> None:
        """PEP 3333: called in any case."""
        told.append("closed")


def _stream(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """As many KiB as the query says."""
    start_response("200 Fine", list(TEXT))
    return Body(b"%1023d\n" % number for number in range(int(environ["QUERY_STRING"])))


def _breaks(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return Body([b"some"], KeyError("in the middle"))


def _written(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", list(TEXT))
    write(b"written, ")
    write(b"")
    return Body([b"then ", b"", b"given"])


def _empty(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    status = environ["QUERY_STRING"]
    start_response(status + " Nothing", [] if status in ("204", "304") else list(TEXT))
    return Body([])


def _waits(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answers at once, and is done when the gate opens."""
    start_response("200 OK", [*TEXT, ("Content-Length", "2")])

    def pieces() -> Iterator[bytes]:
        yield b"ok"
        assert gate.wait(10)
        told.append("done")

    return Body(pieces())


def _errors(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    errors = environ["wsgi.errors"]
    errors.write("one\ntw")
    errors.flush()
    errors.writelines(["o\n", "\x1b[2Jthree"])
    start_response("200 OK", list(TEXT))
    return [b"ok"]


def _sized(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"hel", b"lo"]


def fault(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Not an application's day."""
    raise ZeroDivisionError("a fault of the application")


def leaves(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Tries to end the server."""
    raise SystemExit(3)


def text(environ: Environ, start_response: StartResponse) -> Iterable[Any]:
    """What PEP 3333 forbids."""
    start_response("200 OK", list(TEXT))
    return ["text"]


environment = validator(_environ)
lines = validator(_by_lines)
length = validator(_length)
late = validator(_late)
stream = validator(_stream)
breaks = validator(_breaks)
written = validator(_written)
empty = validator(_empty)
waits = validator(_waits)
errors = validator(_errors)
sized = validator(_sized)
no_application = "text"


class Nested:
    """For a dotted name, and one that is made."""

    app = staticmethod(environment)


def make() -> Callable[..., Iterable[bytes]]:
    """A factory."""
    return validator(_sized)
