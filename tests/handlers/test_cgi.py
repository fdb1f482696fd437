"""CGI mounts: what becomes of a request, and of what its program writes; real programs, no network."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest

from lwsws import log
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
    (f"{TEXT}; echo hello", 200, {"Content-Type": "text/plain"}, b"hello\n"),
    (TEXT, 200, {"Content-Type": "text/plain"}, b""),
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
def test_answers(site: CgiSite, script: str, status: int, fields: Dict[str, str],
                 body: Optional[bytes]) -> None:
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
    ("echo no header at all", 502, "502: the header line 'no header at all' has no colon"),
    ("exit 0", 502, "502: it wrote nothing"),
    ("exit 3", 502, "exited with status 3 after"),
    ("kill -9 $$", 502, "it was ended by SIGKILL before its answer was complete"),
    ("printf 'Location: /cgi/p\\n\\n'", 508, "508: its Location '/cgi/p': this leads round in circles"),
    ("printf 'Content-Type: a/b\\nContent-Length: 9\\n'; kill -TERM $$", 502, "was ended by SIGTERM before"),
])
def test_faults_of_the_program(site: CgiSite, capfd: pytest.CaptureFixture[str], script: str,
                               status: int, logged: str) -> None:
    """The client is not told why."""
    site.script("p", script)
    answer = site.get("/cgi/p")
    assert (answer.status, str(site.programs).encode() in answer.body) == (status, False)
    assert re.search(rf"conn 1: cgi {site.programs}/p: .*{logged}", capfd.readouterr().err)


@pytest.mark.parametrize("head, last, logged", [
    ("", "kill -TERM $$", "it was ended by SIGTERM before its answer was complete"),
    ("Content-Length: 9\\n", "exit 0", "it ended before its answer was complete"),
    ("Content-Length: 9\\n", "kill -KILL $$", "it was ended by SIGKILL before its answer was complete"),
    ("Transfer-Encoding: chunked\\n", "exit 0", "a malformed chunk size line"),
])
def test_faults_in_the_middle_of_an_answer(site: CgiSite, capfd: pytest.CaptureFixture[str], head: str,
                                           last: str, logged: str) -> None:
    """It is broken off, and does not look complete."""
    logged = f"its answer is broken off: {logged}"
    wait = f"read line < {site.fifo('go')}"
    site.script("p", f"printf 'Content-Type: a/b\\n{head}\\n'; {wait}; echo hello; {last}")
    peer = site.begin("/cgi/p")
    site.wait(lambda: b"\r\n\r\n" in peer.receive(), "the head")
    site.tell("go")
    site.wait(lambda: peer.receive() and peer.eof, "the end")
    assert peer.data.startswith(b"HTTP/1.1 200 OK\r\n") and not peer.data.endswith(b"0\r\n\r\n")
    site.wait_end()
    assert logged in capfd.readouterr().err


def test_programs_that_cannot_be_started(site: CgiSite, capfd: pytest.CaptureFixture[str]) -> None:
    site.script("plain", "").chmod(0o644)
    site.script("badint", "").write_text("#!/no/such/interpreter\n")
    site.script("dos", "").write_bytes(b"#!/bin/sh\r\n")
    site.script("text", "").write_text("no first line\n")
    for name, status, why in (("plain", 403, "chmod a+x"),
                              ("badint", 500, "interpreter '/no/such/interpreter' of its first line"),
                              ("dos", 500, "'/bin/sh\\r' of its first line is not there: its lines end"),
                              ("text", 500, "has no first line like #!/bin/sh"), ("nothing", 404, "")):
        assert site.get(f"/cgi/{name}").status == status
        said = capfd.readouterr().err
        assert why in said and (f"/{name}: {status}" in said) == bool(why)
    assert site.handler.running == 0


def test_why_there_is_no_program(site: CgiSite, capfd: pytest.CaptureFixture[str]) -> None:
    """It is for the administrator, if he asks; there is no end of those who try paths."""
    log.set_level(log.parse_level("info"))
    try:
        answer = site.get("/cgi/nothing")
    finally:
        log.set_level(log.DEFAULT_MASK)
    assert (answer.status, b"nothing" in answer.body) == (404, False)
    assert f"conn 1: cgi: 404: {site.programs}/nothing: No such file" in capfd.readouterr().err


def test_lines_that_are_no_fields(site: CgiSite, capfd: pytest.CaptureFixture[str]) -> None:
    site.script("p", f"echo '<!--: spam'; {TEXT}; echo why")
    assert site.get("/cgi/p").body == b"why\n"
    assert "/p: dropped from its head: '<!--: spam'" in capfd.readouterr().err


def test_head_has_no_body(site: CgiSite) -> None:
    site.script("p", f"{TEXT}; echo $REQUEST_METHOD; cat /dev/zero | head -c 1000000")
    request = "HEAD /cgi/p HTTP/1.1\nHost: localhost\n\n"
    answer = site.ask(request, "HEAD")
    assert (answer.status, answer.get("Content-Type")) == (200, "text/plain")
    assert answer.get("Content-Length") is None
    site.script("p", "printf 'Content-Type: a/b\\nContent-Length: 5\\n\\n'")
    assert site.ask(request, "HEAD").get("Content-Length") == "5"


def test_the_connection_goes_on(site: CgiSite) -> None:
    site.script("p", f'{TEXT}; echo "$QUERY_STRING"')
    peer = site.bench.connect()
    peer.send(b"".join(GET.replace(b"p HTTP", b"p?%d HTTP" % number) for number in range(5)))
    assert [site.answer(peer).body for _ in range(5)] == [b"0\n", b"1\n", b"2\n", b"3\n", b"4\n"]


def test_too_many_programs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    site = CgiSite(tmp_path, cgi_limit="2")
    site.script("p", f"{TEXT}; read line < {site.fifo('go')}")
    peers = [site.begin("/cgi/p"), site.begin("/cgi/p")]
    refused = site.bench.connect().get("/cgi/p")
    assert (refused.status, refused.get("Retry-After")) == (503, "1")
    assert site.bench.connect().get("/cgi/p").status == 503
    assert capfd.readouterr().err.count("2 run already (cgi-limit)") == 1
    site.tell("go", "\n\n")
    assert [site.answer(peer).status for peer in peers] == [200, 200]
    site.script("p", TEXT)
    assert site.get("/cgi/p").status == 200
    site.close()


def test_a_slow_upload_takes_no_place(tmp_path: Path) -> None:
    """As long as it is collected, there is no program for it; and then there may be too many."""
    site = CgiSite(tmp_path, cgi_limit="1")
    site.script("p", COUNT)
    site.script("q", f"{TEXT}; read line < {site.fifo('go')}")
    request = chunked(b"hello")
    slow = [site.bench.connect(), site.bench.connect()]
    for peer in slow:
        peer.send(request[:-3])
    assert site.get("/cgi/p").body == b" 0\n"
    slow[0].send(request[-3:])
    assert site.answer(slow[0]).body == b"5 5\n"
    site.begin("/cgi/q")
    slow[1].send(request[-3:])
    assert slow[1].answer().status == 503
    site.tell("go")
    site.wait_end()
    site.close()


def test_a_full_queue_of_the_workers(tmp_path: Path) -> None:
    """They start what goes into a chroot."""
    site = CgiSite(tmp_path, cgi_chroot="/")
    site.script("p", TEXT)
    site.bench.workers.stop(1)
    for request in (GET, chunked(b"hello")):
        peer = site.bench.connect()
        peer.send(request)
        answer = peer.answer()
        assert (answer.status, answer.get("Retry-After"), site.handler.running) == (503, "1", 0)
    site.close()


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
    assert [site.answer(peer).body, site.answer(peer).body] == [wanted, b" 0\n"]


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
    assert site.answer(peer).body == b"done\n"


def test_a_body_that_nobody_reads_does_not_wait(site: CgiSite) -> None:
    """The program has closed its end: all of it comes, and is thrown away."""
    ready = site.directory / "ready"
    site.script("p", f"read go < {site.fifo('go')}; exec <&-; echo > {ready}; read go < {site.directory}/go; "
                     f"{TEXT}; echo done")
    peer = site.bench.connect()
    role: Any = peer.connection.role
    unsent = memoryview(post(b"x" * 3_000_000))

    def waits() -> bool:
        nonlocal unsent
        with suppress(BlockingIOError):
            unsent = unsent[peer.sock.send(unsent):]
        return bool(site.alive and role.exchange.body_paused)

    site.wait(waits, "a full pipe")
    site.tell("go")
    site.wait(ready.exists, "the program")
    site.send(peer, bytes(unsent))
    site.tell("go")
    assert site.answer(peer).body == b"done\n"


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
