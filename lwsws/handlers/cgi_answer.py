"""From what a CGI program has written to its answer, part by part.

Most answers are short, and come in one part: they go out in one piece, with a Content-Length even where the
program has sent none.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional

from lwsws.core.exchange import Exchange
from lwsws.wire.cgi import CgiHead, CgiReader
from lwsws.wire.http1_request import Data


class Part(NamedTuple):
    """A part of an answer: the head, if it is the first one, and a piece of the body."""

    head: Optional[CgiHead]
    body: bytes
    is_last: bool


def take_part(reader: CgiReader) -> Part:
    """All that `reader` has; RemoteProtocolError for a fault of the program."""
    head: Optional[CgiHead] = None
    pieces: List[bytes] = []
    is_last = False
    for event in iter(reader.next_event, None):
        if isinstance(event, CgiHead):
            head = event
        elif isinstance(event, Data):
            pieces.append(event.data)
        else:
            is_last = True
    return Part(head, b"".join(pieces), is_last)


def send_part(exchange: Exchange, part: Part) -> None:
    """Send it; the fields of the configuration replace those of the program."""
    head, body, is_last = part
    if head is None:
        exchange.write(body)
    else:
        replaced = exchange.headers.names
        fields = [field for field in head.fields if field[0].lower() not in replaced]
        if is_last and exchange.request.method != "HEAD":
            exchange.respond(head.status, fields, body, head.reason)
            return
        exchange.start(head.status, fields, head.length, more=body != b"", reason=head.reason)
        exchange.write(body)
    if is_last:
        exchange.finish()
