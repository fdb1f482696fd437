"""What the reader of CGI output makes of bytes: everything that it gives out, gathered for comparing."""

from __future__ import annotations

from typing import Iterable, NamedTuple, Optional

from lwsws.wire.cgi import CgiHead, CgiReader
from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.http1_request import Data


class Output(NamedTuple):
    """All that a reader made of what a program wrote."""

    head: Optional[CgiHead]
    body: bytes
    ended: bool
    fault: str


def read_pieces(pieces: Iterable[bytes], method: str = "GET", eof: bool = True) -> Output:
    """What comes of `pieces`, one after the other; `eof`: and then the program ends."""
    reader = CgiReader(method)
    output = Output(None, b"", False, "")
    for piece in pieces:
        reader.receive_data(piece)
        output = _take(reader, output)
    if eof:
        reader.receive_eof()
        output = _take(reader, output)
        assert reader.next_event() is None
    return output


def _take(reader: CgiReader, output: Output) -> Output:
    """`output` with all events that the reader has."""
    try:
        for event in iter(reader.next_event, None):
            assert not output.ended and not output.fault
            if isinstance(event, CgiHead):
                assert output.head is None
                output = output._replace(head=event)
            elif isinstance(event, Data):
                assert event.data
                output = output._replace(body=output.body + event.data)
            else:
                output = output._replace(ended=True)
    except RemoteProtocolError as error:
        fault = f"{error.why}" if error.status == 502 and not output.ended else f"wrong: {error!r}"
        output = output._replace(fault=output.fault + fault)
    return output
