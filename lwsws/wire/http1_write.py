"""HTTP/1.1 responses to bytes: the head, the status phrases, and the framing of chunks.

Writers are plain functions from values to bytes.  Whatever ends up in a head may stem from a script,
an upstream server or a configuration file, so no control character gets through: a CR LF smuggled
into a value would begin a field, or a whole response, of somebody else's making.

The check is one count over the finished head instead of one pattern for each field: a head of N lines
holds exactly 2 N control characters, the CR LF pairs that were put there on purpose.
"""

from __future__ import annotations

from typing import Dict, Optional, Sequence, Tuple

from lwsws.wire.errors import LocalProtocolError, excerpt

# RFC 9110 15, RFC 6585, RFC 8297, RFC 7725 and the WebDAV codes that scripts use.
REASONS: Dict[int, str] = {
    100: "Continue",
    101: "Switching Protocols",
    103: "Early Hints",
    200: "OK",
    201: "Created",
    202: "Accepted",
    203: "Non-Authoritative Information",
    204: "No Content",
    205: "Reset Content",
    206: "Partial Content",
    207: "Multi-Status",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    305: "Use Proxy",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    423: "Locked",
    424: "Failed Dependency",
    425: "Too Early",
    426: "Upgrade Required",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    451: "Unavailable For Legal Reasons",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
    507: "Insufficient Storage",
    508: "Loop Detected",
    511: "Network Authentication Required",
}

# RFC 9112 7.1: the chunk of size zero and an empty trailer section.
LAST_CHUNK = b"0\r\n\r\n"

# All that RFC 9110 5.5 forbids in a value, CR and LF included; HTAB is no fault.
_CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code != 0x09)

_STATUS_LINES = {code: f"HTTP/1.1 {code} {reason}\r\n".encode("ascii") for code, reason in REASONS.items()}


def response_head(
    status: int, fields: Sequence[Tuple[str, str]], fixed: bytes = b"", reason: Optional[str] = None
) -> bytes:
    """The head of a response, up to and with the empty line.

    `fixed` goes in front of `fields` as it is: lines that `fixed_fields` made.  `reason` None means the
    usual phrase of the status.  LocalProtocolError on control characters and on text beyond latin-1.
    """
    line = _STATUS_LINES.get(status) if reason is None else None
    if line is None:
        line = _status_line(status, reason)
    return line + fixed + fixed_fields(fields) + b"\r\n"


def fixed_fields(fields: Sequence[Tuple[str, str]]) -> bytes:
    """The field lines as bytes, checked, to be made once and used in many heads.

    Only the controls are looked at here: that a name is a token is for `headers.check_field` to find,
    where names come from outside.
    """
    try:
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields]).encode("latin-1")
    except UnicodeEncodeError:
        raise LocalProtocolError("a header field holds a character beyond latin-1") from None
    if len(lines) - len(lines.translate(None, _CONTROLS)) != 2 * len(fields):
        raise LocalProtocolError(f"a control character in one of the header fields {_names(fields)}")
    return lines


def chunk(data: bytes) -> bytes:
    """`data` as one chunk; nothing for no data, since a chunk of size zero would end the body."""
    if not data:
        return b""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _status_line(status: int, reason: Optional[str]) -> bytes:
    """The status line of an uncommon status, or with a phrase of its own."""
    # RFC 9110 15: three digits, and a first digit from 1 to 5 says what it means.
    if not 100 <= status <= 599:
        raise LocalProtocolError(f"{status} is no status code")
    phrase = REASONS.get(status, "") if reason is None else reason
    # RFC 9112 4: the space is there even if the phrase is empty.
    try:
        line = f"HTTP/1.1 {status} {phrase}".encode("latin-1")
    except UnicodeEncodeError:
        raise LocalProtocolError("the status phrase holds a character beyond latin-1") from None
    if len(line) != len(line.translate(None, _CONTROLS)):
        raise LocalProtocolError(f"a control character in the status phrase {excerpt(phrase)}")
    return line + b"\r\n"


def _names(fields: Sequence[Tuple[str, str]]) -> str:
    return ", ".join(excerpt(name) for name, _ in fields)
