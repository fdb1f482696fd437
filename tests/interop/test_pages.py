"""The pages of the bundled example in a real browser: each part of them, live, from a real server.

One browser and one server serve the whole file; where the server has to go away, the test has its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from tests.support.cdp import Browser, Message, Page
from tests.support.server import Server, free_ports
from tests.support.source import ROOT
from tests.support.waiting import wait_until

# A tile of the page asks for this on purpose; browsers log every 404.
ASKED_FOR = "/no-such-file.txt"
STATUS = "server-status/"
PARTS = ["#counter", "#echo", "#board", "#visitors"]
PIXELS = "document.querySelector('#board canvas').toDataURL()"

# Elements whose own text has too little contrast against what is behind it, as far as these are plain
# colours (WCAG 2.2, 1.4.3: 4.5 to 1, or 3 to 1 if the text is large).
FAINT = """(() => {
  const light = (rgb) => rgb.slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  const rgba = (text) => [...text.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
  const behind = (element) => {
    const colour = rgba(getComputedStyle(element).backgroundColor);
    return colour[3] > 0 || !element.parentElement ? colour : behind(element.parentElement);
  };
  return [...document.querySelectorAll("body *:not(:disabled)")]
    .filter((element) => element.checkVisibility() && !element.closest("svg"))
    .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .filter((element) => {
      const style = getComputedStyle(element);
      const [one, other] = [light(rgba(style.color)), light(behind(element))].sort((a, b) => b - a);
      return (one + 0.05) / (other + 0.05) < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5);
    })
    .map((element) => `${element.className} ${element.textContent}`);
})()"""

# How many elements can be used by keyboard.
USABLE = """[...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
  .filter((element) => element.checkVisibility() && !element.disabled && element.tabIndex >= 0).length"""


def copy_example(folder: Path) -> Path:
    """The bundled configuration, on a free port, with reports of the status that come quickly."""
    confdir = folder / "etc"
    shutil.copytree(str(ROOT / "etc"), str(confdir))
    site = confdir / "conf.d" / "test-server"
    text = site.read_text("utf-8").replace('"port": "7681"', f'"port": "{free_ports(1)[0]}"')
    site.write_text(text.replace('"update-ms": "5000"', '"update-ms": "250"'), "utf-8")
    return confdir


def serve(confdir: Path) -> Server:
    """A server for that configuration."""
    port = (confdir / "conf.d" / "test-server").read_text("utf-8").split('"port": "')[1].split('"')[0]
    return Server(confdir, [("127.0.0.1", int(port))])


def url(server: Server) -> str:
    """Where its pages are; by this name they come by what browsers call a safe way."""
    return f"http://localhost:{server.port}/"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that runs all the time."""
    with serve(copy_example(tmp_path_factory.mktemp("site"))) as server:
        yield url(server)


@pytest.fixture(scope="module")
def browser(site: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """It ends before the site, which would wait for its idle connections."""
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


# Opens a page below the site; all of them must be without complaints at the end.
Open = Callable[[str], Page]


@pytest.fixture
def visit(browser: Browser, site: str) -> Iterator[Open]:
    with ExitStack() as stack:
        pages: List[Page] = []

        def visit(path: str = "") -> Page:
            page = browser.open(site + path)
            stack.callback(page.close)
            pages.append(page)
            for place in [""] if path == STATUS else PARTS:
                wait_for_state(page, place, "open")
            return page

        yield visit
        for page in pages:
            page.evaluate("1")  # what has happened up to now has been told then
            assert [text for text in page.complaints if ASKED_FOR not in text] == []
            assert page.console == []


def wait_for_state(page: Page, place: str, state: str) -> str:
    """The text that shows the state of a part's connection, once it has this `state`."""
    element = f"document.querySelector('{place} .state')"
    page.wait_for(f"{element}.dataset.state === '{state}'")
    return page.text(f"{place} .state")


def number(page: Page) -> int:
    """What the counter shows; -1 before the first number."""
    text = page.text("#counter .number")
    return int(text) if text.isdigit() else -1


def test_the_counter_counts_begins_again_and_is_closed(visit: Open) -> None:
    page = visit("")
    wait_until(lambda: number(page) > 12, "counting")
    page.click("#counter .reset")
    wait_until(lambda: 0 <= number(page) < 8, "beginning again")
    page.click("#counter .hangup")
    assert wait_for_state(page, "#counter", "closed") == "closed: 1001 “seeya”"
    page.click("#counter .toggle")
    wait_for_state(page, "#counter", "open")
    page.click("#counter .toggle")
    assert wait_for_state(page, "#counter", "closed") == "closed: 1000"


def colour(x: float, y: float) -> str:
    """JavaScript for the colour of a place on the board: red, green, blue, alpha; x and y are from 0 to 1."""
    return f"""(() => {{
        const pixel = new OffscreenCanvas(1, 1).getContext("2d", {{ willReadFrequently: true }});
        const board = document.querySelector("#board canvas");
        pixel.drawImage(board, {x} * board.width, {y} * board.height, 1, 1, 0, 0, 1, 1);
        return pixel.getImageData(0, 0, 1, 1).data.join();
    }})()"""


def test_what_one_draws_all_see_who_look_at_the_same_board(visit: Open) -> None:
    one, other, elsewhere = visit("?mirror=a"), visit("?mirror=a"), visit("?mirror=b")
    empty = one.evaluate(PIXELS)
    one.drag([one.place("#board canvas", x, 0.2 + x / 2) for x in (0.2, 0.5, 0.9)])
    other.wait_for(f"{colour(0.8, 0.6)} === '28,126,214,255'")
    other.click("#board input[aria-label=red]")
    other.drag([other.place("#board canvas", 0.8, 0.1), other.place("#board canvas", 0.1, 0.8)])
    for page in (one, other):
        page.wait_for(f"{colour(0.2, 0.7)} === '224,49,49,255'")
    assert one.evaluate(PIXELS) == other.evaluate(PIXELS) != empty
    assert elsewhere.evaluate(PIXELS) == empty


def test_drawing_with_a_finger_and_with_keys(visit: Open) -> None:
    page = visit("?mirror=keys")
    page.device(400, 800, is_phone=True)
    page.swipe([page.place("#board canvas", 0.2, 0.2), page.place("#board canvas", 0.6, 0.3)])
    page.wait_for(f"{colour(0.4, 0.25)} !== '0,0,0,0'")
    page.evaluate("document.querySelector('#board canvas').focus()")
    page.press("ArrowLeft")
    page.wait_for(f"{colour(0.49, 0.5)} !== '0,0,0,0'")
    page.click("#board .wipe")
    page.wait_for(f"{colour(0.4, 0.25)} === '0,0,0,0'")


def test_an_upload_arrives_as_it_is(visit: Open, tmp_path: Path) -> None:
    file = tmp_path / 'a "name" & more.bin'
    file.write_bytes(os.urandom(3_000_001))
    page = visit("")
    page.set_files("#upload input[type=file]", file)
    page.click("#upload form button")
    page.wait_for("document.querySelector('#upload .verdict').textContent")
    assert page.text("#upload .hash code") == hashlib.sha256(file.read_bytes()).hexdigest()
    assert page.text("#upload .verdict") == "the same as of your file"
    answer = page.text("#upload .answer")
    assert "Grüße & <tags>" in answer
    assert "SEND" in answer  # the button is part of the form


def test_the_form_needs_no_script(visit: Open, tmp_path: Path) -> None:
    file = tmp_path / "small.txt"
    file.write_bytes(b"some text\n")
    page = visit("")
    page.set_files("#upload input[type=file]", file)
    page.evaluate("document.querySelector('#upload form').submit()")  # goes past our script
    page.wait_for("location.pathname === '/formtest' && document.readyState === 'complete'")
    text = page.text("body")
    assert "Grüße & <tags>" in text
    assert "small.txt" in text
    assert hashlib.sha256(file.read_bytes()).hexdigest() in text


def test_who_is_here_changes_as_others_come_and_go(visit: Open, browser: Browser, site: str) -> None:
    page = visit("")
    count = "document.querySelectorAll('#visitors li').length"
    page.wait_for(f"{count} === 1")
    other = browser.open(site)
    page.wait_for(f"{count} === 2")
    assert "HeadlessChrome" in page.text("#visitors ol")
    other.close()
    page.wait_for(f"{count} === 1")
    assert page.text("#visitors .count").startswith("One connection to ")


def test_the_echo_comes_back_and_closes_as_asked(visit: Open) -> None:
    page = visit("")
    page.evaluate("document.querySelector('#echo input[name=text]').select()")
    page.type("Grüße, 你好 & <b>\n")
    page.wait_for("document.querySelector('#echo li')")
    assert page.text("#echo li").startswith("Grüße, 你好 & <b>")
    assert page.text("#echo li span").endswith(" ms")
    page.click("#echo .many")
    page.wait_for("document.querySelector('#echo .figures').textContent.startsWith('100 round trips: ')")
    page.click("#echo form:last-of-type button")
    assert wait_for_state(page, "#echo", "closed") == "closed: 4000"


def test_the_status_page_shows_numbers_and_survives_a_restart(browser: Browser, tmp_path: Path) -> None:
    confdir = copy_example(tmp_path)
    with serve(confdir) as server:
        server.reload()
        wait_until(lambda: len(server.children()) == 1, "the end of the first process, and of its row")
        page = browser.open(url(server) + STATUS)
        page.wait_for(f"document.querySelector('#summary').textContent.includes('process {server.pid},')")
        page.wait_for("[...document.querySelectorAll('.curve')].every((curve) => curve.getAttribute('d'))")
        assert int(page.text("#numbers div dd")) >= 1
        assert page.text("#vhosts tbody th") == "localhost"
        assert "callback://protocol-post-demo" in str(page.evaluate("document.body.textContent"))
        own = server.pid
        (row,) = page.text("#processes tbody").split("\n")
        assert row.startswith(f"{own}this one\t2\tserving\t")
        server.reload()
        page.wait_for("document.querySelectorAll('#processes tbody tr').length === 2")
        page.wait_for("document.querySelector('#processes tbody').textContent.includes('deprecated')")
        old, new = page.text("#processes tbody").split("\n")
        assert old.startswith(f"{own}this one\t2\tdeprecated\t")
        assert new.startswith(f"{server.pid}\t3\tserving\t")
        page.evaluate("1")
        assert page.complaints == []
    wait_for_state(page, "", "waiting")
    with serve(confdir) as server:
        wait_for_state(page, "", "open")
        page.wait_for(f"document.querySelector('#summary').textContent.includes('process {server.pid},')")
        page.close()


@pytest.mark.parametrize("path", ["", STATUS])
def test_both_themes_can_be_read_and_no_width_scrolls_sideways(visit: Open, path: str) -> None:
    page = visit(path)
    late = "#vhosts tbody th" if path == STATUS else "#counter .rate:not(:empty)"  # comes last
    page.wait_for(f"document.querySelector('{late}')")
    papers = set()
    for scheme in ("light", "dark"):
        page.colours(scheme)
        papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        # At the end of what changes gradually.
        page.wait_for("document.getAnimations().every(({ playState }) => playState !== 'running')")
        assert page.evaluate(FAINT) == []
    assert len(papers) == 2
    for width in (320, 360, 768, 1280):
        page.device(width, 800, is_phone=width < 768)
        assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("path", ["", STATUS])
def test_all_that_can_be_used_has_a_name(visit: Open, path: str) -> None:
    """What a screen reader says."""
    page = visit(path)

    def usable() -> List[Message]:
        return [
            node for node in page.command("Accessibility.getFullAXTree")["nodes"]
            if any(each["name"] == "focusable" and each["value"]["value"]
                   for each in node.get("properties", []))
            and node["role"]["value"] not in ("RootWebArea", "generic")
        ]

    # The browser makes this tree some time after the page.
    wait_until(lambda: len(usable()) >= max(1, page.evaluate(USABLE)), "a node for each element")
    assert [node["role"]["value"] for node in usable() if not node.get("name", {}).get("value")] == []
