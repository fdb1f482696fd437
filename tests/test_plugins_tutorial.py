"""docs/plugins.md: its code runs as printed, and its reference leaves nothing out."""

from __future__ import annotations

import doctest
import http.client
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

import pytest

from lwsws import plugin
from lwsws.server.plugins import BUNDLED
from tests.support.server import Server, free_ports
from tests.support.source import ROOT
from tests.support.ws_client import WebSocket, open_websocket

TEXT = (ROOT / "docs" / "plugins.md").read_text()
PORT = "7681"

# Around those of its examples that show only methods.
FRAMES = '''
import json
from lwsws.plugin import Protocol

def look_up(message):
    return {"apple": "fruit"}[message]

class LookUp(Protocol):
    name = "look-up"

%s

class Numbers(Protocol):
    name = "numbers"

%s

class Tell(Protocol):
    name = "tell"

    def http_request(self, s, request):
        s.respond(200, body=json.dumps(self.server.status()).encode())
'''


def block_after(mark: str) -> str:
    """The first block of code behind `mark`."""
    found = re.search(r"^```\w*\n(.*?)^```$", TEXT[TEXT.index(mark):], re.DOTALL | re.MULTILINE)
    assert found, mark
    return found.group(1)


def write_site(folder: Path, port: int) -> None:
    """What the tutorial says, its second part included, and the other examples as plugins of their own."""
    plugins = folder / "chat-site" / "plugins"
    plugins.mkdir(parents=True)
    chat = block_after("`chat-site/plugins/chat.py`") + "\n" + block_after("Add these methods to the\nclass")
    (plugins / "chat.py").write_text(chat)
    examples = FRAMES % (block_after("goes to a worker thread"), block_after("`s.start`, `s.write` and"))
    (plugins / "examples.py").write_text(examples)
    (plugins / "forms.py").write_text(block_after("Submitted forms"))
    config = block_after("`chat-site/conf`").replace(PORT, str(port))
    for old, new in [
        ('"50" } }', '"50" } }, { "look-up": {} }, { "numbers": {} }, { "tell": {} }, { "lengths": {} }'),
        ('"mounts": [', '''"mounts": [
            { "mountpoint": "/numbers", "origin": "callback://numbers" },
            { "mountpoint": "/tell", "origin": "callback://tell" },
            { "mountpoint": "/lengths", "origin": "callback://lengths" },'''),
    ]:
        assert old in config
        config = config.replace(old, new)
    (folder / "chat-site" / "conf").write_text(config)


def command(folder: Path, *arguments: str) -> List[str]:
    """`python3 lwsws.py -c chat-site`, with `folder` as the current one."""
    start = [sys.executable, "-B", str(ROOT / "lwsws.py"), "-c", "chat-site", *arguments]
    return ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(folder), *start]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tutorial was followed."""
    return tmp_path_factory.mktemp("tutorial")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """The tutorial's server."""
    (port,) = free_ports(1)
    write_site(folder, port)
    with Server(folder, [("127.0.0.1", port)], command=command(folder)) as running:
        yield running


def enter(server: Server, nick: str, **keys: Any) -> WebSocket:
    """A WebSocket to the chat."""
    return open_websocket("127.0.0.1", server.port, f"/?nick={nick}", protocol="chat", **keys)


def request(server: Server, method: str, path: str, body: Optional[bytes] = None,
            kind: str = "text/plain") -> Tuple[int, bytes]:
    """Status and body of the answer."""
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    client.request(method, path, body, {"Content-Type": kind})
    answer = client.getresponse()
    found = answer.status, answer.read()
    client.close()
    return found


def test_the_session_in_python_goes_as_printed(server: Server) -> None:
    printed = block_after("Python with the small client of the tests").replace(PORT, str(server.port))
    names: Dict[str, Any] = {}
    example = doctest.DocTestParser().get_doctest(printed, names, "tutorial", None, None)
    assert len(example.examples) == 5
    told: List[str] = []
    outcome = doctest.DocTestRunner().run(example, out=told.append, clear_globs=False)
    example.globs["ws"].close()
    assert outcome.failed == 0, "".join(told)


def test_all_hear_who_comes_speaks_and_goes(server: Server) -> None:
    with enter(server, "Ada") as ada, enter(server, "Bob%20B", deflate=True) as bob:
        assert ada.receive_text() == "Ada has come, 1 are here"
        assert ada.receive_text() == bob.receive_text() == "Bob B has come, 2 are here"
        bob.send_text("hello")
        assert ada.receive_text() == bob.receive_text() == "Bob B: hello"
        assert request(server, "GET", "/chat") == (200, b"Ada\nBob B")
        assert request(server, "HEAD", "/chat") == (200, b"")
        assert request(server, "POST", "/chat", b"lunch is ready") == (204, b"")
        assert ada.receive_text() == bob.receive_text() == "lunch is ready"
        assert request(server, "PUT", "/chat", b"")[0] == 405
        assert request(server, "POST", "/chat", bytes(5000))[0] == 413
        assert request(server, "POST", "/chat", bytes(500000))[0] == 413
        bob.close()
        assert ada.receive_text() == "Bob B has gone"
        ada.close()


def test_the_long_answer_is_complete(server: Server) -> None:
    status, body = request(server, "GET", "/numbers")
    assert status == 200
    assert body == b"".join(b"%d\n" % number * 1000 for number in range(2000))


def test_the_form_is_measured(server: Server) -> None:
    kind = "multipart/form-data; boundary=b"
    form = (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + bytes(300)
            + b'\r\n--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n' + bytes(300000)
            + b"\r\n--b--\r\n")
    assert request(server, "POST", "/lengths", form, kind) == (200, b"[['a', None, 300], ['f', 'x', 300000]]")
    assert request(server, "POST", "/lengths", form[:-20], kind)[0] == 400
    assert request(server, "POST", "/lengths", form)[0] == 415


def test_the_worker_finds_or_fails(server: Server) -> None:
    with open_websocket("127.0.0.1", server.port, protocol="look-up") as ws:
        ws.send_text("apple")
        assert ws.receive_text() == "fruit"
        ws.send_text("stone")
        assert ws.receive_text() == "'stone'"
        ws.close()


def test_the_configuration_is_in_order(server: Server, folder: Path) -> None:
    done = subprocess.run(command(folder, "-t"), capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def keys_of(value: Any) -> Set[str]:
    """All keys in `value`, however deep."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def test_status_has_the_keys_that_are_described(server: Server) -> None:
    status, body = request(server, "GET", "/tell")
    assert status == 200
    described = block_after("`self.server.status(hide_vhosts=False)`")
    assert keys_of(json.loads(body)) == set(re.findall(r'"(\w+)":', described))


def test_plugins_are_listed_as_printed(server: Server, folder: Path) -> None:
    listing = command(folder, "--plugins")
    listed = subprocess.check_output(listing, text=True, timeout=20).splitlines()
    printed = block_after("`lwsws --plugins` lists").splitlines()
    assert listed[0] == printed[0] and printed[1] == "..." and len(printed) == 4
    assert set(printed[2:]) <= set(listed)


def test_everything_that_can_be_imported_is_named() -> None:
    assert [name for name in plugin.__all__ if not re.search(rf"\b{name}\b", TEXT)] == []


@pytest.mark.parametrize("kind", ["Protocol", "WsSession", "HttpSession", "RawSession", "Server", "Options"])
def test_the_reference_names_all_that_a_plugin_can_use(kind: str) -> None:
    names = {name for owner in vars(plugin)[kind].__mro__ if owner.__module__.startswith("lwsws.")
             for name in (*vars(owner), *vars(owner).get("__annotations__", ())) if not name.startswith("_")}
    reference = TEXT[TEXT.index("## Reference"):TEXT.index("## Where plugins")]
    assert len(names) > 2
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", reference)] == []


def test_all_bundled_protocols_are_named() -> None:
    first_names = {module: name for name, (module, _) in reversed([*BUNDLED.items()])}
    listed = re.search(r"\* The bundled ones.*?: (.*?)\.\n", TEXT, re.DOTALL)
    assert listed
    assert set(re.findall("`([^`]+)`", listed.group(1))) == set(first_names.values())
