"""CGI mounts: what becomes of a request, and of what its program writes; real programs, no network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, List

import pytest

from tests.support.cgi_site import TEXT, CgiSite
from tests.support.docroot import open_fds

GET = b"GET /cgi/p HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[CgiSite]:
    """A mount of programs; none may be left at its end."""
    site = CgiSite(tmp_path)
    yield site
    site.close()


def post(body: bytes, announced: int = -1, target: str = "/cgi/p") -> bytes:
    """A POST of `body`, or of the beginning of one of `announced` bytes."""
    length = len(body) if announced < 0 else announced
    head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    return head.encode("ascii") + body


def chunked(*chunks: bytes) -> bytes:
    """A POST in chunks."""
    head = b"POST /cgi/p HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


# Answers.


@pytest.mark.parametrize("script, status, fields, body", [
    (f"{TEXT}; echo hello", 200, {"Content-Type": "text/plain", "Transfer-Encoding": "chunked"}, b"hello\n"),
    (TEXT, 200, {"Transfer-Encoding": "chunked"}, b""),
    ("printf 'Status: 418 A teapot\\r\\nX-A: 1\\r\\n\\r\\nshort'", 418, {"X-A": "1"}, b"short"),
    ("printf 'Content-Type: a/b\\nContent-Length: 5\\n\\nhello and more'", 200, {"Content-Length": "5"},
     b"hello"),
    ("printf 'HTTP/1.0 299 Own\\nContent-Length: 3\\nConnection: x\\n\\nnph'", 299, {"Content-Length": "3"},
     b"nph"),
    ("printf 'Status: 200\\nTransfer-Encoding: chunked\\n\\n3\\r\\nabc\\r\\n0\\r\\n\\r\\n'", 200,
     {"Content-Length": "3"}, b"abc"),
    ("printf 'Location: http://else.example/x\\n\\n'", 302, {"Location": "http://else.example/x"}, b""),
    ("printf 'Status: 204\\n\\nnothing'", 204, {}, b""),
    ("printf 'Location: /page.txt?x=1\\n\\n'", 200, {"Content-Length": "7"}, b"a page\n"),
    ("printf 'Location: /nowhere\\n\\n'", 404, {}, None),
    ("printf 'Location: /%%zz\\n\\n'", 502, {}, None),
    ("printf 'Location: /cgi/p\\n\\n'", 508, {}, None),
])
def test_answers(site: CgiSite, script: str, status: int, fields: dict[str, str], body: bytes) -> None:
    site.script("p", script)
    answer = site.get("/cgi/p")
    assert answer.status == status
    assert {name: answer.get(name) for name in fields} == fields
    assert body is None or answer.body == body
    assert answer.get("Connection") is None


def test_the_text_of_the_status_is_sent(site: CgiSite) -> None:
    site.script("p", "printf 'Status: 404 Nothing of that kind\\n\\n'")
    assert site.get("/cgi/p").head.startswith(b"HTTP/1.1 404 Nothing of that kind\r\n")


def test_configured_headers_replace_those_of_the_program(tmp_path: Path) -> None:
    site = CgiSite(tmp_path, headers=[{"X-Mine": "server"}])
    site.script("p", "printf 'Content-Type: a/b\\nx-mine: program\\nX-Other: program\\n\\n'")
    answer = site.get("/cgi/p")
    assert (answer.get("X-Mine"), answer.get("X-Other")) == ("server", "program")
    site.close()


@pytest.mark.parametrize("script, status, logged", [
    ("echo no header at all", 502, "no CGI answer: the header line 'no header at all' has no colon"),
    ("exit 0", 502, "no CGI answer: it wrote nothing"),
    ("exit 3", 502, "exited with status 3 after"),
    ("kill -9 $$", 502, "was ended by SIGKILL before its answer was complete"),
    (f"{TEXT}; kill -TERM $$", None, "was ended by SIGTERM before its answer was complete"),
    ("printf 'Content-Type: a/b\\nContent-Length: 9\\n\\nhello'", None, "before its answer was complete"),
])
def test_faults_of_the_program(site: CgiSite, capfd: pytest.CaptureFixture[str], script: str, status: int,
                               logged: str) -> None:
    """An answer that has begun is broken off, and never looks complete; the client is not told why."""
    site.script("p", script)
    peer = site.bench.connect()
    peer.send(GET)
    site.wait_end()
    if status:
        answer = peer.answer()
        assert (answer.status, b"p" in answer.body) == (status, True)
        assert str(site.programs).encode() not in answer.body
    else:
        assert peer.receive()[-5:] != b"0\r\n\r\n" and peer.eof
    assert re.search(rf"conn 1: cgi {site.programs}/p: .*{logged}", capfd.readouterr().err)


def test_programs_that_cannot_be_started(site: CgiSite, capfd: pytest.CaptureFixture[str]) -> None:
    site.script("plain", "").chmod(0o644)
    site.script("badint", "").write_text("#!/no/such/interpreter\n")
    site.script("text", "").write_text("no first line\n")
    log = ""
    for name, status, why in (("plain", 403, "chmod a+x"), ("badint", 500, "interpreter in its first line"),
                              ("text", 500, "has no first line like #!/bin/sh"), ("nothing", 404, "")):
        assert site.get(f"/cgi/{name}").status == status
        log = capfd.readouterr().err
        assert why in log and (f"/{name}: {status}" in log) == bool(why)
    assert site.handler.running == 0


def test_head_has_no_body(site: CgiSite) -> None:
    site.script("p", f"{TEXT}; echo $REQUEST_METHOD; cat /dev/zero | head -c 1000000")
    answer = site.ask("HEAD /cgi/p HTTP/1.1\nHost: localhost\n\n", "HEAD")
    assert (answer.status, answer.get("Content-Type")) == (200, "text/plain")


def test_the_connection_goes_on(site: CgiSite) -> None:
    site.script("p", f'{TEXT}; echo "$QUERY_STRING"')
    peer = site.bench.connect()
    peer.send(b"".join(GET.replace(b"p HTTP", b"p?%d HTTP" % number) for number in range(5)))
    bodies: List[bytes] = []
    while len(bodies) < 5:
        site.wait(lambda: b"0\r\n\r\n" in peer.receive(), "an answer")
        bodies.append(peer.answer().body)
    assert bodies == [b"0\n", b"1\n", b"2\n", b"3\n", b"4\n"]


def test_too_many_programs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    site = CgiSite(tmp_path, cgi_limit="2")
    site.script("p", f"{TEXT}; read line < {site.fifo('go')}")
    peers = [site.begin("/cgi/p"), site.begin("/cgi/p")]
    refused = site.bench.connect().get("/cgi/p")
    assert (refused.status, refused.get("Retry-After")) == (503, "1")
    assert "2 run already (cgi-limit)" in capfd.readouterr().err
    site.tell("go", "\n\n")
    assert [site.answer(peer).status for peer in peers] == [200, 200]
    site.script("p", TEXT)
    assert site.get("/cgi/p").status == 200
    site.close()


def test_a_full_queue_of_the_workers(site: CgiSite) -> None:
    site.script("p", TEXT)
    site.bench.workers.stop(1)
    answer = site.get("/cgi/p")
    assert (answer.status, answer.get("Retry-After"), site.handler.running) == (503, "1", 0)


# Request bodies.

COUNT = f"count=$(wc -c); {TEXT}; echo \"$CONTENT_LENGTH $count\""


@pytest.mark.parametrize("request_, wanted", [
    (GET, b" 0\n"),
    (post(b""), b"0 0\n"),
    (post(b"hello"), b"5 5\n"),
    (post(b"x" * 1_000_000), b"1000000 1000000\n"),
    (chunked(), b"0 0\n"),
    (chunked(b"hel", b"lo"), b"5 5\n"),
    (chunked(*[b"x" * 100_000] * 10), b"1000000 1000000\n"),
    (GET.replace(b"GET", b"PUT"), b" 0\n"),
])
def test_bodies(site: CgiSite, request_: bytes, wanted: bytes) -> None:
    site.script("p", COUNT)
    peer = site.bench.connect()
    site.send(peer, request_ + GET)
    for body in (wanted, b" 0\n"):
        site.wait(lambda: b"0\r\n\r\n" in peer.receive(), "an answer")
        assert peer.answer().body == body
    site.wait_end()


def test_a_body_is_streamed(site: CgiSite) -> None:
    site.script("p", f"{TEXT}; read line; echo \"$line\"; cat")
    peer = site.bench.connect()
    peer.send(post(b"first\n", 11))
    site.wait(lambda: b"first" in peer.receive(), "an answer to the first part")
    peer.send(b"later")
    assert site.answer(peer).body == b"first\nlater"


def test_a_chunked_body_is_complete_before_the_program_starts(site: CgiSite) -> None:
    site.script("p", COUNT)
    peer = site.bench.connect()
    request = chunked(b"hello")
    peer.send(request[:-3])
    assert site.bench.context.program_counts == (0, 0)
    peer.send(request[-3:])
    assert site.answer(peer).body == b"5 5\n"


def test_100_continue_is_said_when_the_program_runs(site: CgiSite) -> None:
    site.script("p", COUNT)
    for target, wanted in (("/cgi/p", b"HTTP/1.1 100 Continue\r\n\r\n"), ("/cgi/q", b"HTTP/1.1 404 ")):
        peer = site.bench.connect()
        peer.send(post(b"", 5, target).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        site.wait(peer.receive, "a word")
        assert peer.data.startswith(wanted)
        if wanted.startswith(b"HTTP/1.1 100"):
            peer.data = b""
            peer.send(b"hello")
            assert site.answer(peer).body == b"5 5\n"


@pytest.mark.parametrize("script", [
    f"exec 0<&-; {TEXT}; echo done", f"{TEXT}; echo done", f"head -c 10 >/dev/null; {TEXT}; echo done"])
def test_a_program_that_does_not_want_the_body(site: CgiSite, script: str) -> None:
    site.script("p", script)
    peer = site.bench.connect()
    site.send(peer, post(b"x" * 2_000_000) + GET)
    site.wait(lambda: b"0\r\n\r\n" in peer.receive(), "the answer")
    assert peer.answer().body == b"done\n"
    site.wait_end()


def test_a_body_waits_for_the_program(site: CgiSite) -> None:
    site.script("p", f"read line < {site.fifo('go')}; {COUNT}")
    peer = site.bench.connect()
    body = b"x" * 10_000_000
    peer.sock.setblocking(False)
    request, sent = memoryview(post(body)), 0

    def fill() -> bool:
        nonlocal sent
        try:
            sent += peer.sock.send(request[sent:sent + 65536])
        except BlockingIOError:
            return bool(site.bench.context.connections.copy().pop().transport.size == 0) and sent > 65536
        return sent == len(request)

    site.wait(fill, "a full pipe")
    site.bench.run()
    assert sent < 4_000_000
    site.tell("go")
    site.wait(lambda: fill() and sent == len(request), "all of the body")
    assert site.answer(peer).body == b"10000000 10000000\n"


def test_no_room_for_a_body(site: CgiSite, monkeypatch: pytest.MonkeyPatch,
                            capfd: pytest.CaptureFixture[str]) -> None:
    """A temporary directory that is full: /dev/full is that for each write."""
    site.script("p", COUNT)
    for place, status in (("/dev/full", 507), ("/no/such/file", 500)):
        monkeypatch.setattr("lwsws.handlers.cgi_body.tempfile.TemporaryFile",
                            lambda buffering, place=place: open(place, "r+b", buffering))
        peer = site.bench.connect()
        peer.send(chunked(b"hello"))
        assert peer.answer().status == status
        assert "no temporary file for the request body" in capfd.readouterr().err
    assert site.handler.running == 0


def test_nothing_is_left_open(site: CgiSite) -> None:
    site.script("p", COUNT)
    before: List[str] = []
    for request in (GET, post(b"hello"), chunked(b"hello"), GET.replace(b"/p", b"/q")):
        peer = site.bench.connect()
        peer.send(request)
        site.answer(peer)
        peer.sock.close()
        site.wait(lambda: not site.bench.context.connections, "the end of the connection")
        before = before or open_fds()   # the pool of workers has begun by then
        assert (open_fds(), site.alive) == (before, 0)
