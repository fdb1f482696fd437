"""Seeded random documents against the link rewriter: cuts do not matter, and nothing but links changes."""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser
from typing import List, Optional, Tuple

import pytest

from lwsws.wire.html_links import LINKS, LinkRewriter
from tests.support.fuzzing import BATCHES, CASES, told
from tests.support.wire_cases import byte_by_byte

# What becomes of a link, so that it can be undone: it is in no other place.
MARK = b"\x01"

PARTS = (
    *(b"<a ", b"<A", b"<img", b"<script>", b"<script ", b"</script>", b"</SCRIPT ", b"<title>", b"</title>",
      b"<!--"),
    *(b"-->", b"--!>", b"<!", b"<!->", b"<?", b"</", b"<", b">", b"/>", b"/", b"=", b" = ", b"'", b'"', b" ",
      b"\n\t"),
    *(b" href=", b' href="', b" href='", b" src=/x", b" action", b"href", b" HREF = ", b' x="', b" y='", b"z",
      b"<p>"),
    *(b"<![CDATA[", b"]]>", b"text", b"\xe9", b"<textarea>", b"</textarea>", b"<style", b"<plaintexts>",
      b"</>", b"<1"),
)
WELL_FORMED = (
    b'<a href="/x">', b"<img src='/y' alt=\"<\">", b"<p>text & more</p>", b"<!-- <a href='/no'> -->",
    b"<br/>", b"</a>",
    b"<script>if (a < b) '<a href=/no>'</script>", b'<form ACTION = "/z" data-x="href=/no">', b"<hr class=x>",
    b"\n",
)


def rewritten(pieces: List[bytes]) -> bytes:
    rewriter = LinkRewriter(lambda value: MARK + value)
    return b"".join(list(map(rewriter.feed, pieces))) + rewriter.finish()


def cut(rand: random.Random, data: bytes) -> List[bytes]:
    places = sorted(rand.randrange(len(data) + 1) for _ in range(rand.randrange(1, 6)))
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)])]


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_documents(batch: int) -> None:
    changed = 0
    for number in range(CASES // BATCHES):
        seed = f"{batch}.{number}"
        rand = random.Random(seed)
        data = b"".join(rand.choices(PARTS + WELL_FORMED[:3], k=rand.randrange(1, 25)))
        with told(f"seed {seed}: {data!r}"):
            whole = rewritten([data])
            assert rewritten(cut(rand, data)) == whole
            assert rewritten(byte_by_byte(data)) == whole
            assert whole.replace(MARK, b"") == data
            for before in re.findall(rb"([A-Za-z]+)[\t\n\f\r ]*=[\t\n\f\r ]*[\"']?" + MARK, whole):
                assert before.lower() in LINKS
            changed += whole != data
    assert changed > CASES // BATCHES // 20


class Links(HTMLParser):
    """What the parser of the standard library takes for links."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: List[Optional[str]] = []

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        self.found += [value for name, value in attrs if name.encode() in LINKS]


@pytest.mark.parametrize("batch", range(BATCHES))
def test_well_formed_documents_as_another_parser_sees_them(batch: int) -> None:
    for number in range(CASES // BATCHES // 10):
        seed = f"{batch}.{number}"
        rand = random.Random(seed)
        data = b"".join(rand.choices(WELL_FORMED, k=rand.randrange(1, 12)))
        with told(f"seed {seed}: {data!r}"):
            before, after = Links(), Links()
            before.feed(data.decode())
            after.feed(rewritten(cut(rand, data)).decode())
            assert after.found == [f"{MARK.decode()}{value}" for value in before.found]
