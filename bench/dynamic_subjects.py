"""The servers that are compared at what they do not answer by themselves: with a program, and as a proxy.

The program is a shell script of three lines, so what is measured is mostly how it is started.  The origin
behind the proxies is nginx with the files of the run, on the core of the load.  Both proxies keep their
connections to it, and neither writes an answer to the disk.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict

from bench.processes import Cores
from bench.servers import Running
from bench.subjects import CGI, HOST, PROXY, Given, Lighttpd, Lwsws, Nginx

PROGRAMS = "programs"   # the folder of programs within the site
SCRIPT = "hello.cgi"
SCRIPT_TEXT = "#!/bin/sh\necho Content-Type: text/plain\necho\necho hello\n"


def make_program(site: Path) -> None:
    """Write the program into the site."""
    (site / PROGRAMS).mkdir()
    (site / PROGRAMS / SCRIPT).write_text(SCRIPT_TEXT)
    (site / PROGRAMS / SCRIPT).chmod(0o755)


def start_origin(given: Given, scratch: Path, cores: Cores, stack: ExitStack) -> Given:
    """Start the origin; gives `given` with its port.  RuntimeError if it does not come up."""
    beside = Cores(cores.load, cores.load, cores.others)
    origin = stack.enter_context(Running(Nginx(), given, scratch, beside))
    origin.wait_ready()
    return given._replace(origin_port=origin.port)


class LwswsCgi(Lwsws):
    """Ours with a program."""

    kind = CGI

    def vhost(self, given: Given) -> Dict[str, Any]:
        vhost = super().vhost(given)
        program = {"mountpoint": f"/{PROGRAMS}", "origin": f"cgi://{given.site}/{PROGRAMS}"}
        return {**vhost, "mounts": [*vhost["mounts"], program]}


class LighttpdCgi(Lighttpd):
    """lighttpd with mod_cgi."""

    kind = CGI
    more = 'server.modules += ( "mod_cgi" )\ncgi.assign = ( ".cgi" => "" )\n'


class LwswsProxy(Lwsws):
    """Ours in front of the origin."""

    kind = PROXY

    def vhost(self, given: Given) -> Dict[str, Any]:
        mount = {"mountpoint": "/", "origin": f"http://{HOST}:{given.origin_port}/"}
        return {**super().vhost(given), "mounts": [mount]}


NGINX_PROXY = """\
location / {
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_max_temp_file_size 0;
        }"""


class NginxProxy(Nginx):
    """nginx in front of the origin."""

    kind = PROXY

    def around(self, given: Given) -> str:
        return f"upstream origin {{ server {HOST}:{given.origin_port}; keepalive 64; }}"

    def listen(self, port: int, given: Given) -> str:
        return f"{super().listen(port, given)} {NGINX_PROXY}"


DYNAMIC_SERVERS = (LwswsCgi(), LighttpdCgi(), LwswsProxy(), NginxProxy())
