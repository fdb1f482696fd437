"""Drives a headless Chromium over its DevTools protocol, by our own WebSocket client.

    with Browser(tmp_path) as browser:
        page = browser.open("http://localhost:7681/")
        page.wait_for("document.querySelector('#number').textContent !== ''")
        assert page.complaints == []

One WebSocket carries everything: commands go out with a number, answers come back with it, and what comes in
between are events of a page, which land in its `complaints` and `console`.  The protocol is described at
chromedevtools.github.io/devtools-protocol.
"""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Optional, Sequence, Tuple, Type

from tests.support.programs import find, give_up
from tests.support.waiting import wait_until
from tests.support.ws_client import open_websocket

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# No sandbox, as it may run as root; nothing that would speak to any other host; a page that is not in front
# does not sleep.
OPTIONS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars
--disable-background-networking --disable-component-update --disable-sync
--disable-background-timer-throttling --disable-renderer-backgrounding
--disable-backgrounding-occluded-windows --remote-debugging-port=0""".split()

START_SECONDS = 30.0
ANSWER_SECONDS = 20.0  # that one command may take

Point = Tuple[float, float]
Message = Dict[str, Any]


class BrowserFault(AssertionError):
    """The browser refused a command, or a script in a page threw."""


class Browser:
    """One browser with a new profile in `folder`, ended at the end of `with`."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        found = [name for name in BROWSERS if find(name)]
        if not found:
            give_up(f"needs one of the browsers {', '.join(BROWSERS)}")
        profile = folder / "profile"
        self.process = subprocess.Popen(
            [find(found[0]), *OPTIONS, *options, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._last = 0
        self._pages: Dict[str, Page] = {}
        self._answers: Dict[int, Message] = {}
        is_ready = False
        try:
            port, path = self._address(profile / "DevToolsActivePort")
            self._ws = open_websocket("127.0.0.1", port, path, timeout=ANSWER_SECONDS)
            is_ready = True
        finally:
            if not is_ready:
                self._end()

    def _address(self, file: Path) -> Tuple[int, str]:
        """Where the browser listens: it writes the port and the path into its profile."""
        wait_until(lambda: file.exists() and file.read_text().count("\n") == 1, "DevTools", START_SECONDS)
        port, path = file.read_text().split("\n")
        return int(port), path

    def open(self, url: str = "about:blank") -> Page:
        """A new page (a tab) that has loaded `url`."""
        target = self.command("Target.createTarget", url="about:blank", newWindow=True)["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "DOM"):
            page.command(f"{domain}.enable")
        page.command("Emulation.setFocusEmulationEnabled", enabled=True)
        page.go(url)
        return page

    def command(self, method: str, session: str = "", **params: Any) -> Message:
        """The result of one command to the browser, or to the page of a session."""
        self._last = number = self._last + 1
        message: Message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self._ws.send_text(json.dumps(message))
        while number not in self._answers:
            self._receive()
        answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserFault(f"{method}: {answer['error']['message']}")
        result: Message = answer["result"]
        return result

    def _receive(self) -> None:
        """Take one message: an answer, or an event of a page."""
        message = json.loads(self._ws.receive_text())
        if "id" in message:
            self._answers[message["id"]] = message
        elif message.get("sessionId") in self._pages:
            self._pages[message["sessionId"]].event(message["method"], message["params"])

    def _end(self) -> None:
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        fault: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        try:
            self.command("Browser.close")
        except (OSError, AssertionError):
            self.process.kill()  # it is gone, or hangs
        self._ws.sock.close()
        self._end()


class Page:
    """One page of a browser."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self.browser = browser
        self.complaints: List[str] = []  # errors and warnings, of scripts, the network and the CSP
        self.console: List[str] = []  # what scripts wrote there besides
        self._session = session
        self._target = target

    def command(self, method: str, **params: Any) -> Message:
        """The result of one command to this page."""
        return self.browser.command(method, self._session, **params)

    def event(self, method: str, params: Message) -> None:
        """Something happened in the page."""
        if method == "Runtime.exceptionThrown":
            self.complaints.append(_exception(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            text = " ".join(str(arg.get("value", arg.get("description"))) for arg in params["args"])
            is_bad = params["type"] in ("error", "warning", "assert")
            (self.complaints if is_bad else self.console).append(text)
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            entry = params["entry"]
            self.complaints.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}".rstrip())

    def go(self, url: str) -> None:
        """Load `url`, with all that belongs to it."""
        done = self.command("Page.navigate", url=url)
        if done.get("errorText"):
            raise BrowserFault(f"{url}: {done['errorText']}")
        self.wait_for("document.readyState === 'complete'")

    def close(self) -> None:
        """Close the page."""
        self.browser.command("Target.closeTarget", targetId=self._target)

    # Looking.

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; that of a promise is waited for."""
        done = self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in done:
            raise BrowserFault(f"{expression}: {_exception(done['exceptionDetails'])}")
        return done["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 10.0) -> None:
        """Return as soon as the JavaScript `expression` is true, or something that counts as true there."""
        wait_until(lambda: self.evaluate(f"Boolean({expression})"), expression, seconds)

    def text(self, selector: str) -> str:
        """The text of an element, as the user sees it."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def screenshot(self, file: Path, whole: bool = True) -> None:
        """A picture (PNG) of the page, or of what of it is in the window."""
        done = self.command("Page.captureScreenshot", captureBeyondViewport=whole, format="png")
        file.write_bytes(base64.b64decode(done["data"]))

    # Acting.

    def set_files(self, selector: str, *files: Path) -> None:
        """Choose these files in an <input type=file>."""
        root = self.command("DOM.getDocument")["root"]["nodeId"]
        node = self.command("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.command("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def place(self, selector: str, x: float = 0.5, y: float = 0.5) -> Point:
        """A point of an element in the window, scrolled to: its centre, or another part of its size."""
        left, top, width, height = self.evaluate(f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{ block: "center", behavior: "instant" }});
            const box = element.getBoundingClientRect();
            return [box.left, box.top, box.width, box.height];
        }})()""")
        return left + x * width, top + y * height

    def click(self, selector: str) -> None:
        """Click on an element."""
        self.drag([self.place(selector)])

    def drag(self, points: Sequence[Point]) -> None:
        """Press the left button of the mouse at the first point, move on to the others, and let go."""
        self._mouse("mouseMoved", points[0], 0)
        self._mouse("mousePressed", points[0], 1)
        for point in points[1:]:
            self._mouse("mouseMoved", point, 1)
        self._mouse("mouseReleased", points[-1], 0)

    def _mouse(self, kind: str, point: Point, buttons: int) -> None:
        self.command("Input.dispatchMouseEvent", type=kind, x=point[0], y=point[1], button="left",
                     buttons=buttons, clickCount=int(kind != "mouseMoved"))

    def swipe(self, points: Sequence[Point]) -> None:
        """The same with a finger."""
        touches = [[{"x": x, "y": y}] for x, y in points]
        self.command("Input.dispatchTouchEvent", type="touchStart", touchPoints=touches[0])
        for touch in touches[1:]:
            self.command("Input.dispatchTouchEvent", type="touchMove", touchPoints=touch)
        self.command("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def type(self, text: str) -> None:
        """Type into what has the focus; a newline is the Enter key."""
        for piece in text.splitlines(keepends=True):
            self.command("Input.insertText", text=piece.rstrip("\n"))
            if piece.endswith("\n"):
                self.press("Enter", "\r")

    def press(self, key: str, text: str = "") -> None:
        """Press a key, named as in KeyboardEvent.key; `text` is what it types."""
        codes = {"Enter": 13, "Tab": 9, " ": 32}
        for kind in ("keyDown", "keyUp"):
            self.command("Input.dispatchKeyEvent", type=kind, key=key, text=text if kind == "keyDown" else "",
                         windowsVirtualKeyCode=codes.get(key, 0))

    # What the page thinks it is shown on.

    def device(self, width: int, height: int, is_phone: bool = False, scale: float = 1.0) -> None:
        """A window of this size in CSS pixels; a phone has a touch screen and its own viewport."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height,
                     deviceScaleFactor=scale, mobile=is_phone)
        self.command("Emulation.setTouchEmulationEnabled", enabled=is_phone)

    def colours(self, scheme: str) -> None:
        """prefers-color-scheme: "light" or "dark"."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.command("Emulation.setEmulatedMedia", features=[feature])


def _exception(details: Message) -> str:
    thrown = details.get("exception", {})
    return str(thrown.get("description") or thrown.get("value") or details["text"])
