"""The error page: small, complete in itself, and safe whatever its sentence holds."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import List, Optional, Tuple

import pytest

from lwsws.core.errorpage import CACHED_PAGES, MAX_WHY, error_page
from lwsws.wire.http1_write import REASONS


class Reader(HTMLParser):
    """Collects the text of a page and what it would load."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: List[str] = []
        self.text = ""
        self.loads: List[str] = []
        self.feed(page.decode("ascii"))
        self.close()

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        self.tags.append(tag)
        self.loads.extend(str(value) for name, value in attrs if name in ("src", "href"))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] != "style":
            self.text += data


@pytest.mark.parametrize("status", sorted(code for code in REASONS if code >= 400))
def test_every_page_shows_number_and_phrase_and_loads_nothing(status: int) -> None:
    page = error_page(status)
    assert len(page) < 1024
    read = Reader(page)
    assert read.text.count(str(status)) == 2     # in the title and in the heading
    assert read.text.count(REASONS[status]) == 2
    assert read.loads == []
    assert "p" not in read.tags


def test_light_and_dark() -> None:
    assert b"color-scheme: light dark" in error_page(404)


def test_the_sentence_is_shown() -> None:
    read = Reader(error_page(415, "Files of this kind are not served here."))
    assert read.tags[-1] == "p"
    assert "Files of this kind are not served here." in read.text


@pytest.mark.parametrize(
    "why", ["<script>alert(1)</script>", "a & b < c > \"d\" 'e'", "&lt;", "<!--", "</p></body>"]
)
def test_the_sentence_is_escaped(why: str) -> None:
    page = error_page(404, why)
    assert why.encode() not in page
    read = Reader(page)
    assert why in read.text
    assert read.tags == Reader(error_page(404, "x")).tags


def test_the_page_is_ascii_and_holds_no_control_characters() -> None:
    page = error_page(404, "caf\u00e9 \U0001f600 \0 \x1b[31m \x7f \x85 \udce9 \r\n")
    read = Reader(page)
    assert "caf\u00e9 \U0001f600 \ufffd \ufffd[31m \ufffd \ufffd \ufffd \ufffd\ufffd" in read.text


def test_a_status_without_a_phrase() -> None:
    assert "499 Error" in Reader(error_page(499)).text


def test_a_long_sentence_is_cut() -> None:
    assert Reader(error_page(404, "\u4e00" * 8000)).text.count("\u4e00") == MAX_WHY


def test_pages_are_kept_but_not_for_ever() -> None:
    assert error_page(404) is error_page(404)
    for number in range(CACHED_PAGES * 3):
        error_page(404, str(number))
    assert error_page.cache_info().currsize <= CACHED_PAGES
