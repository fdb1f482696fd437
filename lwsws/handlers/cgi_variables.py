"""The environment of a CGI program (RFC 3875 4.1), made from a list of what may be in it (LESSONS 3.21).

Nothing of the server's own environment is passed on.  Beside the variables of RFC 3875 there are those that
programs have come to expect (REQUEST_URI, SCRIPT_FILENAME, HTTPS, REDIRECT_STATUS), and SCRIPT_PATH, which
the original has.  The `cgi-env` of the mount comes last and wins.

Values are bytes.  What came in the head of the request goes out as it came; paths are UTF-8.
"""

from __future__ import annotations

from typing import Dict, Mapping, Optional

from lwsws.config.model import MountConfig
from lwsws.core.exchange import Exchange
from lwsws.core.peers import peer_name
from lwsws.handlers.cgi_program import Script
from lwsws.wire.cgi import http_variables

# As in the original.
PATH = "/bin:/usr/bin:/usr/local/bin:/var/www/cgi-bin"

HTTP_PORT, HTTPS_PORT = 80, 443


class Variables:
    """Makes the environments for one mount."""

    def __init__(self, mount: MountConfig, software: str, port: int) -> None:
        """`port` is for connections that have none."""
        self._software = software
        self._port = port
        # Where we ask for passwords ourselves, they are nobody else's business (RFC 3875 4.1.18).
        self._passes_passwords = not mount.basic_auth
        self._extra = [(encode(name), encode(value)) for name, value in mount.cgi_env]

    def make(self, exchange: Exchange, script: Script, length: Optional[int]) -> Mapping[bytes, bytes]:
        """The environment in which `script` answers `exchange`, whose body has `length` bytes, None for no
        body."""
        raw = self._raw_variables(exchange, length)
        environment = {name.encode("latin-1"): value.encode("latin-1") for name, value in raw.items()}
        environment.update(self._local_variables(exchange, script))
        environment.update(self._extra)
        return environment

    def _raw_variables(self, exchange: Exchange, length: Optional[int]) -> Dict[str, str]:
        """What the request's head holds, as latin-1 text of its bytes."""
        request = exchange.request
        headers = request.headers
        variables = http_variables(headers.items)
        if request.host:
            # RFC 9112 3.2.2: that of an absolute target wins.
            variables["HTTP_HOST"] = request.host
        authorization = headers.get("authorization")
        if authorization is not None and self._passes_passwords:
            variables["HTTP_AUTHORIZATION"] = authorization
        if length is not None:
            variables["CONTENT_LENGTH"] = str(length)
        content_type = headers.get("content-type")
        if content_type is not None:
            variables["CONTENT_TYPE"] = content_type
        variables["GATEWAY_INTERFACE"] = "CGI/1.1"
        variables["SERVER_PROTOCOL"] = f"HTTP/{request.version}"
        variables["REQUEST_METHOD"] = request.method
        variables["REQUEST_URI"] = path_and_query(exchange)
        # RFC 3875 4.1.7: as it was sent, and "" without one.
        variables["QUERY_STRING"] = request.query or ""
        return variables

    def _local_variables(self, exchange: Exchange, script: Script) -> Dict[bytes, bytes]:
        address, port = exchange.local_address
        variables = {
            "SERVER_SOFTWARE": self._software,
            # RFC 3875 4.1.14: the host of the request; the vhost answers for others than its own name.
            "SERVER_NAME": exchange.request.host_name or exchange.vhost.name,
            "SERVER_ADDR": address,
            "SERVER_PORT": str(port or self._port or (HTTPS_PORT if exchange.secure else HTTP_PORT)),
            "REQUEST_SCHEME": "https" if exchange.secure else "http",
            "SCRIPT_NAME": script.name,
            "SCRIPT_FILENAME": script.path,
            "SCRIPT_PATH": script.path,
            "PATH_INFO": script.info,
            "REMOTE_ADDR": exchange.peer,
            # Without it php-cgi takes itself for called directly, past the server's rules.
            "REDIRECT_STATUS": "200",
            "PATH": PATH,
        }
        peer = exchange.conn.transport.peer
        # Of a client that was announced by a load balancer, the port is not known.
        if isinstance(peer, tuple) and peer_name(peer) == exchange.peer:
            variables["REMOTE_PORT"] = str(peer[1])
        if exchange.secure:
            variables["HTTPS"] = "on"
        if exchange.user is not None:
            variables["REMOTE_USER"] = exchange.user
            variables["AUTH_TYPE"] = "Basic"
        return {encode(name): encode(value) for name, value in variables.items()}


def path_and_query(exchange: Exchange) -> str:
    """The target as the client has sent it, without a host in front."""
    asked = exchange.asked
    if asked.form != "absolute":
        return asked.target
    path = asked.target.partition("://")[2]
    start = min((path.find(mark) for mark in "/?" if mark in path), default=len(path))
    path = path[start:]
    return path if path.startswith("/") else "/" + path


def encode(text: str) -> bytes:
    """The bytes of text that came from a path or a configuration."""
    return text.encode("utf-8", "surrogateescape")
