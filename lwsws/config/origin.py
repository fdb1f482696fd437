"""The `origin` of a mount: what stands behind a part of the URL space.

    file:///var/www          files below a directory        kind "file"
    >https://other.example   a redirect, also written ^     kind "redirect"
    http://10.0.0.2:8080/    another server, proxied        kind "proxy"
    http://+/run/app.sock:/  the same over a unix socket    kind "proxy"
    cgi:///usr/lib/cgit.cgi  a program                      kind "cgi"
    callback://name          a protocol plugin              kind "callback"
    gzip:///var/www          as the original names it       kind "gzip"

`parse_origin` refuses what could never work; `doubt` names what works but is hardly meant.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Tuple

KINDS = {"file": "file", "http": "proxy", "https": "proxy", "cgi": "cgi", "callback": "callback",
         "gzip": "gzip"}
REDIRECT_SCHEMES = ("http", "https")
DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_PORT = 65535

# Patterns that few configurations need are left uncompiled until they are used: it is start-up time.
_CONTROL = r"[\x00-\x1f\x7f]"
_HOST = r"[A-Za-z0-9._~-]+"
_IPV6_LITERAL = r"\[[0-9A-Fa-f:.]+\]"
_NOT_URL = r"[^!-~]"


class Origin(NamedTuple):
    """A parsed origin.

    `target` is the path of file, cgi and gzip, the whole URL of redirect and proxy, the name of
    callback.  `host` (lower case, IPv6 without brackets) belongs to redirect and proxy.  The rest is
    for proxy: `port`, `location` (the path), and `socket` (of a unix socket, "@name" an abstract one).
    """

    kind: str
    scheme: str
    target: str
    host: str = ""
    port: int = 0
    location: str = ""
    socket: str = ""

    @property
    def text(self) -> str:
        """The origin as a configuration file would have it."""
        if self.kind == "redirect":
            return ">" + self.target
        return self.target if self.kind == "proxy" else f"{self.scheme}://{self.target}"


def has_control(text: str) -> bool:
    """Whether `text` holds a control character (C0 or DEL)."""
    return not text.isprintable() and re.search(_CONTROL, text) is not None


def parse_origin(text: str) -> Origin:
    """The origin that `text` describes; ValueError with a sentence for the administrator if none."""
    if has_control(text):
        raise ValueError("an origin must not hold control characters")
    is_redirect = text[:1] in (">", "^")
    scheme, separator, rest = text[is_redirect:].partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in KINDS or (is_redirect and scheme not in REDIRECT_SCHEMES):
        raise ValueError(_unsupported(text, is_redirect, bool(separator)))
    if is_redirect:
        return _redirect(scheme, rest)
    if KINDS[scheme] == "proxy":
        return _proxy(scheme, rest)
    if not rest:
        what = "the name of a protocol" if scheme == "callback" else "a path"
        raise ValueError(f'{what} is missing after "{scheme}://"')
    return Origin(KINDS[scheme], scheme, rest)


def doubt(origin: Origin) -> str:
    """What is odd about an origin that can be used all the same; "" for most."""
    if origin.kind == "redirect" and not origin.host:
        return f'"{origin.text}" names no host to go to: write ">{origin.scheme}://host/path"'
    if origin.kind in ("file", "cgi", "gzip") and not origin.target.startswith("/"):
        return (f'"{origin.text}" is relative to the directory that lwsws is started in; '
                f'a full path has three slashes, "{origin.scheme}:///{origin.target.lstrip("./")}"')
    if origin.kind == "proxy" and ("?" in origin.target or "#" in origin.target):
        return f'what follows "?" or "#" in "{origin.text}" is not used: the query is that of the request'
    return ""


def _unsupported(text: str, is_redirect: bool, has_scheme: bool) -> str:
    """Why `text` is no origin, with the most likely right one."""
    reason = f'unsupported protocol:// in the origin "{text}"'
    if is_redirect:
        return f'{reason}: a redirect is ">http://host/path" or ">https://host/path"'
    if not has_scheme and text.startswith("/"):
        return f'{reason}: for files write "file://{text}", for a program "cgi://{text}"'
    return f"{reason}: write file://, >http://, >https://, http://, https://, cgi:// or callback://"


def _redirect(scheme: str, rest: str) -> Origin:
    """`rest` follows "://"; kept as it is but for what a Location field cannot carry."""
    authority, _ = _split_authority(rest)
    host = authority.rpartition("@")[2]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return Origin("redirect", scheme, f"{scheme}://{_url_text(rest)}", host.lower())


def _proxy(scheme: str, rest: str) -> Origin:
    if rest.startswith("+"):
        socket, _, location = rest[1:].partition(":")
        if socket[:1] not in ("/", "@") or len(socket) < 2:
            raise ValueError(f'a unix socket origin is "{scheme}://+/path/of/socket:/path", with a full path')
        host, port = "localhost", 0
    else:
        authority, location = _split_authority(rest)
        host, port = _host_and_port(authority, DEFAULT_PORTS[scheme])
        socket = ""
    location = _url_text(re.split("[?#]", location, maxsplit=1)[0])
    if not location.startswith("/"):
        location = "/" + location
    return Origin("proxy", scheme, f"{scheme}://{rest}", host, port, location, socket)


def _split_authority(rest: str) -> Tuple[str, str]:
    """The host part of a URL after "://", and what follows it (RFC 3986 3.2)."""
    end = len(rest)
    for mark in "/?#":
        found = rest.find(mark, 0, end)
        if found >= 0:
            end = found
    return rest[:end], rest[end:]


def _host_and_port(authority: str, default_port: int) -> Tuple[str, int]:
    if "@" in authority:
        raise ValueError("an origin cannot carry a user name or password before its host")
    literal = re.match(_IPV6_LITERAL, authority)
    host = literal.group() if literal else authority.partition(":")[0]
    port = authority[len(host):]
    if not host:
        raise ValueError('the origin has no host: write "http://host/path"')
    if not literal and not re.fullmatch(_HOST, host):
        raise ValueError(f'"{host}" is not a host name or address')
    if host.lower() == "unix" and port == ":":
        raise ValueError('for a unix socket write "http://+/path/of/socket:/path"')
    if port in ("", ":"):
        return host.strip("[]").lower(), default_port
    if not re.fullmatch(":[0-9]{1,5}", port) or not 1 <= int(port[1:]) <= MAX_PORT:
        raise ValueError(f'"{port[1:]}" is not a port: a number from 1 to {MAX_PORT} follows the colon')
    return host.strip("[]").lower(), int(port[1:])


def _url_text(text: str) -> str:
    """`text` with blanks and characters beyond ASCII percent-encoded; "%" itself stays (RFC 3986 2.1)."""
    return re.sub(_NOT_URL, _percent, text)


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match.group().encode("utf-8", "surrogateescape"))
