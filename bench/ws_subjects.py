"""The WebSocket servers that are compared: ours, and those of Python packages in an environment of their own.

Two kinds of service: an echo, and a mirror that passes each message on to all its clients.  The packages come
from the package index into .venv-bench, for the Python that runs the benchmark, once.  Their servers are
the few lines that each package's own documentation would have one write; none compresses, because the load
client offers no extension.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

from bench.subjects import MIRROR, ROOT, WS, Given, Lwsws, Subject

ENVIRONMENT = ROOT / ".venv-bench"
INSTALL_SECONDS = 300


class LwswsEcho(Lwsws):
    """Our bundled echo."""

    kind = WS
    # The largest messages of the Autobahn|Testsuite have 16 MiB, its most fragments are 65,537.
    options = {"lws-echo": {"default": "1", "max-message": "67108864", "max-fragments": "100000"}}

    def vhost(self, given: Given) -> Dict[str, Any]:
        return {**super().vhost(given), "ws-protocols": [self.options]}


class LwswsMirror(LwswsEcho):
    """Our bundled mirror."""

    kind = MIRROR
    options = {"lws-mirror-protocol": {"default": "1"}}


class Peer(Subject):
    """A server made of Python packages."""

    packages: Tuple[str, ...] = ()
    program = ""  # its text; the port is its argument

    def missing(self) -> str:
        return install(self.packages)

    def command(self, port: int, given: Given, folder: Path) -> List[str]:
        (folder / "server.py").write_text(self.program)
        return [str(ENVIRONMENT / "bin" / "python"), str(folder / "server.py"), str(port)]


def install(packages: Tuple[str, ...]) -> str:
    """Have the packages in the environment; "" if they are, else why not."""
    command = [str(ROOT / ".ci" / "venv"), sys.executable, str(ENVIRONMENT), *packages]
    try:
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"installing {' and '.join(packages)} took longer than {INSTALL_SECONDS} s"
    if done.returncode:
        return (done.stderr.strip() or "it cannot be installed").splitlines()[-1]
    return ""


class Websockets(Peer):
    """The package websockets on asyncio's own loop, as it comes."""

    name = "websockets"
    kind = WS
    packages = ("websockets",)
    program = """\
import asyncio, sys
from websockets.asyncio.server import serve

async def echo(socket):
    async for message in socket:
        await socket.send(message)

async def main():
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=1 << 26):
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""


class WebsocketsMirror(Websockets):
    """The same with its own broadcast()."""

    kind = MIRROR
    program = """\
import asyncio, sys
from websockets.asyncio.server import broadcast, serve

sockets = set()

async def mirror(socket):
    sockets.add(socket)
    try:
        async for message in socket:
            broadcast(sockets, message)
    finally:
        sockets.discard(socket)

async def main():
    async with serve(mirror, "127.0.0.1", int(sys.argv[1])):
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""


class Picows(Peer):
    """picows on uvloop; its listeners see frames, so this is no complete echo, but the fastest there is."""

    name = "picows"
    kind = WS
    packages = ("picows", "uvloop")
    program = """\
import asyncio, sys
import uvloop
from picows import WSListener, WSMsgType, ws_create_server

class Echo(WSListener):
    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())

async def main():
    server = await ws_create_server(lambda request: Echo(), "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
asyncio.run(main())
"""


class Aiohttp(Peer):
    """aiohttp on uvloop."""

    name = "aiohttp"
    kind = MIRROR
    packages = ("aiohttp", "uvloop")
    program = """\
import sys
import uvloop
from aiohttp import WSMsgType, web

sockets = set()

async def mirror(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    sockets.add(socket)
    try:
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                for other in list(sockets):
                    await other.send_str(message.data)
    finally:
        sockets.discard(socket)
    return socket

app = web.Application()
app.router.add_get("/", mirror)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None,
            loop=uvloop.new_event_loop())
"""


WS_SERVERS = (LwswsEcho(), Websockets(), Picows(), LwswsMirror(), WebsocketsMirror(), Aiohttp())
