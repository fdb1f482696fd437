"""Real WebSocket clients: the Python packages websockets and websocket-client, and ws of Node.js.

Each client is a script that talks to the server once and prints what it saw as JSON; the tests look at that.
The Python packages are those of the system's own Python, since that of the tests may have none.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Callable, Dict, Iterator, List, Sequence

import pytest

from tests.support.programs import find, give_up
from tests.support.server import Server, site_server

SECONDS = 60
BIG = 16 << 20
SMALL_LIMIT = 1000  # of the mirror

# What all scripts do.  `seen` is printed; the port is the argument.
#   text, binary, empty    what came back; parts: the same for a message sent in three pieces
#   big                    whether a message of 16 MiB came back as it was
#   pong                   what came with the answer to a ping
#   subprotocol            which one the server chose of "no-such", "lws-echo", "lws-mirror-protocol"
#   bye                    code (and reason) that the server answered to a close with 4001
#   seeya, too_long        code and reason of a close that the server began
#   extension, compressed  where compression can be had: the name, and the bytes that 100,000 came as

WEBSOCKETS = """
import asyncio, json, sys
import websockets
from websockets.extensions.permessage_deflate import PerMessageDeflate

HERE = "ws://127.0.0.1:" + sys.argv[1]
seen = {}
payloads = []
decode = PerMessageDeflate.decode

def noting(self, frame, **limits):
    payloads.append(len(frame.data))
    return decode(self, frame, **limits)

PerMessageDeflate.decode = noting

def connect(*names, **options):
    return websockets.connect(HERE, subprotocols=list(names) or None, max_size=None, **options)

async def closed_by(socket, message):
    await socket.send(message)
    try:
        while True:
            await asyncio.wait_for(socket.recv(), 10)
    except websockets.ConnectionClosed:
        return [socket.close_code, socket.close_reason]

async def main():
    async with connect("no-such", "lws-echo", "lws-mirror-protocol", compression=None) as socket:
        seen["subprotocol"] = socket.subprotocol
        await socket.send("gr\\u00fc\\u00df \\u2603 \\U0001f600")
        seen["text"] = await socket.recv()
        await socket.send(bytes(range(256)))
        seen["binary"] = (await socket.recv()).hex()
        await socket.send("")
        seen["empty"] = await socket.recv()
        await socket.send(["par", "", "ts"])
        seen["parts"] = await socket.recv()
        big = bytes(range(256)) * (BIG // 256)
        await socket.send(big)
        seen["big"] = await socket.recv() == big
        await asyncio.wait_for(await socket.ping(b"ball"), 10)
        seen["pong"] = "ball"
        await socket.close(4001, "bye")
        seen["bye"] = [socket.close_code, socket.close_reason]
    async with connect("dumb-increment-protocol") as socket:
        seen["seeya"] = await closed_by(socket, "closeme\\n")
    async with connect("lws-mirror-protocol") as socket:
        seen["too_long"] = await closed_by(socket, "x" * (SMALL_LIMIT + 1))
    async with connect("lws-echo") as socket:
        seen["extension"] = [extension.name for extension in socket.extensions]
        del payloads[:]
        await socket.send("0123456789" * 10000)
        assert await socket.recv() == "0123456789" * 10000
        seen["compressed"] = sum(payloads)

asyncio.run(main())
print(json.dumps(seen))
"""

WEBSOCKET_CLIENT = """
import json, sys
from websocket import ABNF, create_connection

HERE = "ws://127.0.0.1:" + sys.argv[1]
seen = {}

def closed_by(socket):
    opcode, payload = socket.recv_data(control_frame=True)
    while opcode != ABNF.OPCODE_CLOSE:
        opcode, payload = socket.recv_data(control_frame=True)
    return [int.from_bytes(payload[:2], "big"), payload[2:].decode()]

def connect(*names):
    return create_connection(HERE, timeout=30, subprotocols=list(names))

socket = connect("no-such", "lws-echo", "lws-mirror-protocol")
seen["subprotocol"] = socket.getsubprotocol()
socket.send("gr\\u00fc\\u00df \\u2603 \\U0001f600")
seen["text"] = socket.recv()
socket.send_binary(bytes(range(256)))
seen["binary"] = socket.recv().hex()
socket.send("")
seen["empty"] = socket.recv()
socket.send_frame(ABNF.create_frame("par", ABNF.OPCODE_TEXT, 0))
socket.send_frame(ABNF.create_frame("", ABNF.OPCODE_CONT, 0))
socket.send_frame(ABNF.create_frame("ts", ABNF.OPCODE_CONT, 1))
seen["parts"] = socket.recv()
big = bytes(range(256)) * (BIG // 256)
socket.send_binary(big)
seen["big"] = socket.recv() == big
socket.ping("ball")
opcode, payload = socket.recv_data(control_frame=True)
assert opcode == ABNF.OPCODE_PONG
seen["pong"] = payload.decode()
socket.send_close(4001, b"bye")
seen["bye"] = closed_by(socket)
socket.shutdown()
socket = connect("dumb-increment-protocol")
socket.send("closeme\\n")
seen["seeya"] = closed_by(socket)
socket.shutdown()
socket = connect("lws-mirror-protocol")
socket.send("x" * (SMALL_LIMIT + 1))
seen["too_long"] = closed_by(socket)
socket.shutdown()
print(json.dumps(seen))
"""

NODE = """
const WebSocket = require("ws");
const { once } = require("events");
const url = "ws://127.0.0.1:" + process.argv[1];
const seen = {};

async function open(names, options) {
  const socket = new WebSocket(url, names, { maxPayload: 0, ...options });
  await once(socket, "open");
  return socket;
}

async function echo(socket, message) {
  socket.send(message);
  const [data, isBinary] = await once(socket, "message");
  return isBinary ? data : data.toString();
}

async function closing(socket) {
  const [code, reason] = await once(socket, "close");
  return [code, reason.toString()];
}

async function main() {
  let socket = await open(["no-such", "lws-echo", "lws-mirror-protocol"], { perMessageDeflate: false });
  seen.subprotocol = socket.protocol;
  seen.text = await echo(socket, "gr\\u00fc\\u00df \\u2603 \\u{1f600}");
  seen.binary = (await echo(socket, Buffer.from([...Array(256).keys()]))).toString("hex");
  seen.empty = await echo(socket, "");
  socket.send("par", { fin: false });
  socket.send("", { fin: false });
  seen.parts = await echo(socket, "ts");
  const big = Buffer.alloc(BIG, Buffer.from([...Array(256).keys()]));
  seen.big = big.equals(await echo(socket, big));
  socket.ping("ball");
  seen.pong = (await once(socket, "pong"))[0].toString();
  socket.close(4001, "bye");
  seen.bye = await closing(socket);

  socket = await open(["dumb-increment-protocol"]);
  socket.send("closeme\\n");
  seen.seeya = await closing(socket);

  socket = await open(["lws-mirror-protocol"]);
  socket.send("x".repeat(SMALL_LIMIT + 1));
  seen.too_long = await closing(socket);

  socket = await open(["lws-echo"]);
  seen.extension = socket.extensions.split(";").slice(0, 1);
  const before = socket._socket.bytesRead, text = "0123456789".repeat(10000);
  if (await echo(socket, text) !== text) throw new Error("another text came back");
  seen.compressed = socket._socket.bytesRead - before;
  socket.terminate();
  console.log(JSON.stringify(seen));
}

main();
"""


def python_with(module: str, package: str) -> List[str]:
    """The start of a command for a Python that has `module`."""
    for python in ("/usr/bin/python3", sys.executable):
        if succeeds([python, "-c", f"import {module}"]):
            return [python, "-c"]
    return give_up(f"needs a Python with {module}, as Debian's {package} has it")


def node_with_ws() -> List[str]:
    """The start of a command for a Node.js that has ws."""
    node = find("node")
    if not node or not succeeds([node, "-e", "require('ws')"]):
        give_up("needs Node.js with ws, as Debian's node-ws has it")
    return [node, "-e"]


def environment() -> Dict[str, str]:
    """With the place where Debian puts its modules for Node.js."""
    return {**os.environ, "NODE_PATH": "/usr/share/nodejs:/usr/share/javascript"}


def succeeds(command: Sequence[str]) -> bool:
    """Whether the command can be run, with exit code 0."""
    try:
        done = subprocess.run(command, env=environment(), capture_output=True, timeout=SECONDS, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


CLIENTS: Dict[str, Callable[[], List[str]]] = {
    "websockets": lambda: [*python_with("websockets", "python3-websockets"), WEBSOCKETS],
    "websocket-client": lambda: [*python_with("websocket", "python3-websocket"), WEBSOCKET_CLIENT],
    "ws": lambda: [*node_with_ws(), NODE],
}
COMPRESSING = ("websockets", "ws")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    protocols = {
        "lws-echo": {"default": "1", "max-message": str(BIG)},
        "lws-mirror-protocol": {"max-message": str(SMALL_LIMIT)},
        "dumb-increment-protocol": {},
    }
    vhost = {"ws-protocols": [protocols]}
    with site_server(tmp_path_factory.mktemp("clients"), [vhost]) as started:
        yield started


Seen = Dict[str, Any]


@pytest.fixture(scope="module")
def talk(server: Server) -> Callable[[str], Seen]:
    """Call it with the name of a client: gives what that saw."""
    known: Dict[str, Seen] = {}

    def have(client: str) -> Seen:
        if client not in known:
            *start, script = CLIENTS[client]()
            script = script.replace("BIG", str(BIG)).replace("SMALL_LIMIT", str(SMALL_LIMIT))
            command = [*start, script, str(server.port)]
            done = subprocess.run(command, env=environment(), stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, timeout=SECONDS, check=False)
            assert done.returncode == 0, done.stderr
            known[client] = json.loads(done.stdout)
        return known[client]

    return have


Talk = Callable[[str], Seen]
each_client = pytest.mark.parametrize("client", CLIENTS)


@each_client
def test_messages_come_back_as_they_were(talk: Talk, client: str) -> None:
    seen = talk(client)
    assert seen["text"] == "grüß ☃ 😀"
    assert bytes.fromhex(seen["binary"]) == bytes(range(256))
    assert seen["empty"] == ""
    assert seen["parts"] == "parts"


@each_client
def test_a_message_of_16_mib_comes_back(talk: Talk, client: str) -> None:
    assert talk(client)["big"] is True


@each_client
def test_a_ping_is_answered_with_its_payload(talk: Talk, client: str) -> None:
    assert talk(client)["pong"] == "ball"


@each_client
def test_the_first_known_subprotocol_is_chosen(talk: Talk, client: str) -> None:
    assert talk(client)["subprotocol"] == "lws-echo"


@each_client
def test_the_code_of_the_client_comes_back(talk: Talk, client: str) -> None:
    """RFC 6455 5.5.1: the answer to a close typically has the same code."""
    assert talk(client)["bye"][0] == 4001


@each_client
def test_the_codes_of_the_server_arrive(talk: Talk, client: str) -> None:
    seen = talk(client)
    assert seen["seeya"] == [1001, "seeya"]
    assert seen["too_long"][0] == 1009


@pytest.mark.parametrize("client", COMPRESSING)
def test_compression_is_agreed_on_and_used(talk: Talk, client: str) -> None:
    seen = talk(client)
    assert seen["extension"] == ["permessage-deflate"]
    assert 0 < seen["compressed"] < 2000
