"""Parts of files in answers, files that change under our hands, and fds that must not be lost."""

from __future__ import annotations

import email.parser
import email.policy
import os
import resource
from pathlib import Path
from typing import Any, List, Optional, Tuple

import pytest

from lwsws.config.model import MountConfig
from lwsws.config.origin import Origin
from lwsws.core.exchange import HttpError
from lwsws.handlers.file import FileHandler
from lwsws.handlers.openfile import OpenFile
from tests.support.docroot import BIG, DATE, FILES, open_fds
from tests.support.peer import Answer, Bench, Peer

# Ranges.


@pytest.mark.parametrize(
    "wanted, shown, body",
    [
        ("0-3", "bytes 0-3/10", b"0123"), ("4-", "bytes 4-9/10", b"456789"), ("-3", "bytes 7-9/10", b"789"),
        ("5-100", "bytes 5-9/10", b"56789"), ("-100", "bytes 0-9/10", b"0123456789"),
        ("0-4,3-6", "bytes 0-6/10", b"0123456"),
    ],
)
def test_one_range(peer: Peer, wanted: str, shown: str, body: bytes) -> None:
    answer = peer.get("/ten.txt", f"Range: bytes={wanted}")
    assert (answer.status, answer.get("content-range"), answer.body) == (206, shown, body)
    assert answer.get("content-type") == "text/plain"
    assert answer.get("etag") == peer.get("/ten.txt").get("etag")
    assert answer.get("last-modified") == DATE


def test_one_range_of_a_big_file(peer: Peer) -> None:
    answer = peer.get("/big.txt", "Range: bytes=1000-400000")
    assert (answer.status, answer.body) == (206, BIG[1000:400001])


@pytest.mark.parametrize("wanted", ["99-", "-0", "10-"])
def test_an_unsatisfiable_range(peer: Peer, wanted: str) -> None:
    answer = peer.get("/ten.txt", f"Range: bytes={wanted}")
    assert (answer.status, answer.get("content-range")) == (416, "bytes */10")


@pytest.mark.parametrize(
    "field", ["Range: items=0-1", "Range: bytes=5-3", "Range: bytes=0-3\nIf-Range: \"x\""]
)
def test_a_range_that_does_not_count(peer: Peer, field: str) -> None:
    answer = peer.get("/ten.txt", field)
    assert (answer.status, answer.body) == (200, b"0123456789")


def test_range_of_a_head_is_ignored(peer: Peer) -> None:
    """RFC 9110 14.2; the original says 206."""
    answer = peer.ask("HEAD /ten.txt HTTP/1.1\nHost: localhost\nRange: bytes=0-3", "HEAD")
    assert (answer.status, answer.get("content-length")) == (200, "10")


def parts_of(answer: Answer) -> List[Tuple[Optional[str], Optional[str], bytes]]:
    """The parts of a multipart answer as (type, Content-Range, content), read by the standard library."""
    kind = answer.get("content-type")
    assert kind is not None
    assert kind.startswith("multipart/byteranges; boundary=")
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + answer.body)
    assert message.is_multipart()
    found = []
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found.append((part["Content-Type"], part["Content-Range"], content))
    return found


def test_several_ranges(peer: Peer) -> None:
    answer = peer.get("/ten.txt", "Range: bytes=0-1, 4-5,-1")
    assert answer.status == 206
    assert answer.get("content-range") is None      # RFC 9110 15.3.7.2
    assert parts_of(answer) == [
        ("text/plain", "bytes 0-1/10", b"01"), ("text/plain", "bytes 4-5/10", b"45"),
        ("text/plain", "bytes 9-9/10", b"9"),
    ]
    boundary = (answer.get("content-type") or "").partition("=")[2]
    assert answer.body.startswith(f"--{boundary}\r\n".encode())
    assert answer.body.endswith(f"\r\n--{boundary}--\r\n".encode())
    assert peer.get("/ten.txt").status == 200


def test_the_boundary_is_another_each_time(peer: Peer) -> None:
    kinds = {peer.get("/ten.txt", "Range: bytes=0-1,4-5").get("content-type") for _ in range(3)}
    assert len(kinds) == 3


def test_several_ranges_of_a_big_file(peer: Peer) -> None:
    answer = peer.get("/big.txt", "Range: bytes=300000-400000,0-99999,-5")
    assert [content for _, _, content in parts_of(answer)] == [BIG[300000:400001], BIG[:100000], BIG[-5:]]


def test_parts_of_a_file_without_a_type_have_none(peer: Peer) -> None:
    answer = peer.get("/all/noext", "Range: bytes=0-1,4-5")
    assert answer.status == 206
    assert b"Content-Type" not in answer.body
    assert b"\r\nContent-Range: bytes 4-5/6\r\n\r\nET\r\n--" in answer.body


# Files that change or give trouble, and fds.


def handler_for(docroot: Path, **keys: Any) -> FileHandler:
    return FileHandler(MountConfig("/", Origin("file", "file", str(docroot)), **keys))


def test_a_file_cut_while_it_is_read_is_no_false_answer(docroot: Path) -> None:
    handler = handler_for(docroot)
    with OpenFile(handler.root.open("plain.txt")) as file:
        os.truncate(docroot / "plain.txt", 3)
        with pytest.raises(HttpError) as caught:
            file.read(0, file.size)
    assert caught.value.status == 503
    handler.root.close()


def test_a_big_file_cut_while_it_is_sent_breaks_off(bench: Bench, docroot: Path) -> None:
    """Never a false end: the connection is cut before the promised length."""
    peer = bench.connect(buffer=4096)
    peer.sock.send(b"GET /big.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
    bench.run()
    os.truncate(docroot / "big.txt", 1000)
    data = peer.receive()
    assert peer.eof
    assert b"Content-Length: 512000\r\n" in data
    assert len(data) < 512000


def test_no_fds_left_is_503_and_passes(bench: Bench) -> None:
    peer = bench.connect()
    assert peer.get("/plain.txt").status == 200
    bench.advance(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, open_fds()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    taken = []
    try:
        while True:
            try:
                taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        status = peer.get("/sub/a.txt").status
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)
    assert status == 503
    bench.advance(1)
    assert peer.get("/sub/a.txt").status == 200


EVERY_WAY = [
    "GET /plain.txt", "GET /big.txt", "HEAD /plain.txt", "HEAD /big.txt", "GET /sub", "GET /fifo.txt",
    "GET /nope.txt", "GET /noext", "GET /empty.txt", "GET /pre.js", "GET /pre.js\nAccept-Encoding: gzip",
    "GET /pre.js\nAccept-Encoding: br\nIf-None-Match: *", "GET /big.css\nAccept-Encoding: gzip",
    "GET /ten.txt\nRange: bytes=0-1", "GET /ten.txt\nRange: bytes=0-1,4-5", "GET /ten.txt\nRange: bytes=99-",
    "GET /big.txt\nRange: bytes=0-99999,200000-", "GET /big.txt\nRange: bytes=7-",
    "GET /big.txt\nIf-Match: x", "GET /big.txt\nIf-None-Match: *", "GET /out.txt", "GET /plain.txt/",
    "POST /plain.txt\nContent-Length: 0",
    "GET /all/noext", "GET /follow/out.txt", "GET /nolinks/ten.txt", "GET /gone/x.txt", "GET /exact/",
]


def ask(peer: Peer, way: str) -> None:
    line, _, fields = way.partition("\n")
    method = line.partition(" ")[0]
    peer.ask(f"{line} HTTP/1.1\nHost: localhost" + ("\n" + fields if fields else ""), method)


def test_no_way_through_the_handler_leaks_an_fd(bench: Bench) -> None:
    peer = bench.connect()
    for way in EVERY_WAY:   # takes the roots
        ask(peer, way)
    before = open_fds()
    for way in EVERY_WAY:
        bench.advance(3)
        ask(peer, way)
    assert open_fds() == before


@pytest.mark.parametrize(
    "way", ["/big.txt", "/big.txt\nRange: bytes=0-99999,200000-", "/big.css\nAccept-Encoding: gzip"]
)
def test_a_client_that_goes_away_leaks_no_fd(bench: Bench, way: str) -> None:
    warm = bench.connect()
    warm.get("/big.txt")
    before = open_fds()
    peer = bench.connect(buffer=2048)
    target, _, fields = way.partition("\n")
    request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n" + (fields + "\r\n" if fields else "") + "\r\n"
    peer.sock.send(request.encode())
    bench.run()
    assert len(open_fds()) == len(before) + 3       # both ends of the connection, and the file
    peer.sock.close()
    bench.run()
    assert open_fds() == before


def test_pipelined_requests_for_big_and_small_files_are_answered_in_order(peer: Peer) -> None:
    targets = ["/big.txt", "/ten.txt", "/above.txt", "/nope.txt", "/plain.txt"]
    peer.send(b"".join(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for target in targets))
    answers = [peer.answer() for _ in targets]
    assert [answer.status for answer in answers] == [200, 200, 200, 404, 200]
    assert answers[0].body == BIG
    assert answers[1].body == FILES["ten.txt"]
    assert answers[2].body == FILES["above.txt"]
    assert answers[4].body == FILES["plain.txt"]


def test_a_remembered_answer_is_the_same(peer: Peer) -> None:
    first = peer.get("/plain.txt")
    second = peer.get("/plain.txt")
    assert first == second
