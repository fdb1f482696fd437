"""Links in HTML: which values are rewritten, what is left alone, and that the cuts do not matter."""

from __future__ import annotations

from typing import Iterable

import pytest

from lwsws.wire.html_links import MAX_TAG, LinkRewriter
from lwsws.wire.origin_paths import OriginPaths
from tests.support.effort import LINEAR, growth
from tests.support.wire_cases import byte_by_byte


def marked(value: bytes) -> bytes:
    """Shows which values were taken for links."""
    return b"[" + value + b"]"


def rewritten(pieces: Iterable[bytes], *, xml: bool = False) -> bytes:
    rewriter = LinkRewriter(marked, xml=xml)
    return b"".join([rewriter.feed(piece) for piece in pieces]) + rewriter.finish()


def in_all_ways(document: bytes, *, xml: bool = False) -> bytes:
    """`document` rewritten: the same whole, byte by byte, and cut in two at each place."""
    whole = rewritten([document], xml=xml)
    assert rewritten(byte_by_byte(document), xml=xml) == whole
    for at in range(len(document)):
        assert rewritten([document[:at], document[at:]], xml=xml) == whole
    return whole


@pytest.mark.parametrize(
    "document",
    [
        b'<a href="[/x]">y</a>', b"<a href='[/x]'>", b"<a href=[/x]>", b"<img src=[x] >",
        b"<form action='[/x]'>",
        b'<button formaction="[/x]">', b'<video poster="[/x]" src="[/y]">', b'<A HREF="[/x]">',
        b"<a hReF\n=\t'[/x]'>",
        b'<a class=c href="[/x]" id="i">', b"<a href=[/x/]>", b'<a href="[/x]"/>', b'<a/href="[/x]">',
        b'<a x="1"href="[/x]">', b'<a href="[]">', b"<a x='<' href=[1]>", b'<a x=">" href=[1]>',
        b"<a x=y'z href=[1]>",
        b'<a x="\'" href="[1]" y=\'"\'>', b"<a href=[a'b\"c]>", b"<a = href=[1]>", b"<a =href =b src=[1]>",
        b'<a href="[1]" href="[2]">', b"<a\x0chref=[1]>", b"<a-b:c href=[1]>", b"<br / src=[1]>",
        b"<a x= href=[1]>"[:8],
        b'<base href="[/]"><link href="[/s.css]" rel=x>', b"a < b <a href=[1]> c > d", b"<<a href=[1]>",
        b'<a "href=[1]>'[:4], b"<a href='[a\nb]'>", b'<script src="[/x]">', b"<a x href=[1]>",
        b"<a x\n href=[1]>",
    ],
)
def test_links_are_rewritten(document: bytes) -> None:
    """Each document stands here as it is to become; without the brackets it is what came."""
    assert in_all_ways(document.replace(b"[", b"").replace(b"]", b"")) == document


@pytest.mark.parametrize(
    "document",
    [
        b"", b"plain href=/x text", b"<p>href=/x</p>", b"<a data-href=/x>", b"<a hrefs=/x>",
        b'<a title="href=/x">',
        b"<a title='<a href=/x>'>", b"<a x=href=/x>", b"<a href>", b"<a href=>", b"<a href >", b"<a href= >",
        b"<a =href=1>",
        b"< a href=/x>", b"<1 href=/x>", b"</ href=/x>", b"</1 href=/x>", b"<? href=/x>", b"<!x href=/x>",
        b'<!DOCTYPE html "href=/x">', b"<!-- <a href=/x> -->", b"<!-- -> <a href=/x>",
        b"<!--><!--- <a href=/x>"[5:],
        b"<!--!><a href=/x>", b"<![CDATA[ <a href=/x> > ]] ]]>", b"<a href=/x", b'<a href="/x',
        b"<a href='/x'", b"<a",
        b"<script>'<a href=/x>'</script>", b"<STYLE x=y><a href=/x></style>",
        b"<textarea><a href=/x></textarea>",
        b"<title><a href=/x></title>", b"<iframe><a href=/x></iframe>", b"<plaintext></plaintext><a href=/x>",
        b"<script></scripts><a href=/x>", b"<script></script", b"<script><a href=/x></ script><a href=/x>",
        b"<xmp><a href=/x></xmp>", b"<noembed><a href=/x></noembed>", b"<noframes><a href=/x></noframes>",
    ],
)
def test_all_else_stays(document: bytes) -> None:
    assert in_all_ways(document) == document


@pytest.mark.parametrize(
    "before",
    [
        b"<!-- x -->", b"<!-->", b"<!--->", b"<!-- --!>", b"<!---->", b"<!doctype html>", b"<?x y?>", b"</>",
        b"</1>",
        b"<![CDATA[ x ]]>", b"<script>x</script>", b"<script>x</SCRIPT\n>", b"<script>x</script/>",
        b"<title>a<b</title>",
        b"<style></style>", b"<script>a</scrip></script>", b"<scripts>", b"<a b='", b"<noscript>",
        b"<titles>", b"<a b=c",
        b'<a =">', b"<a b='>' ='>", b"<a b=c' d='>'>",
    ],
)
def test_what_is_behind_is_rewritten_again(before: bytes) -> None:
    link = b"'><a href=%s>" if before.endswith(b"'") else b"><a href=%s>"
    assert in_all_ways(before + link % b"1") == before + link % b"[1]"


def test_elements_without_content_in_xhtml() -> None:
    document = b"<script src='1'/><title/><a href='2'/><title>href='3'</title>"
    assert in_all_ways(document) == document.replace(b"'1'", b"'[1]'")
    assert in_all_ways(document, xml=True) == document.replace(b"'1'", b"'[1]'").replace(b"'2'", b"'[2]'")


def test_only_what_is_incomplete_is_held_back() -> None:
    rewriter = LinkRewriter(marked)
    assert rewriter.feed(b"text <b>bold</b> <a hr") == b"text <b>bold</b> "
    assert rewriter.feed(b"ef=1> more <!-- com") == b"<a href=[1]> more <!-- "
    assert rewriter.feed(b"ment") == b"comm"
    assert rewriter.feed(b"--") == b"en"
    assert rewriter.finish() == b"t--"


@pytest.mark.parametrize("more", [-1, 0, 1, 100, 2 * MAX_TAG])
@pytest.mark.parametrize("piece", [999, 1000, 65536, 1 << 20])
def test_long_tags_pass_as_they_are(more: int, piece: int) -> None:
    begin, end = b"<a href=1 x='>", b"'>"
    long = begin + b">" * (MAX_TAG + more - len(begin) - len(end)) + end
    assert len(long) == MAX_TAG + more
    document = b"<a href=0>" + long + b"<a href=2>"
    became = rewritten([document[at : at + piece] for at in range(0, len(document), piece)])
    changed = long if more > 0 else long.replace(b"1", b"[1]", 1)
    assert became == b"<a href=[0]>" + changed + b"<a href=[2]>"


def test_a_long_tag_is_not_held_back() -> None:
    rewriter = LinkRewriter(marked)
    begin = b"<a href=1 x='"
    assert rewriter.feed(begin + b">" * (MAX_TAG - len(begin))) == b""
    assert len(rewriter.feed(b">")) == MAX_TAG + 1
    assert rewriter.feed(b"<a href=2>") == b"<a href=2>"
    assert rewriter.feed(b"'><a href=3>") == b"'><a href=[3]>"


def test_the_content_of_a_script_with_a_long_tag() -> None:
    tag = b"<script src='data:" + b"x" * (3 * MAX_TAG) + b"'>"
    document = tag + b"<a href=1></script><a href=2>"
    for piece in (len(document), 5000):
        pieces = [document[at : at + piece] for at in range(0, len(document), piece)]
        assert rewritten(pieces) == tag + b"<a href=1></script><a href=[2]>"


def test_with_the_paths_of_a_mount() -> None:
    """As README.lwsws.md has it: "/" or the origin's URL becomes the mountpoint."""
    rewriter = LinkRewriter(OriginPaths("/proxytest", "/", [("https", "libwebsockets.org", 443)]).link)
    page = b'<a href="/git">x</a><img src=https://libwebsockets.org/a.png><a href="b.html"><a href="https://x.example/">'
    assert rewriter.feed(page) == (b'<a href="/proxytest/git">x</a><img src=/proxytest/a.png>'
                                   b'<a href="b.html"><a href="https://x.example/">')


HOSTILE = [b"<", b"<a ", b"<a", b"<!-", b"<!--", b"<!---", b"<a b='", b"<a =", b"<a b= ", b"</script",
           b"<a b='>'", b"&",
           b"<a href=x>", b"<a b", b" ", b"</", b"<a/", b"<a b=c"]


@pytest.mark.parametrize("begin", [b"", b"<a ", b"<script>", b"<!--", b"<a b='"])
@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_hostile_documents_take_linear_time(begin: bytes, piece: int) -> None:
    """LESSONS 3.10."""

    def work(size: int) -> None:
        for part in HOSTILE:
            document = begin + part * (size // len(part))
            rewritten([document[at : at + piece] for at in range(0, len(document), piece)])

    assert growth(work, 250 if piece == 1 else 4000) < LINEAR
