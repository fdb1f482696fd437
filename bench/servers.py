"""The servers that are compared: how each is configured and started on a port of 127.0.0.1.

All serve the same folder, keep connections for ever and write no access log.  A `Subject` is a
kind of server; `Running` is one started process tree of it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Dict, List, Optional, Type

from bench import processes

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
READY_SECONDS = 15.0
POLL_SECONDS = 0.0005
MANY = 20000  # connections that each server must be able to hold


def find(program: str) -> Optional[str]:
    """The path of `program`; daemons may lie outside a user's PATH."""
    return shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin")


class Subject:
    """One kind of server."""

    name = ""
    keeps_connections = True  # false: rows that need kept or pipelined connections leave it out

    def missing(self) -> str:
        """Why it cannot be measured here; "" if it can."""
        return "" if find(self.name) else f"{self.name} is not installed"

    def command(self, port: int, site: Path, folder: Path) -> List[str]:
        """Write what it needs into `folder` and give the command that serves `site` on `port`."""
        raise NotImplementedError


class Lwsws(Subject):
    """Ours, from this checkout."""

    name = "lwsws"

    def missing(self) -> str:
        return "" if (ROOT / "lwsws.py").exists() else "there is no lwsws.py"

    def command(self, port: int, site: Path, folder: Path) -> List[str]:
        mount = {
            "mountpoint": "/",
            "origin": f"file://{site}",
            "default": "index.html",
            "extra-mimetypes": {".bin": "application/octet-stream"},
        }
        vhost = {
            "name": "localhost",
            "port": port,
            "interface": HOST,
            "keeplive-timeout": 600,
            "mounts": [mount],
        }
        (folder / "conf.d").mkdir()
        (folder / "conf").write_text(json.dumps({"global": {"server-string": "lwsws"}}))
        (folder / "conf.d" / "bench").write_text(json.dumps({"vhosts": [vhost]}))
        return [sys.executable, str(ROOT / "lwsws.py"), "-c", str(folder), "-d", "warn"]


NGINX_CONFIG = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile MANY;
pid FOLDER/pid;
error_log FOLDER/error.log;
USER
events { worker_connections MANY; }
http {
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    types { text/html html; image/png png; application/octet-stream bin; }
    server {
        listen 127.0.0.1:PORT;
        root SITE;
    }
}
"""


class Nginx(Subject):
    """nginx with one worker."""

    name = "nginx"

    def command(self, port: int, site: Path, folder: Path) -> List[str]:
        # As root its worker would become a user who may not read the site.
        user = "user root;" if os.getuid() == 0 else ""
        config = NGINX_CONFIG.replace("FOLDER", str(folder)).replace("MANY", str(MANY)).replace("USER", user)
        config = config.replace("PORT", str(port)).replace("SITE", str(site))
        (folder / "nginx.conf").write_text(config)
        return [find("nginx") or "nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


LIGHTTPD_CONFIG = """\
server.document-root = "SITE"
server.bind = "127.0.0.1"
server.port = PORT
server.errorlog = "FOLDER/error.log"
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = 600
server.max-fds = MANY
server.max-connections = MANY
index-file.names = ( "index.html" )
mimetype.assign = ( ".html" => "text/html", ".png" => "image/png", "" => "application/octet-stream" )
"""


class Lighttpd(Subject):
    """lighttpd as it comes: one process."""

    name = "lighttpd"

    def command(self, port: int, site: Path, folder: Path) -> List[str]:
        config = LIGHTTPD_CONFIG.replace("FOLDER", str(folder)).replace("MANY", str(MANY))
        (folder / "lighttpd.conf").write_text(config.replace("PORT", str(port)).replace("SITE", str(site)))
        return [find("lighttpd") or "lighttpd", "-D", "-f", str(folder / "lighttpd.conf")]


class HttpServer(Subject):
    """The standard library's own, as `python3 -m http.server` starts it: HTTP/1.0, a thread a client."""

    name = "http.server"
    keeps_connections = False

    def missing(self) -> str:
        return ""

    def command(self, port: int, site: Path, folder: Path) -> List[str]:
        return [sys.executable, "-m", "http.server", "--bind", HOST, "--directory", str(site), str(port)]


ALL = (Lwsws(), Nginx(), Lighttpd(), HttpServer())
SUBJECTS: Dict[str, Subject] = {subject.name: subject for subject in ALL}


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


class Running:
    """One started server; a context manager that ends it."""

    def __init__(self, subject: Subject, site: Path, scratch: Path, cores: processes.Cores) -> None:
        self.subject = subject
        self.name = subject.name
        self.port = free_port()
        self.cores = cores
        self.scratch = scratch
        folder = scratch / f"{subject.name}-{self.port}"
        folder.mkdir()
        self._log = folder / "output"
        command = subject.command(self.port, site, folder)
        self.started = time.perf_counter()
        self._process = processes.start(command, cores.server, self._log, cwd=folder)

    def wait_ready(self, path: str = "/index.html") -> float:
        """Seconds from the start of the process to the end of its first good answer."""
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        while True:
            try:
                with socket.create_connection((HOST, self.port), READY_SECONDS) as sock:
                    sock.sendall(request)
                    answer = sock.recv(4096)
                if b" 200 " in answer[:16]:
                    return time.perf_counter() - self.started
            except OSError:
                pass
            gone = self._process.poll() is not None
            if gone or time.perf_counter() - self.started > READY_SECONDS:
                self.stop()
                raise RuntimeError(f"{self.name} does not answer:\n{self._log.read_text('utf-8', 'replace')}")
            time.sleep(POLL_SECONDS)

    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        return processes.cpu_seconds(processes.tree(self._process.pid))

    def resident_bytes(self) -> int:
        """Resident memory now."""
        return processes.resident_bytes(processes.tree(self._process.pid))

    def stop(self) -> None:
        """End it."""
        processes.stop(self._process)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        fault: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()
