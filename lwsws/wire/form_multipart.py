"""Forms as multipart/form-data, the way in which files are sent (RFC 7578, RFC 2046 5.1).

    preamble            CRLF--boundary CRLF      (at the very beginning without the CRLF in front)
    header fields       CRLF
    data                CRLF--boundary CRLF      ... and so on for each part
    data                CRLF--boundary--         epilogue

    PREAMBLE --> LINE --> HEAD --Part--> DATA --PartData--> ... --PartEnd--> LINE ... --> EPILOGUE --FormEnd

The data of a part ends at the first delimiter, CRLF "--" boundary, wherever the bytes were cut.  It holds
one CR only, so of all that was received only what follows the last CR can be the beginning of one: that is
held back, the rest goes out, and no byte is searched more often than the delimiter is long.

Strict where all browsers and clients do alike: each part is form-data and has one name, each line of its
header ends in CRLF, and nothing stands behind a boundary in its line.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Callable, Dict, List, Optional, Tuple

from lwsws.wire.errors import RemoteProtocolError, excerpt
from lwsws.wire.form_parts import (
    DEFAULT_LIMITS,
    FORM_END,
    PART_END,
    FormError,
    FormEvent,
    FormIncomplete,
    FormLimits,
    FormReader,
    Part,
    PartData,
)
from lwsws.wire.headers import Headers
from lwsws.wire.http1_fields import parse_fields
from lwsws.wire.parameters import parse_parameters

# RFC 2046 5.1.1: 1 to 70 of these characters, of which the last is no space.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")

# What follows the boundary in its line.  RFC 2046 5.1.1: transport padding may be added on the way, and
# must be accepted; nobody has seen any, so it need not be long.
_MAX_LINE = 80
_OPENING = re.compile(rb"[\t ]*\r\n")
_CLOSING = re.compile(rb"--[\t ]*\r\n")
_CLOSING_AT_END = re.compile(rb"--[\t ]*\r?")

_HEAD_END = b"\r\n\r\n"
_EMPTY_LINE = 2

# RFC 7578 4.7: deprecated, not to be sent.  These leave the data as it is.
_IDENTITY_ENCODINGS = ("7bit", "8bit", "binary")

# Controls, and what turns the direction of text around or hides in it (UTS #39, RFC 9839).
_UNSEEN = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_SLASHES = re.compile(r"[/\\]")


class State(Enum):
    """What comes next."""

    PREAMBLE = "preamble"
    LINE = "rest of a boundary line"
    HEAD = "head of a part"
    DATA = "data of a part"
    EPILOGUE = "epilogue"


class MultipartReader(FormReader):
    """Reads one form."""

    __slots__ = ("_around", "_delimiter", "_is_file", "_scanned", "_skip", "_state")

    def __init__(self, boundary: str, limits: FormLimits = DEFAULT_LIMITS) -> None:
        """`boundary` is the parameter of the Content-Type; FormError 400 if it is none."""
        super().__init__(limits)
        if _BOUNDARY.fullmatch(boundary) is None:
            raise FormError(400, f"{excerpt(boundary)} is no boundary of a multipart body")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._state = State.PREAMBLE
        # RFC 2046 5.1.1: the CRLF belongs to the boundary; the first one has none if nothing is before it.
        self._buffer += b"\r\n"
        self._around = 0  # bytes of preamble or epilogue
        self._scanned = 0  # of a head: its end does not begin in so many bytes
        self._skip = 0  # so many bytes in front of the data are none
        self._is_file = False

    def _read(self) -> Optional[FormEvent]:
        return _READERS[self._state](self)

    def _find_delimiter(self) -> Tuple[int, bool]:
        """How much of the buffer is in front of the next delimiter, or may be; and whether it is there."""
        buffer, delimiter = self._buffer, self._delimiter
        end = buffer.find(delimiter)
        if end >= 0:
            return end, True
        begun = buffer.rfind(b"\r", max(0, len(buffer) - len(delimiter) + 1))
        if begun >= 0 and delimiter.startswith(buffer[begun:]):
            return begun, False
        return len(buffer), False

    def _read_preamble(self) -> Optional[FormEvent]:
        # RFC 2046 5.1.1: implementations must ignore what stands before the first boundary ...
        end, found = self._find_delimiter()
        self._drop_around(end)
        if not found:
            return self._need_more("without any boundary")
        del self._buffer[: len(self._delimiter)]
        self._state = State.LINE
        return self._read_line()

    def _read_line(self) -> Optional[FormEvent]:
        buffer = self._buffer
        size = buffer.find(b"\n", 0, _MAX_LINE) + 1
        if not size and len(buffer) < _MAX_LINE:
            if self._eof and _CLOSING_AT_END.fullmatch(buffer) is not None:
                size = len(buffer)
            else:
                return self._need_more("in the line of a boundary")
        line = bytes(buffer[:size])
        del buffer[:size]
        if _OPENING.fullmatch(line) is not None:
            self._state = State.HEAD
            return self._read_head()
        if _CLOSING.fullmatch(line) is None and _CLOSING_AT_END.fullmatch(line) is None:
            raise FormError(400, "something follows a boundary in its line")
        self._state = State.EPILOGUE
        self._around = 0
        return self._read_epilogue()

    def _read_head(self) -> Optional[FormEvent]:
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):
            raise FormError(400, "a part of the form has no header")
        end = buffer.find(_HEAD_END, self._scanned)
        size = len(buffer) if end < 0 else end + len(_HEAD_END)
        if size > self._limits.part_head:
            raise FormError(413, f"the header of a part is over {self._limits.part_head} bytes")
        if end < 0:
            self._scanned = max(0, size - len(_HEAD_END) + 1)
            return self._need_more("in the header of a part")
        head = bytes(buffer[: end + 2]).decode("latin-1")
        # RFC 2046 5.1.1: a part may have header fields and nothing else.  Then there is no empty line, and
        # the CRLF that looks like one belongs to the boundary.
        del buffer[: end + 2]
        self._skip = _EMPTY_LINE
        self._scanned = 0
        part = self._begin(parse_part(head))
        self._is_file = part.filename is not None
        self._state = State.DATA
        return part

    def _read_data(self) -> Optional[FormEvent]:
        end, found = self._find_delimiter()
        begin = self._skip
        if end > begin:
            data = bytes(self._buffer[begin:end])
            del self._buffer[:end]
            self._skip = 0
            return PartData(data) if self._is_file else self._value(data)
        if not found:
            return self._need_more("in the data of a part")
        del self._buffer[: end + len(self._delimiter)]
        self._skip = 0
        self._state = State.LINE
        return PART_END

    def _read_epilogue(self) -> Optional[FormEvent]:
        # ... and after the last one.
        self._drop_around(len(self._buffer))
        return FORM_END if self._eof else None

    def _drop_around(self, size: int) -> None:
        self._around += size
        if self._around > self._limits.around:
            raise FormError(400, f"over {self._limits.around} bytes are outside of the parts of the form")
        del self._buffer[:size]

    def _need_more(self, where: str) -> Optional[FormEvent]:
        if self._eof:
            raise FormIncomplete(400, f"the body of the form ends {where}")
        return None


_READERS: Dict[State, Callable[[MultipartReader], Optional[FormEvent]]] = {
    State.PREAMBLE: MultipartReader._read_preamble,
    State.LINE: MultipartReader._read_line,
    State.HEAD: MultipartReader._read_head,
    State.DATA: MultipartReader._read_data,
    State.EPILOGUE: MultipartReader._read_epilogue,
}


def parse_part(head: str) -> Part:
    """The part with these header lines (latin-1); FormError 400 if it is none of a form (RFC 7578 4.2)."""
    try:
        headers = Headers(parse_fields(head, 0, head.count("\n")))
    except RemoteProtocolError as error:
        raise FormError(error.status, f"in the header of a part: {error.why}") from None
    dispositions = headers.all("content-disposition")
    if len(dispositions) != 1:
        raise FormError(400, "a part of the form does not have exactly one Content-Disposition")
    try:
        kind, parameters = parse_parameters(dispositions[0])
    except ValueError as error:
        raise FormError(400, f"in a Content-Disposition: {error}") from None
    if kind != "form-data" or "name" not in parameters:
        raise FormError(400, "a part of the form is not form-data with a name")
    # RFC 7578 4.2: the form with "*" must not be used, so what it would mean is anybody's guess.
    if "filename*" in parameters or "name*" in parameters:
        raise FormError(400, "a form has no names with a *")
    encoding = headers.get("content-transfer-encoding")
    if encoding is not None and encoding.lower() not in _IDENTITY_ENCODINGS:
        raise FormError(400, f"the Content-Transfer-Encoding {excerpt(encoding)} is not supported")
    filename = parameters.get("filename")
    return Part(
        _text(parameters["name"]),
        None if filename is None else base_name(_text(filename)),
        headers.get("content-type") or "",
    )


def _text(octets: str) -> str:
    """What latin-1 text means as UTF-8 (RFC 7578 5.1.2)."""
    return octets.encode("latin-1").decode("utf-8", "replace")


def base_name(filename: str) -> str:
    """What is left of a client's name for a file: the last component, in either manner of writing paths,
    without what cannot be seen; "" for "." and ".." (RFC 7578 4.2: not to be used blindly)."""
    components: List[str] = _SLASHES.split(_UNSEEN.sub("", filename))
    name = components[-1].strip()
    return "" if name in (".", "..") else name
