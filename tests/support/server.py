"""A real server child for tests: `python3 lwsws.py -c DIR`, on ports of its own.

    with Server(confdir, [("127.0.0.1", port)]) as server:
        ...                         it accepts connections: talk to it
                                    at the end: SIGTERM, exit code 0, no traceback in its log

Ready means that every given address accepts a connection.  Nothing sleeps: waiting for the child
to end, with a short time limit, is the pause between two tries.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union

from tests.support.source import ROOT

# Host and port, or the path of a unix socket.
Address = Union[Tuple[str, int], str]

START_SECONDS = 20.0  # a loaded CI machine takes its time
STOP_SECONDS = 20.0
PAUSE_SECONDS = 0.01  # between two tries to connect


class ServerFailed(AssertionError):
    """The child did not start, did not stop, or stopped with a fault; the message has its log."""


def free_ports(count: int) -> List[int]:
    """`count` different TCP ports of 127.0.0.1 that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def write_config(folder: Path, vhosts: Sequence[Mapping[str, Any]], **settings: Any) -> Path:
    """A config directory `folder` with these vhosts and, as keywords with _ for -, global settings."""
    (folder / "conf.d").mkdir(parents=True, exist_ok=True)
    names = {name.replace("_", "-"): value for name, value in settings.items()}
    (folder / "conf").write_text(json.dumps({"global": names}, indent=1))
    (folder / "conf.d" / "site").write_text(json.dumps({"vhosts": list(vhosts)}, indent=1))
    return folder


def file_mount(root: Path, mountpoint: str = "/", **keys: Any) -> Dict[str, Any]:
    """A mount of the files below `root`, with more `keys` (_ for -)."""
    named = {name.replace("_", "-"): value for name, value in keys.items()}
    return {"mountpoint": mountpoint, "origin": f"file://{root}", **named}


def site_server(folder: Path, vhosts: Sequence[Mapping[str, Any]], **settings: Any) -> Server:
    """A child, to be used in `with`, for these vhosts, configured in `folder`.

    A vhost without name and port is localhost on a free port of 127.0.0.1.
    """
    ports = free_ports(len(vhosts))
    full = [{"name": "localhost", "port": port, **vhost} for vhost, port in zip(vhosts, ports)]
    addresses: List[Address] = [
        str(vhost["interface"]) if vhost.get("unix-socket") else ("127.0.0.1", int(vhost["port"]))
        for vhost in full
    ]
    return Server(write_config(folder, full, **settings), addresses)


def connect(address: Address, timeout: float = 10.0) -> socket.socket:
    """A connection to `address`; each later read or write may take `timeout` seconds."""
    if isinstance(address, tuple):
        return socket.create_connection(address, timeout)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


class Server:
    """One child; a context manager that gives itself once the child is ready."""

    def __init__(
        self,
        confdir: Path,
        ready: Sequence[Address],
        arguments: Sequence[str] = (),
        environment: Optional[Dict[str, str]] = None,
        command: Optional[Sequence[str]] = None,
    ) -> None:
        self.ready = ready
        self.address: Address = ready[0] if ready else ""
        start = command or [sys.executable, "-B", str(ROOT / "lwsws.py"), "-c", str(confdir)]
        self._killed = False
        self._log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*start, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **(environment or {})},
        )

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self.process.pid

    @property
    def port(self) -> int:
        """The port of the first of the addresses."""
        assert isinstance(self.address, tuple)
        return self.address[1]

    def log(self) -> str:
        """What the child has written to stdout and stderr so far."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode("utf-8", "replace")

    def connect(self, timeout: float = 10.0) -> socket.socket:
        """A connection to the first of the addresses."""
        return connect(self.address, timeout)

    def wait_ready(self) -> None:
        """Return once each address accepts a connection."""
        deadline = time.monotonic() + START_SECONDS
        for address in self.ready:
            while not self._accepts(address):
                if self.process.poll() is not None:
                    raise ServerFailed(f"the server ended with {self.process.returncode}:\n{self.log()}")
                if time.monotonic() > deadline:
                    raise ServerFailed(f"nothing accepts at {address}:\n{self.log()}")
                self._pause()

    def _accepts(self, address: Address) -> bool:
        try:
            connect(address).close()
        except OSError:
            return False
        return True

    def _pause(self) -> None:
        try:
            self.process.wait(PAUSE_SECONDS)
        except subprocess.TimeoutExpired:
            pass

    def wait_for(self, text: str, seconds: float = 10.0) -> None:
        """Return once the log has `text`."""
        deadline = time.monotonic() + seconds
        while text not in self.log():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise ServerFailed(f"no {text!r} in the log:\n{self.log()}")
            self._pause()

    def refused(self) -> str:
        """The log of a child that is not to start: it must end by itself, soon, with exit code 1."""
        try:
            code = self.process.wait(START_SECONDS)
            log = self.log()
        finally:
            self.close()
        assert code == 1 and "Traceback" not in log, f"ended with {code}:\n{log}"
        return log

    def kill(self) -> None:
        """End the child as a crash would; what it leaves behind is not checked then."""
        self._killed = True
        self.process.kill()
        self.process.wait()

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """Tell the child to stop; it must end with exit code 0 and without a traceback in its log."""
        if self._killed:
            return
        if self.process.poll() is None:
            self.process.send_signal(signum)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise ServerFailed(f"the server did not stop in {STOP_SECONDS:.0f} s:\n{self.log()}") from None
        log = self.log()
        if code != 0 or "Traceback" in log:
            raise ServerFailed(f"the server ended with {code}:\n{log}")

    def __enter__(self) -> Server:
        is_ready = False
        try:
            self.wait_ready()
            is_ready = True
            return self
        finally:
            if not is_ready:
                self.close()

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        fault: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        try:
            if kind is None:
                self.stop()
            else:
                sys.stderr.write(self.log())  # pytest shows it beside the failure
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the child, which is killed if it still runs, and of its log."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._log.close()
