"""A real server for tests: `python3 lwsws.py -c DIR`, on ports of its own.

    with Server(confdir, [("127.0.0.1", port)]) as server:
        ...                         it accepts connections: talk to it
                                    at the end: SIGTERM, exit code 0, no traceback in its log, and no
                                    process of it is left

It is a parent with serving processes, its children; with -f it is one process that serves.  `process` is
the one that was started, `pid` the one that serves.  Ready means that it has told systemd so, which is played
by a NotifySocket, and that every given address accepts a connection.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, Union

from tests.support import procfs
from tests.support.bytecode import shared_bytecode
from tests.support.source import ROOT
from tests.support.systemd import NotifySocket, passing
from tests.support.waiting import exit_code, wait_until

# Host and port, or the path of a unix socket.
Address = Union[Tuple[str, int], str]

START_SECONDS = 20.0  # a loaded CI machine takes its time
STOP_SECONDS = 20.0
PAUSE_SECONDS = 0.01  # between two tries to connect


# Below those that the kernel gives to outgoing connections (ip_local_port_range), of which others make many.
PORTS = range(10240, 32768)

# What a serving process calls itself: "lwsws-2.0" is the first one of the second generation.
CHILD_NAME = re.compile(r"lwsws-(\d+)\.(\d+)")


class ServerFailed(AssertionError):
    """The server did not start, did not stop, or stopped with a fault; the message has its log."""


class Child(NamedTuple):
    """A serving process of a server."""

    generation: int
    number: int
    pid: int


def free_ports(count: int) -> List[int]:
    """`count` different TCP ports that were free a moment ago, and that no connection will be given."""
    ports: List[int] = []
    while len(ports) < count:
        port = random.choice(PORTS)
        if port not in ports and is_free(port):
            ports.append(port)
    return ports


def is_free(port: int) -> bool:
    """Whether nothing listens on `port`."""
    with socket.socket() as sock:
        try:
            sock.bind(("", port))
        except OSError:
            return False
    return True


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


def site_server(folder: Path, vhosts: Sequence[Mapping[str, Any]], arguments: Sequence[str] = (),
                **settings: Any) -> Server:
    """A server, to be used in `with`, for these vhosts, configured in `folder`.

    A vhost without name and port is localhost on a free port of 127.0.0.1.  `arguments` are more words of the
    command line.
    """
    ports = free_ports(len(vhosts))
    full = [{"name": "localhost", "port": port, **vhost} for vhost, port in zip(vhosts, ports)]
    addresses: List[Address] = [
        str(vhost["interface"]) if vhost.get("unix-socket") else ("127.0.0.1", int(vhost["port"]))
        for vhost in full
    ]
    return Server(write_config(folder, full, **settings), addresses, arguments)


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


def refuses(address: Address) -> bool:
    """Whether nobody listens there."""
    try:
        connect(address).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except ConnectionResetError:    # as by a listener that is being closed
        pass
    return False


class Server:
    """One server; a context manager that gives itself once the server is ready."""

    def __init__(
        self,
        confdir: Path,
        ready: Sequence[Address],
        arguments: Sequence[str] = (),
        environment: Optional[Dict[str, str]] = None,
        command: Optional[Sequence[str]] = None,
        sockets: Sequence[Tuple[str, socket.socket]] = (),
    ) -> None:
        """`sockets` are passed as by systemd; a server started by `command` is ready as soon as it accepts
        connections."""
        self.ready = ready
        self.address: Address = ready[0] if ready else ""
        self.notices = NotifySocket()
        self._tells = command is None
        start = command or [sys.executable, str(ROOT / "lwsws.py"), "-c", str(confdir)]
        python = shared_bytecode() if command is None else {}
        start = [*start, *arguments]
        self._killed = False
        self._excused = 0   # so much of the log is as a test wants it
        self._log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            passing(start, sockets) if sockets else start,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **python, "NOTIFY_SOCKET": self.notices.path, **(environment or {})},
            pass_fds=[sock.fileno() for _, sock in sockets],
            start_new_session=True,  # so that whatever it leaves behind is found by its process group
        )

    # Its processes.

    def children(self) -> List[Child]:
        """Its serving processes, by generation and number."""
        named = ((CHILD_NAME.fullmatch(procfs.name(pid)), pid) for pid in procfs.children(self.process.pid))
        return sorted(Child(int(match[1]), int(match[2]), pid) for match, pid in named if match)

    def generations(self) -> Dict[int, List[int]]:
        """The process ids of the serving processes of each generation."""
        found: Dict[int, List[int]] = {}
        for child in self.children():
            found.setdefault(child.generation, []).append(child.pid)
        return found

    @property
    def pid(self) -> int:
        """The process that serves: the first one of the newest generation, or the one that was started."""
        generations = self.generations()
        return generations[max(generations)][0] if generations else self.process.pid

    def is_alive(self) -> bool:
        """Whether the process that was started runs."""
        return self.process.poll() is None

    @property
    def port(self) -> int:
        """The port of the first of the addresses."""
        assert isinstance(self.address, tuple)
        return self.address[1]

    def log(self) -> str:
        """What all of it has written to stdout and stderr so far."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode("utf-8", "replace")

    def lines(self) -> List[str]:
        """The same, line by line, without what only a slow machine is told."""
        return [line for line in self.log().splitlines() if ": slow: " not in line]

    def excuse(self) -> None:
        """A traceback in the log up to here is no fault."""
        self._excused = len(self.log())

    def connect(self, timeout: float = 10.0) -> socket.socket:
        """A connection to the first of the addresses."""
        return connect(self.address, timeout)

    # Waiting.

    def wait_ready(self) -> None:
        """Return once it says that it is ready, and each address accepts a connection."""
        deadline = time.monotonic() + START_SECONDS
        if self._tells:
            self._wait_for_notice(START_SECONDS)
        for address in self.ready:
            while not self._accepts(address):
                if not self.is_alive():
                    raise ServerFailed(f"the server ended with {self.process.returncode}:\n{self.log()}")
                if time.monotonic() > deadline:
                    raise ServerFailed(f"nothing accepts at {address}:\n{self.log()}")
                self.pause()

    def _wait_for_notice(self, seconds: float, begin: int = 0) -> Dict[str, str]:
        try:
            return self.notices.wait_for("READY=1", seconds, begin, self.is_alive)
        except AssertionError:
            code = self.process.poll()
            what = f"the server ended with {code}" if code is not None else "the server is not ready"
            raise ServerFailed(f"{what}:\n{self.log()}") from None

    def reload(self, seconds: float = 20.0) -> str:
        """Send HUP, and wait until that has been dealt with; returns the status that it tells then."""
        self.notices.receive()
        begin = len(self.notices.messages)
        self.process.send_signal(signal.SIGHUP)
        return self._wait_for_notice(seconds, begin)["STATUS"]

    def _accepts(self, address: Address) -> bool:
        try:
            connect(address).close()
        except OSError:
            return False
        return True

    def pause(self) -> None:
        """Let a short time pass, or less if it ends."""
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
            self.pause()

    # The end.

    def refused(self) -> str:
        """The log of a server that is not to start: it must end by itself, soon, with exit code 1, or with 78
        because of its configuration."""
        try:
            code = exit_code(self.process, START_SECONDS)
            log = self.log()
        finally:
            self.close()
        assert code in (1, os.EX_CONFIG) and "Traceback" not in log, f"ended with {code}:\n{log}"
        return log

    def kill(self) -> None:
        """End all of it as a crash of the machine would; what it leaves behind is not checked then."""
        self._killed = True
        self._kill_group()

    def _kill_group(self) -> None:
        """Kill all processes, and wait until there are none; for an orphan, that somebody else waits."""
        if self.is_alive() or self._members():
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not self._members(), "the end of those killed")

    def _members(self) -> List[int]:
        """Its processes, however they came to be."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return []   # which is the usual case, and cheap
        return procfs.members(self.process.pid)

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """Tell it to stop; it must end with exit code 0, no traceback in its log, and all its processes."""
        if self._killed:
            return
        if self.is_alive():
            self.process.send_signal(signum)
        try:
            code = exit_code(self.process, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill_group()
            raise ServerFailed(f"the server did not stop in {STOP_SECONDS:.0f} s:\n{self.log()}") from None
        log = self.log()
        if code != 0 or "Traceback" in log[self._excused:]:
            raise ServerFailed(f"the server ended with {code}:\n{log}")
        left = self._members()
        if left:
            raise ServerFailed(f"the server ended, and left {left} behind:\n{log}")

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
        """Let go of it, and of its log; what still runs is killed."""
        self._kill_group()
        self.notices.close()
        self._log.close()
