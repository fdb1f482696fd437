"""lws-server-status: tells its clients, as JSON, how the server is: at once, and then every few seconds.

    "lws-server-status": { "update-ms": "5000", "hide-vhosts": "1", "filespath": "/proc/loadavg" }

The JSON has the shape of the original's, so that pages made for that one work: all numbers are strings but
`heap`.  What only we know stands in the object `lwsws`.  `filespath`, which may be given several times, names
files whose first bytes are told as well; a worker reads them, because that may take a while.  All clients get
the same message, which is made once each period, and not at all while nobody watches.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List, Mapping, Optional, Sequence

from lwsws.plugin import Options, PreparedMessage, Protocol, ProtocolVhost, WsSession

FILE_BYTES = 255
UNKNOWN = "(unknown)"
DAY_MS = 86_400_000


class ServerStatus(Protocol):
    """Options `update-ms`, `hide-vhosts`, `filespath` (the original's code has it as `filepath`)."""

    name = "lws-server-status"
    fragments = True    # what clients say is dropped as it comes

    def __init__(self) -> None:
        self._period = 5.0
        self._hides_vhosts = False
        self._paths: List[str] = []
        self._values: List[str] = []
        self._message: Optional[PreparedMessage] = None
        self._is_running = False    # the timer
        self._is_reading = False    # a worker

    def init(self, vhost: ProtocolVhost, options: Options) -> None:
        """OptionError if `update-ms` is no number from 100 to a day, or `hide-vhosts` neither yes nor no."""
        self._period = options.number("update-ms", 5000, 100, DAY_MS) / 1000
        self._hides_vhosts = options.flag("hide-vhosts")
        self._paths = [*options.all("filespath"), *options.all("filepath")]
        self._values = [UNKNOWN] * len(self._paths)

    def established(self, s: WsSession) -> None:
        """The first client has the work begin; others get what was found last."""
        s.request_writable()
        if not self._is_running:
            self._is_running = True
            self.server.call_later(self._period, self._next_period)
        if self._message is None and not self._is_reading:
            self._refresh()

    def writable(self, s: WsSession) -> None:
        """Send the newest message, as soon as there is one."""
        if self._message is not None:
            s.send(self._message)

    def closed(self, s: WsSession, code: int, reason: str) -> None:
        """With the last client goes what is known: the next one shall not get to hear old news."""
        if not self.sessions:
            self._message = None

    def _next_period(self) -> None:
        if not self.sessions:
            self._is_running = False
            return
        self.server.call_later(self._period, self._next_period)
        self._refresh()

    def _refresh(self) -> None:
        """Find out and publish; a file that takes longer than a period keeps nobody waiting."""
        if self._paths and not self._is_reading:
            self._is_reading = True
            self.server.run_blocking(read_files, tuple(self._paths), then=self._have_read)
        else:
            self._publish()

    def _have_read(self, values: Any, error: Optional[Exception]) -> None:
        self._is_reading = False
        self._values = [UNKNOWN] * len(self._paths) if error else values
        self._publish()

    def _publish(self) -> None:
        if self.sessions:
            report = status_report(self.server.status(self._hides_vhosts), read_statm(), load_averages())
            files = [{"path": path, "val": value} for path, value in zip(self._paths, self._values)]
            text = json.dumps({"i": report, "files": files}, separators=(",", ":"))
            self._message = PreparedMessage(text)
            self.request_writable_all()


def read_files(paths: Sequence[str]) -> List[str]:
    """The beginning of each of these files; for a worker, because some take their time."""
    return [read_file(path) for path in paths]


def read_file(path: str) -> str:
    """The first 255 bytes of a file.  Where they are not UTF-8, there is U+FFFD."""
    try:
        # A FIFO, or a device that has nothing to say, must not keep the worker.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return UNKNOWN
    try:
        return os.read(fd, FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return UNKNOWN
    finally:
        os.close(fd)


def read_statm() -> str:
    """/proc/self/statm: sizes of this process, in pages (proc(5)); "" where there is none."""
    try:
        with open("/proc/self/statm", "rb") as file:    # as text it would need a codec
            return file.read().decode().strip()
    except OSError:
        return ""


def load_averages() -> List[str]:
    """Of the last 1, 5 and 15 minutes; 0.00 where they are not known."""
    try:
        return [f"{load:.2f}" for load in os.getloadavg()]
    except OSError:
        return ["0.00"] * 3


def status_report(status: Mapping[str, Any], statm: str, loads: Sequence[str]) -> Dict[str, Any]:
    """What stands behind "i", with the names and the order of the original."""
    return {
        "version": status["version"],
        "uptime": str(int(status["uptime"])),
        **dict(zip(("l1", "l2", "l3"), loads)),
        "statm": statm,
        "heap": status["memory"],
        "contexts": [context_report(status)],
    }


def context_report(status: Mapping[str, Any]) -> Dict[str, Any]:
    """The server as a context of the original; what has no counterpart here is 0."""
    sockets = status["connections"] + status["listening"]
    traffic = traffic_report(status["traffic"])
    traffic["h2_upg"] = traffic.pop("h2_upg")   # the last of them here, unlike in a vhost
    return {
        "context_uptime": str(int(status["uptime"])),
        "cgi_spawned": str(status["programs"]["started"]),
        "pt_fd_max": str(status["fds_max"]),
        "ah_pool_max": str(status["max_connections"]),
        "deprecated": flag(status["state"] != "serving"),
        "wsi_alive": str(sockets),
        "pt": [{"fds_count": str(sockets), "ah_pool_inuse": "0", "ah_wait_list": "0"}],
        "vhosts": [vhost_report(vhost) for vhost in status["vhosts"]],
        "listen_wsi": str(status["listening"]),
        **traffic,
        "cgi_alive": str(status["programs"]["running"]),
        "lwsws": own_report(status),
    }


def own_report(status: Mapping[str, Any]) -> Dict[str, Any]:
    """What the original has no names for."""
    numbers = {name: str(status[name]) for name in (
        "pid", "generation", "process", "state", "connections", "max_connections", "accepted", "refused",
        "websockets", "memory")}
    return {**numbers, "workers": strings(status["workers"]),
            "processes": [strings(process) for process in status["processes"]]}


def strings(numbers: Mapping[str, Any]) -> Dict[str, str]:
    """The values as strings."""
    return {name: str(value) for name, value in numbers.items()}


def vhost_report(vhost: Mapping[str, Any]) -> Dict[str, Any]:
    """One vhost."""
    return {
        "name": vhost["name"],
        "port": str(vhost["port"]),
        "use_ssl": flag(vhost["tls"]),
        "sts": flag(vhost["sts"]),
        **traffic_report(vhost["traffic"]),
        "mounts": [mount_report(mount) for mount in vhost["mounts"]],
        "ws-protocols": [{name: {"status": "ok"}} for name in vhost["protocols"]],
    }


def mount_report(mount: Mapping[str, Any]) -> Dict[str, str]:
    """One mount; `default` only where there is one."""
    report = {name: str(mount[name]) for name in (
        "mountpoint", "origin", "cache_max_age", "cache_reuse", "cache_revalidate", "cache_intermediaries")}
    if mount["default"]:
        report["default"] = mount["default"]
    return report


def traffic_report(traffic: Mapping[str, int]) -> Dict[str, str]:
    """The counters of a vhost, or of all; there is no HTTP/2 here."""
    return {
        "rx": str(traffic["rx"]),
        "tx": str(traffic["tx"]),
        "h1_conn": str(traffic["connections"]),
        "h1_trans": str(traffic["requests"]),
        "h2_trans": "0",
        "ws_upg": str(traffic["upgrades"]),
        "rejected": str(traffic["rejected"]),
        "h2_upg": "0",
        "h2_alpn": "0",
        "h2_subs": "0",
    }


def flag(is_set: bool) -> str:
    """Yes and no as the original has them."""
    return "1" if is_set else "0"
