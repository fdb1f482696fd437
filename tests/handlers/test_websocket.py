"""Who gets a WebSocket, which protocol, and what the others are told (RFC 6455 4.2; LESSONS 3.29, 3.32)."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest

from lwsws.core.protocol import Protocol
from lwsws.core.session import HttpRequest
from lwsws.core.vhost import Vhost
from lwsws.handlers.websocket import Offer, WebSocketHandler
from lwsws.roles.http import HttpRole
from lwsws.roles.websocket import WebSocketRole
from lwsws.wire.ws_connection import WsLimits
from tests.support.peer import Answer, Bench
from tests.support.upgrade import ACCEPT_KEY, ORDINARY, asked
from tests.support.ws import KEY, take_frames
from tests.support.ws_client import CLOSE, TEXT, accept_value, frame

Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes sites of one vhost with these protocols and keys, `_` for `-`, and a mount of files."""
    made: List[Bench] = []
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("home")
    (tmp_path / "pw").write_text("joe:secret\n")

    def make(*protocols: Dict[str, Any], mounts: Optional[List[Dict[str, Any]]] = None, **keys: Any) -> Bench:
        root = {"mountpoint": "/", "origin": f"file://{tmp_path}/www"}
        vhost: Dict[str, Any] = {"mounts": [root, *(mounts or [])]}
        vhost.update({key.replace("_", "-"): value for key, value in keys.items()})
        if protocols:
            vhost["ws-protocols"] = list(protocols)
        made.append(Bench(tmp_path, vhost))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


def ask(bench: Bench, target: str = "/", line: str = "GET {} HTTP/1.1", **fields: Optional[str]) -> Answer:
    """Ask for a WebSocket, with these fields beside the ordinary ones, `_` for `-`; None leaves one out."""
    return asked(bench.connect(), target, line, **fields)


def upgrades(bench: Bench) -> WebSocketHandler:
    """What opens the WebSockets of the vhost."""
    handler = bench.vhosts().default.upgrades
    assert isinstance(handler, WebSocketHandler)
    return handler


# What is opened.


def test_the_answer_of_an_upgrade(make: Make) -> None:
    bench = make({"lws-echo": {}})
    peer = bench.connect()
    answer = asked(peer, Sec_WebSocket_Protocol="lws-echo")
    assert answer.head == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: lws-echo\r\n\r\n")
    assert accept_value(ACCEPT_KEY) == answer.get("Sec-WebSocket-Accept")
    assert type(peer.connection.role) is WebSocketRole


def test_frames_in_the_packet_of_the_request_are_not_lost(make: Make) -> None:
    peer = make({"lws-echo": {}}).connect()
    head = "GET / HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in ORDINARY.items()) + "\r\n"
    peer.send(head.encode() + frame(TEXT, b"early", key=KEY))
    assert peer.answer().status == 101
    assert take_frames(peer.receive())[0][0].payload == b"early"


def test_a_path_of_no_mount_will_do_as_in_the_original(make: Make) -> None:
    assert ask(make({"lws-echo": {}}), "/no/such/mount").status == 101


@pytest.mark.parametrize("offered, chosen", [
    ("lws-mirror-protocol, lws-echo", "lws-mirror-protocol"),
    ("nope,lws-echo,lws-mirror-protocol", "lws-echo"),
])
def test_the_first_known_subprotocol_of_the_client_is_taken(make: Make, offered: str, chosen: str) -> None:
    bench = make({"lws-echo": {}, "lws-mirror-protocol": {}})
    assert ask(bench, Sec_WebSocket_Protocol=offered).get("Sec-WebSocket-Protocol") == chosen


def subprotocol_of(bench: Bench, answer: Answer) -> str:
    """The protocol that the only connection got; the client must not be told of any."""
    assert answer.status == 101 and answer.get("Sec-WebSocket-Protocol") is None
    (connection,) = bench.context.connections
    assert isinstance(connection.role, WebSocketRole)
    return connection.role.protocol.name


def test_without_a_subprotocol_the_default_is_taken(make: Make) -> None:
    bench = make({"lws-echo": {}, "lws-mirror-protocol": {"default": "1"}, "lws-status": {"default": "1"}})
    assert subprotocol_of(bench, ask(bench)) == "lws-mirror-protocol"


def test_without_a_default_it_is_the_first_that_speaks_websocket(make: Make) -> None:
    bench = make({"raw-test": {}, "lws-mirror-protocol": {}, "lws-echo": {}})
    assert subprotocol_of(bench, ask(bench)) == "lws-mirror-protocol"


def test_compression_is_agreed_on_unless_it_is_switched_off(make: Make) -> None:
    bench = make({"lws-echo": {}, "lws-mirror-protocol": {"deflate": "0"}})
    offer = {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"}
    taken = ask(bench, Sec_WebSocket_Protocol="lws-echo", **offer).get("Sec-WebSocket-Extensions")
    assert taken is not None and taken.startswith("permessage-deflate")
    answer = ask(bench, Sec_WebSocket_Protocol="lws-mirror-protocol", **offer)
    assert answer.status == 101 and answer.get("Sec-WebSocket-Extensions") is None


def test_limits_are_options_of_the_protocol(make: Make) -> None:
    bench = make({"lws-echo": {"max-message": "10", "max-fragments": "2"}},
                 {"lws-status": {"max-message": "x"}})
    offers = upgrades(bench).offers
    assert offers["lws-echo"].limits == WsLimits(10, 2)
    assert offers["lws-status"].limits == WsLimits(offers["lws-status"].protocol.max_message)
    peer = bench.connect()
    asked(peer, Sec_WebSocket_Protocol="lws-echo")
    peer.send(frame(TEXT, b"0123456789x", key=KEY))
    (last,), _ = take_frames(peer.receive())
    assert last.opcode == CLOSE and last.payload[:2] == b"\x03\xf1"


# What is refused, and how.


def test_an_unknown_subprotocol(make: Make) -> None:
    answer = ask(make({"lws-echo": {}}), Sec_WebSocket_Protocol="nope")
    assert answer.status == 400 and b"none of the subprotocols" in answer.body


def test_a_vhost_without_protocols(make: Make) -> None:
    answer = ask(make())
    assert answer.status == 404 and b"no WebSocket protocol is offered here" in answer.body


def test_a_vhost_without_a_protocol_that_speaks_websocket(make: Make) -> None:
    assert ask(make({"raw-test": {}})).status == 404
    assert ask(make({"raw-test": {}}), Sec_WebSocket_Protocol="raw-test").status == 400


def test_no_subprotocol_where_one_is_demanded(make: Make) -> None:
    bench = make({"lws-echo": {"default": "1"}}, disable_no_protocol_ws_upgrades="1")
    assert ask(bench).status == 400
    assert ask(bench, Sec_WebSocket_Protocol="lws-echo").status == 101


def test_another_version_is_told_which_one_is_spoken(make: Make) -> None:
    answer = ask(make({"lws-echo": {}}), Sec_WebSocket_Version="8")
    assert (answer.status, answer.get("Sec-WebSocket-Version")) == (426, "13")


@pytest.mark.parametrize("key", [
    None, "", "abc", base64.b64encode(bytes(15)).decode(), base64.b64encode(bytes(17)).decode(),
    "dGhlIHNhbXBsZSBub25jZR=="])
def test_a_missing_or_wrong_key(make: Make, key: Optional[str]) -> None:
    assert ask(make({"lws-echo": {}}), Sec_WebSocket_Key=key).status == 400


def test_a_wrong_method(make: Make) -> None:
    answer = ask(make({"lws-echo": {}}), line="DELETE {} HTTP/1.1")
    assert (answer.status, answer.get("Allow")) == (405, "GET")


def test_in_http_1_0_an_upgrade_is_ignored(make: Make) -> None:
    """RFC 9110 7.8."""
    assert ask(make({"lws-echo": {}}), line="GET {} HTTP/1.0").body == b"home"


def test_a_connection_field_that_does_not_name_it(make: Make) -> None:
    assert ask(make({"lws-echo": {}}), Connection="keep-alive").status == 400


def test_a_request_with_a_body(make: Make) -> None:
    bench = make({"lws-echo": {}})
    assert ask(bench, Content_Length="5").status in (400, 413)
    assert ask(bench, Transfer_Encoding="chunked").status in (400, 413)


def test_after_a_refusal_the_connection_serves_on(make: Make) -> None:
    peer = make({"lws-echo": {}}).connect()
    assert asked(peer, Sec_WebSocket_Version="8").status == 426
    assert peer.get("/").body == b"home"
    assert asked(peer).status == 101


def test_an_upgrade_to_anything_else_is_ignored(make: Make) -> None:
    """LESSONS 3.11."""
    peer = make({"lws-echo": {}}).connect()
    assert peer.get("/", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings").body == b"home"
    assert type(peer.connection.role) is HttpRole


def test_a_remembered_answer_is_not_for_who_wants_a_websocket(make: Make) -> None:
    peer = make({"lws-echo": {}}).connect()
    for _ in range(3):
        assert peer.get("/").status == 200
    assert asked(peer).status == 101


# Mounts.


def test_no_ws_upgrades_below_a_mount_that_says_so(make: Make, tmp_path: Path) -> None:
    closed = {"mountpoint": "/quiet", "origin": f"file://{tmp_path}/www", "no-ws-upgrades": "1"}
    bench = make({"lws-echo": {}}, mounts=[closed])
    assert ask(bench, "/quiet/x").status == 403
    assert ask(bench, "/quieter").status == 101


def test_redirects_come_first_as_in_the_original(make: Make, tmp_path: Path) -> None:
    mounts = [{"mountpoint": "/r", "origin": ">https://x.example/"},
              {"mountpoint": "/only", "origin": f"file://{tmp_path}/www"}]
    bench = make({"lws-echo": {}}, mounts=mounts)
    assert ask(bench, "/r").status == 301
    assert ask(bench, "/only").status == 301
    assert ask(bench, "/only/").status == 101


def test_a_refused_client_gets_no_websocket(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"ws-protocols": [{"lws-echo": {}}]},
                  reject_service_keywords=[{"scumbot": "404 Not Found"}])
    assert ask(bench, User_Agent="scumbot").status == 404
    bench.close()


# Whose pages, which host, who logged in.


@pytest.mark.parametrize("origin, status", [
    (None, 101), ("https://a.example", 101), ("https://A.example:443", 101), ("https://b.example:8443", 101),
    ("http://a.example", 403), ("https://a.example.evil", 403), ("https://b.example", 403), ("null", 403),
])
def test_only_pages_of_allowed_origins_may_connect(make: Make, origin: Optional[str], status: int) -> None:
    bench = make({"lws-echo": {"allowed-origins": ["https://a.example", "https://b.example:8443"]}})
    assert ask(bench, Origin=origin).status == status


@pytest.mark.parametrize("host, origin, status", [
    ("localhost:7681", "http://localhost:7681", 101), ("localhost:7681", "https://localhost:7681", 101),
    ("localhost", "https://localhost", 101), ("localhost:7681", "http://localhost", 403),
    ("localhost:7681", "http://evil.example", 403), ("localhost:7681", "https://b.example", 101),
    ("localhost:7681", "self", 403), ("localhost:7681", None, 101),
])
def test_a_page_of_the_site_itself_may_connect(
    make: Make, host: str, origin: Optional[str], status: int
) -> None:
    bench = make({"lws-echo": {"allowed-origins": ["self", "https://b.example"]}})
    assert ask(bench, Host=host, Origin=origin).status == status


def test_without_allowed_origins_all_may(make: Make) -> None:
    assert ask(make({"lws-echo": {}}), Origin="https://evil.example").status == 101


@pytest.mark.parametrize("host, status", [
    ("localhost:7681", 101), ("localhost", 421), ("localhost:1", 421), ("evil:7681", 421)])
def test_a_strict_host_check_looks_at_the_port_as_well(make: Make, host: str, status: int) -> None:
    assert ask(make({"lws-echo": {}}, strict_host_check="1"), Host=host).status == status


def credentials(text: str) -> str:
    """An Authorization field."""
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_a_password_is_asked_for_before_the_upgrade(make: Make, tmp_path: Path) -> None:
    bench = make({"lws-echo": {"basic-auth": str(tmp_path / "pw")}, "lws-status": {}})
    answer = ask(bench)
    assert (answer.status, answer.get("WWW-Authenticate")) == (401, 'Basic realm="lwsws"')
    assert ask(bench, Authorization=credentials("joe:wrong")).status == 401
    assert ask(bench, Sec_WebSocket_Protocol="lws-status").status == 101
    peer = bench.connect()
    assert asked(peer, Authorization=credentials("joe:secret")).status == 101
    assert isinstance(peer.connection.role, WebSocketRole)
    assert peer.connection.role.username == "joe"


# The plugin has the last word.


class Choosy(Protocol):
    """Lets in who asks for /in, fails for /fault."""

    name = "choosy"

    def filter_upgrade(self, request: HttpRequest) -> bool:
        """Look at the path."""
        if request.path == "/fault":
            raise ZeroDivisionError("as a test wants it")
        return request.path == "/in"


def test_the_plugin_may_refuse(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    bench = make({"lws-echo": {}})
    protocol = Choosy()
    protocol.sessions = set()
    upgrades(bench).default = Offer(protocol)
    assert ask(bench, "/in").status == 101
    assert ask(bench, "/out").status == 403
    assert ask(bench, "/fault").status == 500
    assert "fault in Choosy.filter_upgrade" in capfd.readouterr().err


# What is counted and logged.


def test_upgrades_are_counted_and_logged(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "log"
    bench = make({"lws-echo": {}}, access_log=str(path))
    peer = bench.connect()
    asked(peer, "/w?x=1", User_Agent="ua/1")
    peer.send(frame(TEXT, b"hello", key=KEY))
    vhost: Vhost = bench.vhosts().default
    assert (vhost.counts.upgrades, vhost.counts.requests, vhost.counts.connections) == (1, 1, 1)
    (line,) = path.read_text().splitlines()
    assert line.endswith('"GET /w?x=1 HTTP/1.1" 101 0 "-" "ua/1"')
    assert (vhost.counts.rx, vhost.counts.tx) == (0, 0)
    transport = peer.connection.transport
    peer.connection.abort()
    bench.run()
    assert (vhost.counts.rx, vhost.counts.tx) == (transport.bytes_received, transport.bytes_sent) != (0, 0)
