"""Precompressed siblings: which coding is chosen, and what is remembered."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Optional, Tuple

import pytest

from lwsws.handlers.beneath import Root
from lwsws.handlers.openfile import OpenFile
from lwsws.handlers.precompressed import LIFETIME, MAX_NAMES, SUFFIXES, Siblings, choose_coding
from tests.support.clock import ManualClock
from tests.support.docroot import FILES, MTIME
from tests.support.peer import Peer

ALL = tuple(SUFFIXES)


@pytest.mark.parametrize(
    "accept, available, wanted",
    [
        (None, ALL, ""),
        ("", ALL, ""),
        ("gzip", ALL, "gzip"),
        ("gzip, deflate, br, zstd", ALL, "br"),         # what browsers send: equal weights, our order
        ("gzip, deflate, br, zstd", ("zstd", "gzip"), "zstd"),
        ("gzip, deflate, br, zstd", ("gzip",), "gzip"),
        ("deflate", ALL, ""),
        ("gzip;q=1.0, br;q=0.9", ALL, "gzip"),
        ("gzip;q=0.5, br;q=0.5", ALL, "br"),
        ("br;q=0, gzip", ALL, "gzip"),
        ("br;q=0", ALL, ""),
        ("gzip;q=0.000", ALL, ""),
        ("*", ALL, "br"),
        ("*;q=0.1", ALL, "br"),
        ("*;q=0, gzip", ALL, "gzip"),
        ("br;q=0, *", ALL, "zstd"),
        ("identity", ALL, ""),
        ("identity, gzip", ALL, "gzip"),
        ("identity;q=1, gzip;q=0.5", ALL, ""),
        ("identity;q=0.5, gzip;q=0.5", ALL, "gzip"),
        ("identity;q=0, gzip", ("br",), ""),            # disregarded rather than a 406
        ("GZip", ALL, "gzip"),
        ("x-gzip", ALL, "gzip"),
        ("gzip;q=x, br;q=", ALL, ""),
    ],
)
def test_the_choice_of_a_coding(accept: Optional[str], available: Tuple[str, ...], wanted: str) -> None:
    """RFC 9110 12.5.3."""
    assert choose_coding(accept, available) == wanted


def touch(path: Path, mtime_ns: int = 10**18) -> Path:
    path.write_bytes(b"x")
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


class Place:
    """A directory with the siblings of its files, looked for through the real thing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.root = Root(str(path), clock=self.clock)
        self.siblings = Siblings(self.root, self.clock)

    def codings(self, name: str) -> Tuple[str, ...]:
        with OpenFile(self.root.open(name)) as file:
            return self.siblings.codings(name, file)

    def opens(self, name: str, coding: str) -> bool:
        with OpenFile(self.root.open(name)) as file:
            sibling = self.siblings.open(name, file, coding)
            if sibling is None:
                return False
            sibling.close()
            return True


@pytest.fixture
def place(tmp_path: Path) -> Place:
    touch(tmp_path / "a.js")
    return Place(tmp_path)


def test_no_siblings(place: Place) -> None:
    assert place.codings("a.js") == ()


def test_all_siblings_in_order_of_preference(place: Place) -> None:
    for suffix in (".gz", ".zst", ".br", ".bz2"):
        touch(place.path / ("a.js" + suffix))
    assert place.codings("a.js") == ("br", "zstd", "gzip")


def test_what_does_not_count_as_a_sibling(place: Place) -> None:
    """LESSONS 3.15: siblings are opened beneath the root and looked at like any file."""
    (place.path / "a.js.br").mkdir()
    os.mkfifo(place.path / "a.js.zst")
    os.symlink("/etc/passwd", place.path / "a.js.gz")
    assert place.codings("a.js") == ()


def test_an_old_sibling_does_not_count(place: Place) -> None:
    second = 10**9
    touch(place.path / "a.js", 10**18 + second // 2)
    touch(place.path / "a.js.br", 10**18 - 1)
    touch(place.path / "a.js.gz", 10**18)   # compressors that keep whole seconds only
    assert place.codings("a.js") == ("gzip",)


def test_what_is_found_is_remembered_for_a_while(place: Place) -> None:
    assert place.codings("a.js") == ()
    touch(place.path / "a.js.gz")
    assert place.codings("a.js") == ()
    place.clock.advance(LIFETIME)
    assert place.codings("a.js") == ("gzip",)


def test_a_remembered_sibling_is_looked_at_again_when_sent(place: Place) -> None:
    touch(place.path / "a.js.gz")
    assert place.codings("a.js") == ("gzip",)
    assert place.opens("a.js", "gzip")
    touch(place.path / "a.js", 10**18 + 10**9)
    assert not place.opens("a.js", "gzip")
    os.unlink(place.path / "a.js.gz")
    assert not place.opens("a.js", "gzip")


def test_the_memory_has_a_bound(place: Place) -> None:
    with OpenFile(place.root.open("a.js")) as file:
        for number in range(MAX_NAMES + 10):
            place.siblings.codings(str(number), file)
    assert len(place.siblings._known) <= MAX_NAMES


# In answers.


def test_a_sibling_is_sent_to_who_accepts_it(peer: Peer) -> None:
    plain = peer.get("/pre.js")
    coded = peer.get("/pre.js", "Accept-Encoding: gzip")
    best = peer.get("/pre.js", "Accept-Encoding: gzip, deflate, br, zstd")
    assert [answer.get("content-encoding") for answer in (plain, coded, best)] == [None, "gzip", "br"]
    assert plain.body == FILES["pre.js"]
    assert gzip.decompress(coded.body) == FILES["pre.js"]
    assert best.body == FILES["pre.js.br"]
    assert {answer.get("vary") for answer in (plain, coded, best)} == {"Accept-Encoding"}
    assert {answer.get("content-type") for answer in (plain, coded, best)} == {"text/javascript"}
    assert len({answer.get("etag") for answer in (plain, coded, best)}) == 3


def test_without_a_sibling_nothing_varies(peer: Peer) -> None:
    answer = peer.get("/plain.txt", "Accept-Encoding: gzip, br")
    assert answer.get("vary") is None
    assert answer.get("content-encoding") is None


@pytest.mark.parametrize(
    "accept", ["gzip;q=0", "identity", "deflate", "identity;q=0", "identity;q=1, gzip;q=0.5"]
)
def test_the_plain_file_where_no_coding_is_wanted(peer: Peer, accept: str) -> None:
    answer = peer.get("/pre.js", f"Accept-Encoding: {accept}")
    assert (answer.status, answer.get("content-encoding"), answer.body) == (200, None, FILES["pre.js"])


def test_a_compressed_file_itself_is_an_ordinary_file(peer: Peer) -> None:
    answer = peer.get("/pre.js.gz", "Accept-Encoding: gzip")
    assert (answer.get("content-type"), answer.get("content-encoding")) == ("application/gzip", None)
    assert answer.body == FILES["pre.js.gz"]


def test_conditions_are_about_the_coded_file(peer: Peer) -> None:
    etag = peer.get("/pre.js", "Accept-Encoding: gzip").get("etag")
    answer = peer.get("/pre.js", "Accept-Encoding: gzip", f"If-None-Match: {etag}")
    assert (answer.status, answer.get("etag"), answer.get("vary")) == (304, etag, "Accept-Encoding")
    assert answer.get("content-encoding") is None
    assert peer.get("/pre.js", f"If-None-Match: {etag}").status == 200


def test_ranges_are_of_the_coded_file(peer: Peer) -> None:
    gz = FILES["pre.js.gz"]
    answer = peer.get("/pre.js", "Accept-Encoding: gzip", "Range: bytes=1-3")
    assert (answer.status, answer.body, answer.get("content-range")) == (206, gz[1:4], f"bytes 1-3/{len(gz)}")
    # Several ranges could not say what is coded: the whole.
    answer = peer.get("/pre.js", "Accept-Encoding: gzip", "Range: bytes=1-3,5-6")
    assert (answer.status, answer.body) == (200, gz)
    assert peer.get("/pre.js", "Range: bytes=1-3,5-6").get("vary") == "Accept-Encoding"


def test_a_sibling_older_than_its_file_is_not_sent(peer: Peer, docroot: Path) -> None:
    os.utime(docroot / "pre.js", (MTIME, MTIME + 10))
    answer = peer.get("/pre.js", "Accept-Encoding: gzip, br")
    assert (answer.get("content-encoding"), answer.body) == (None, FILES["pre.js"])


def test_a_big_sibling(peer: Peer) -> None:
    answer = peer.get("/big.css", "Accept-Encoding: gzip")
    assert (answer.get("content-encoding"), answer.body) == ("gzip", FILES["big.css.gz"])
    head = peer.ask("HEAD /big.css HTTP/1.1\nHost: localhost\nAccept-Encoding: gzip", "HEAD")
    assert head.get("content-length") == str(len(FILES["big.css.gz"]))
