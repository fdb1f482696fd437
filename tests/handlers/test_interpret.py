"""Files that go out through a protocol: what plugin and client get, and what never goes out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest

from lwsws.config.model import MountConfig, Pairs
from lwsws.config.origin import Origin
from lwsws.core.protocol import Protocol
from lwsws.core.session import HttpSession
from lwsws.handlers.interpret import BLOCK, InterpretHandler
from lwsws.net.transport import HIGH
from tests.support.http_sessions import VHOST, fault, open_targets
from tests.support.peer import Bench, Peer

TYPES = ((".shtml", "text/html"), (".tpl", "text/plain"))
BIG = bytes(range(256)) * 4096 + b"the end"


class Upper(Protocol):
    """Sends upper case, and writes down what it gets."""

    def __init__(self) -> None:
        self.blocks: List[Tuple[int, bool]] = []
        self.sessions_seen: List[HttpSession] = []
        self.closed_sessions = 0
        self.hook: Any = None

    def interpret(self, s: HttpSession, data: bytes, final: bool) -> bytes:
        self.blocks.append((len(data), final))
        self.sessions_seen.append(s)
        if self.hook is not None:
            found = self.hook(s)
            return found if found is not None else data
        return data.upper()

    def http_closed(self, s: HttpSession) -> None:
        self.closed_sessions += 1


class Site:
    """A mount at /i whose .shtml and .x.shtml files are interpreted."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "www"
        self.root.mkdir()
        self.write("a.shtml", b"<p>hello</p>")
        self.write("plain.txt", b"plain")
        self.bench = Bench(directory, {"error-document-404": "/i/404.shtml"})
        self.plugin: Optional[Upper] = Upper()
        self.other = Upper()
        self.mount()

    def write(self, name: str, data: bytes) -> None:
        """Put a file into the root."""
        (self.root / name).write_bytes(data)

    def mount(self, types: Pairs = TYPES, **keys: Any) -> None:
        """Mount the root with these keys."""
        config = MountConfig("/i", Origin("file", "file", str(self.root)), extra_mimetypes=types,
                             pmo=(("a", "1"),), auth_mask=7, **keys)
        protocols: Dict[str, Any] = {".shtml": lambda: self.plugin, "x.SHTML": lambda: self.other}
        self.bench.mount("/i", InterpretHandler(config, protocols, VHOST, self.bench.clock))

    def close(self) -> None:
        """No file may be left open."""
        self.bench.close()
        assert open_targets(f"{self.root}/") == []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def peer(site: Site) -> Peer:
    return site.bench.connect()


def plugin_of(site: Site) -> Upper:
    assert site.plugin is not None
    return site.plugin


def test_a_file_goes_through_its_protocol(site: Site, peer: Peer) -> None:
    for _ in range(2):
        answer = peer.get("/i/a.shtml")
        assert (answer.status, answer.body) == (200, b"<P>HELLO</P>")
        own = [field for field in answer.fields if field[0] not in ("Date", "Server")]
        assert own == [("Content-Type", "text/html"), ("Cache-Control", "no-store"),
                       ("Transfer-Encoding", "chunked")]
    assert plugin_of(site).blocks == [(12, True)] * 2
    assert not peer.eof


def test_other_files_do_not(site: Site, peer: Peer) -> None:
    site.write("b.tpl", b"tpl")
    site.write("shtml.txt", b"txt")
    for name, body in (("plain.txt", b"plain"), ("b.tpl", b"tpl"), ("shtml.txt", b"txt")):
        answer = peer.get(f"/i/{name}")
        assert (answer.status, answer.body) == (200, body)
        assert answer.get("etag") is not None
    assert plugin_of(site).blocks == []


def test_the_longest_suffix_wins_and_case_does_not_matter(site: Site, peer: Peer) -> None:
    for name in ("b.x.shtml", "c.X.SHTML", "d.SHTML"):
        site.write(name, b"abc")
        assert peer.get(f"/i/{name}").body == b"ABC"
    assert len(site.other.blocks) == 2
    assert len(plugin_of(site).blocks) == 1


def test_an_empty_file_is_one_empty_block(site: Site, peer: Peer) -> None:
    site.write("a.shtml", b"")
    assert peer.get("/i/a.shtml").body == b""
    assert plugin_of(site).blocks == [(0, True)]
    plugin_of(site).hook = lambda s: b"made up"
    assert peer.get("/i/a.shtml").body == b"made up"


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK, len(BIG)])
def test_a_file_of_many_blocks(site: Site, peer: Peer, size: int) -> None:
    site.write("a.shtml", BIG[:size])
    assert peer.get("/i/a.shtml").body == BIG[:size].upper()
    blocks = plugin_of(site).blocks
    assert sum(length for length, _ in blocks) == size
    assert [final for _, final in blocks] == [False] * (len(blocks) - 1) + [True]
    assert all(length == BLOCK for length, final in blocks if not final)
    assert len(set(map(id, plugin_of(site).sessions_seen))) == 1


def test_blocks_are_read_as_the_client_takes_them(site: Site) -> None:
    site.write("a.shtml", BIG * 4)
    peer = site.bench.connect()
    peer.send(b"GET /i/a.shtml HTTP/1.1\r\nHost: localhost\r\n\r\n")
    before = len(plugin_of(site).blocks)
    for _ in range(20):
        site.bench.run()
    taken = len(plugin_of(site).blocks)
    assert before <= taken < 16
    assert HIGH < peer.connection.transport.size < 2 * HIGH
    assert peer.answer().body == (BIG * 4).upper()


def test_a_pipelined_request_waits_for_the_file(site: Site, peer: Peer) -> None:
    site.write("a.shtml", BIG)
    peer.send(b"GET /i/a.shtml HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3
              + b"GET /i/plain.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for _ in range(3):
        assert peer.answer().body == BIG.upper()
    assert peer.answer().body == b"plain"


def test_http_1_0_gets_it_up_to_the_end_of_the_connection(site: Site, peer: Peer) -> None:
    peer.send(b"GET /i/a.shtml HTTP/1.0\r\n\r\n")
    assert peer.receive().endswith(b"\r\n\r\n<P>HELLO</P>")
    assert peer.eof


def test_head_does_not_ask_the_plugin(site: Site, peer: Peer) -> None:
    answer = peer.ask("HEAD /i/a.shtml HTTP/1.1\nHost: localhost", "HEAD")
    assert (answer.status, answer.get("content-type")) == (200, "text/html")
    assert peer.receive() == b""
    assert plugin_of(site).blocks == []
    assert peer.get("/i/plain.txt").body == b"plain"


def test_a_request_with_a_body(site: Site, peer: Peer) -> None:
    peer.send(b"GET /i/a.shtml HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
              b"GET /i/plain.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert peer.answer().body == b"<P>HELLO</P>"
    assert peer.answer().body == b"plain"


@pytest.mark.parametrize("fields", [["Range: bytes=0-1"], ["If-None-Match: *"], ["Accept-Encoding: gzip"]])
def test_no_ranges_no_conditions_no_siblings(site: Site, peer: Peer, fields: List[str]) -> None:
    site.write("a.shtml.gz", b"not for anybody")
    answer = peer.get("/i/a.shtml", *fields)
    assert (answer.status, answer.body) == (200, b"<P>HELLO</P>")


def test_cache_control_is_that_of_the_mount(site: Site, peer: Peer) -> None:
    site.mount(cache_max_age=60, cache_reuse=True)
    assert peer.get("/i/a.shtml").get("cache-control") == "private, max-age=60"


def test_it_is_safe_as_other_files_are(site: Site, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "secret.shtml").write_bytes(b"SECRET")
    os.symlink("../secret.shtml", site.root / "out.shtml")
    (site.root / "dir.shtml").mkdir()
    os.mkfifo(site.root / "fifo.shtml")
    site.write(".hidden.shtml", b"SECRET")
    for path, status in (("/out.shtml", 404), ("/dir.shtml/", 404), ("/dir.shtml", 301), ("/fifo.shtml", 404),
                         ("/.hidden.shtml", 404), ("/missing.shtml", 404), ("/a.shtml/", 404)):
        answer = peer.get(f"/i{path}")
        assert answer.status == status, path
        assert b"SECRET" not in answer.body
    for method in ("POST", "PUT", "DELETE"):
        answer = peer.ask(f"{method} /i/a.shtml HTTP/1.1\nHost: localhost\nContent-Length: 0")
        assert (answer.status, answer.get("allow")) == (405, "GET, HEAD, OPTIONS")
    assert plugin_of(site).blocks == []


def test_the_default_file_of_a_directory(site: Site, peer: Peer) -> None:
    site.mount(default="a.shtml")
    assert peer.get("/i/").body == b"<P>HELLO</P>"
    assert peer.get("/i").status == 301


def test_a_suffix_without_a_media_type_is_not_served(site: Site, peer: Peer) -> None:
    site.mount(types=())
    assert peer.get("/i/a.shtml").status == 415
    assert plugin_of(site).blocks == []


def test_without_its_protocol_a_file_never_goes_out(site: Site, peer: Peer) -> None:
    site.plugin = None
    for _ in range(2):
        answer = peer.get("/i/a.shtml")
        assert answer.status == 503
        assert b"hello" not in answer.body
    assert peer.ask("HEAD /i/a.shtml HTTP/1.1\nHost: localhost", "HEAD").status == 503


def test_the_error_document(site: Site, peer: Peer) -> None:
    assert peer.get("/nothing").body.startswith(b"<!doctype html>")
    site.write("404.shtml", b"own page")
    for _ in range(2):
        answer = peer.get("/nothing")
        assert (answer.status, answer.body, answer.get("content-type")) == (404, b"OWN PAGE", "text/html")
    assert peer.ask("HEAD /nothing HTTP/1.1\nHost: localhost", "HEAD").status == 404
    plugin_of(site).hook = fault
    assert peer.get("/nothing").body.startswith(b"<!doctype html>")
    site.plugin = None
    assert peer.get("/nothing").body.startswith(b"<!doctype html>")


def test_an_error_document_that_is_not_interpreted(site: Site, tmp_path: Path) -> None:
    site.write("404.html", b"as it is")
    vhost = site.bench.vhosts().default
    vhost.error_document = "/i/404.html"
    assert site.bench.connect().get("/nothing").body == b"as it is"
    vhost.error_document = "/i/dir.shtml"
    (site.root / "dir.shtml").mkdir()
    assert site.bench.connect().get("/nothing").body.startswith(b"<!doctype html>")


# Faults.


@pytest.mark.parametrize("hook", [fault, lambda s: "text", lambda s: 5])
def test_a_fault_in_the_first_block_is_500(site: Site, peer: Peer, hook: Any,
                                           capfd: pytest.CaptureFixture[str]) -> None:
    plugin_of(site).hook = hook
    assert peer.get("/i/a.shtml").status == 500
    assert f"conn {peer.connection.ident}: fault in " in capfd.readouterr().err
    plugin_of(site).hook = None
    assert peer.get("/i/a.shtml").status == 200


def test_a_fault_in_a_later_block_breaks_the_answer_off(site: Site, peer: Peer) -> None:
    site.write("a.shtml", BIG)
    plugin = plugin_of(site)
    plugin.hook = lambda s: fault() if len(plugin.blocks) == 3 else b"x"
    peer.send(b"GET /i/a.shtml HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert peer.receive().endswith(b"\r\n\r\n" + b"1\r\nx\r\n" * 2)
    assert peer.eof
    assert site.bench.connect().get("/i/plain.txt").status == 200


def test_a_file_that_is_cut_meanwhile_breaks_the_answer_off(site: Site, peer: Peer,
                                                            capfd: pytest.CaptureFixture[str]) -> None:
    site.write("a.shtml", BIG)

    def cut(s: HttpSession) -> None:
        os.truncate(site.root / "a.shtml", BLOCK)

    plugin_of(site).hook = cut
    peer.send(b"GET /i/a.shtml HTTP/1.1\r\nHost: localhost\r\n\r\n")
    received = peer.receive()
    assert peer.eof
    assert not received.endswith(b"0\r\n\r\n")
    assert "a file ended" in capfd.readouterr().err


def test_a_client_that_is_gone_in_the_middle(site: Site) -> None:
    site.write("a.shtml", BIG * 4)
    peer = site.bench.connect()
    peer.send(b"GET /i/a.shtml HTTP/1.1\r\nHost: localhost\r\n\r\n")
    peer.connection.abort()
    site.bench.run()
    seen = len(plugin_of(site).blocks)
    for _ in range(5):
        site.bench.run()
    assert len(plugin_of(site).blocks) == seen


@pytest.mark.parametrize("call", [
    lambda s: s.respond(200), lambda s: s.start(200), lambda s: s.write(b"x"), lambda s: s.finish(),
])
def test_the_plugin_cannot_answer_itself(site: Site, peer: Peer, call: Any,
                                         capfd: pytest.CaptureFixture[str]) -> None:
    plugin_of(site).hook = call
    assert peer.get("/i/a.shtml").status == 500
    assert "LocalProtocolError: a file that is interpreted is the answer" in capfd.readouterr().err


def test_what_the_session_knows(site: Site, peer: Peer) -> None:
    def use(s: HttpSession) -> bytes:
        s.user = (s.user or 0) + 1
        s.pause_body()
        known = s.user, s.rest, s.auth_mask, s.options.get("a"), s.request.query, s.vhost.name
        return repr(known).encode()

    plugin_of(site).hook = use
    assert peer.get("/i/a.shtml?q=1").body == b"(1, '/a.shtml', 7, '1', 'q=1', 'localhost')"
    assert plugin_of(site).closed_sessions == 0


def test_a_plugin_may_abort(site: Site, peer: Peer) -> None:
    plugin_of(site).hook = lambda s: s.abort()
    peer.send(b"GET /i/a.shtml HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert peer.closed
