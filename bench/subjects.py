"""The servers that are compared: how each is configured for a port of 127.0.0.1.

There are several kinds of service, and each `Subject` is one server doing one of them: files over
HTTP, the same files over TLS, and a tunnel that carries raw TCP onward; those that speak WebSocket are
in ws_subjects.py, those with programs and origins in dynamic_subjects.py.  All serve the same folder with
the same certificate, keep connections for ever and write no access log.  Different kinds are different
processes, so that the memory and start of one say nothing about another.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
MANY = 20000  # connections that each server must be able to hold

HTTP, TLS, RAW = "http", "tls", "raw"
CGI, PROXY = "cgi", "proxy"  # answers of a program, and of an origin
WS, MIRROR = "ws", "mirror"  # WebSockets: an echo, and each message to all


def find(program: str) -> Optional[str]:
    """The path of `program`; daemons may lie outside a user's PATH."""
    return shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin")


class Given(NamedTuple):
    """What all servers of a run are given: the files, the certificate, and where tunnels lead."""

    folder: Path
    far_end: socket.socket  # listening; the benchmark itself accepts what comes through a tunnel
    origin_port: int = 0    # of the server behind the proxies, where there are any

    @property
    def site(self) -> Path:
        """The folder that is served."""
        return self.folder / "site"

    @property
    def certificate(self) -> Path:
        """The certificate (PEM); there is one only where it is needed."""
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        """The key of the certificate (PEM)."""
        return self.folder / "key.pem"

    @property
    def ws_client(self) -> Path:
        """The load client for WebSockets; it is made only where it is needed."""
        return self.folder / "wsload"

    @property
    def far_port(self) -> int:
        """The port that tunnels lead to."""
        return int(self.far_end.getsockname()[1])


class Subject:
    """One kind of service of one server."""

    name = ""
    kind = HTTP
    keeps_connections = True  # false: rows that need kept or pipelined connections leave it out

    def missing(self) -> str:
        """Why it cannot be measured here; "" if it can."""
        return "" if find(self.name) else f"{self.name} is not installed"

    def command(self, port: int, given: Given, folder: Path) -> List[str]:
        """Write what it needs into `folder` and give the command that serves on `port`."""
        raise NotImplementedError


class Lwsws(Subject):
    """Ours, from this checkout."""

    name = "lwsws"

    def missing(self) -> str:
        return "" if (ROOT / "lwsws.py").exists() else "there is no lwsws.py"

    def vhost(self, given: Given) -> Dict[str, Any]:
        """The keys of the vhost beside name and address."""
        mount = {
            "mountpoint": "/",
            "origin": f"file://{given.site}",
            "default": "index.html",
            "extra-mimetypes": {".bin": "application/octet-stream"},
        }
        return {"keeplive-timeout": 600, "mounts": [mount]}

    def command(self, port: int, given: Given, folder: Path) -> List[str]:
        vhost = {"name": "localhost", "port": port, "interface": HOST, **self.vhost(given)}
        (folder / "conf.d").mkdir()
        (folder / "conf").write_text(json.dumps({"global": {"server-string": "lwsws"}}))
        (folder / "conf.d" / "bench").write_text(json.dumps({"vhosts": [vhost]}))
        return [sys.executable, str(ROOT / "lwsws.py"), "-c", str(folder), "-d", "warn"]


class LwswsTls(Lwsws):
    """Ours with a certificate."""

    kind = TLS

    def vhost(self, given: Given) -> Dict[str, Any]:
        pair = {"host-ssl-cert": str(given.certificate), "host-ssl-key": str(given.key)}
        return {**super().vhost(given), **pair}


class LwswsRaw(Lwsws):
    """Our raw-proxy."""

    kind = RAW

    def vhost(self, given: Given) -> Dict[str, Any]:
        return {
            "listen-accept-role": "raw-proxy",
            "listen-accept-protocol": "raw-proxy",
            "apply-listen-accept": "1",
            "ws-protocols": [{"raw-proxy": {"onward": f"ipv4:{HOST}:{given.far_port}"}}],
        }


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
    AROUND
    server {
        LISTEN
        root SITE;
    }
}
"""


class Nginx(Subject):
    """nginx with one worker."""

    name = "nginx"

    def around(self, given: Given) -> str:
        """What stands beside the server in the configuration."""
        return ""

    def listen(self, port: int, given: Given) -> str:
        """The lines of the configuration that open the port."""
        return f"listen {HOST}:{port};"

    def command(self, port: int, given: Given, folder: Path) -> List[str]:
        # As root its worker would become a user who may not read the site.
        user = "user root;" if os.getuid() == 0 else ""
        config = NGINX_CONFIG.replace("FOLDER", str(folder)).replace("MANY", str(MANY)).replace("USER", user)
        config = config.replace("LISTEN", self.listen(port, given)).replace("SITE", str(given.site))
        config = config.replace("AROUND", self.around(given))
        (folder / "nginx.conf").write_text(config)
        return [find("nginx") or "nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


class NginxTls(Nginx):
    """nginx with a certificate; sessions and tickets as it comes."""

    kind = TLS

    def listen(self, port: int, given: Given) -> str:
        pair = f"ssl_certificate {given.certificate}; ssl_certificate_key {given.key};"
        return f"listen {HOST}:{port} ssl; {pair} ssl_protocols TLSv1.2 TLSv1.3;"


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
    more = ""   # of the configuration

    def command(self, port: int, given: Given, folder: Path) -> List[str]:
        config = LIGHTTPD_CONFIG.replace("FOLDER", str(folder)).replace("MANY", str(MANY))
        config = config.replace("PORT", str(port)).replace("SITE", str(given.site))
        (folder / "lighttpd.conf").write_text(config + self.more)
        return [find("lighttpd") or "lighttpd", "-D", "-f", str(folder / "lighttpd.conf")]


class HttpServer(Subject):
    """The standard library's own, as `python3 -m http.server` starts it: HTTP/1.0, a thread a client."""

    name = "http.server"
    keeps_connections = False

    def missing(self) -> str:
        return ""

    def command(self, port: int, given: Given, folder: Path) -> List[str]:
        listen = ["--bind", HOST, "--directory", str(given.site), str(port)]
        return [sys.executable, "-m", "http.server", *listen]


HAPROXY_CONFIG = """\
global
    nbthread 1
defaults
    mode tcp
    timeout connect 10s
    timeout client 600s
    timeout server 600s
listen tunnel
    bind HOST:PORT
    server far HOST:FAR
"""


class Haproxy(Subject):
    """haproxy as it comes, a tunnel with one thread."""

    name = "haproxy"
    kind = RAW

    def command(self, port: int, given: Given, folder: Path) -> List[str]:
        config = HAPROXY_CONFIG.replace("HOST", HOST).replace("PORT", str(port))
        (folder / "haproxy.cfg").write_text(config.replace("FAR", str(given.far_port)))
        return [find("haproxy") or "haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


SERVERS = (Lwsws(), Nginx(), Lighttpd(), HttpServer(), LwswsTls(), NginxTls(), LwswsRaw(), Haproxy())
