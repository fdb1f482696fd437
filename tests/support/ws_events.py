"""Runs the WebSocket reader over bytes in the ways that bytes may arrive.

A reader must say the same whether its input comes whole, byte by byte, or with something behind it.  The
frames are made by tests/support/ws_client.py, which knows nothing of lwsws.wire.
"""

from __future__ import annotations

from typing import Callable, Iterable, List, NamedTuple, Optional, Tuple

from lwsws.wire.ws_connection import WsConnection
from lwsws.wire.ws_frames import Close, Event, Fragment, Ping, WsProtocolError
from tests.support.wire_cases import byte_by_byte
from tests.support.ws_client import PING, frame

KEY = b"\x37\xfa\x21\x3d"  # that of RFC 6455 5.7
# The first byte of a ping.
LEFTOVER = b"\x89"


class Heard(NamedTuple):
    """All that a connection gave out; neighbouring fragments of one message are joined."""

    events: List[Event]
    fault: Optional[Tuple[int, str]]  # code and why

    def summary(self) -> Tuple[List[str], Optional[Tuple[int, str]]]:
        """Fit for comparing: as tuples, a Ping and a Pong with the same data are equal.

        Of a message that a fault ends, more or fewer fragments were given out, as the bytes came.
        """
        cut_off = None if self.fault is None else unfinished(self.events)
        return [repr(event) for event in self.events if event is not cut_off], self.fault

    @property
    def code(self) -> Optional[int]:
        """The code of the fault."""
        return None if self.fault is None else self.fault[0]


def masked(opcode: int, payload: bytes = b"", fin: bool = True, rsv: int = 0, key: bytes = KEY) -> bytes:
    """A client's frame."""
    return frame(opcode, payload, fin, rsv, key)


def hear(ws: WsConnection, pieces: Iterable[bytes]) -> Heard:
    """Give `pieces` to `ws` one after the other, and take all events after each."""
    events: List[Event] = []
    fault = None
    for piece in pieces:
        ws.receive_data(piece)
        try:
            while (event := ws.next_event()) is not None or ws.pending:
                if event is not None:
                    assert fault is None, "an event after a fault"
                    _note(event, events)
        except WsProtocolError as error:
            assert fault is None, "two faults"
            fault = (error.code, error.why)
    return Heard(events, fault)


def _note(event: Event, events: List[Event]) -> None:
    if not isinstance(event, Fragment):
        events.append(event)
        return
    assert event.data or event.final, "an empty fragment that says nothing"
    begun = unfinished(events)
    assert event.first == (begun is None)
    if begun is not None:
        # Where it ends, so that control frames between its fragments stand in front of it.
        events.remove(begun)
        assert type(event.data) is type(begun.data)
        joined = begun.data[:0].join((begun.data, event.data))  # type: ignore[arg-type]
        event = Fragment(joined, True, event.final)
    events.append(event)


def unfinished(events: List[Event]) -> Optional[Fragment]:
    """The message of which only fragments were given out, if there is one."""
    return next((event for event in events if isinstance(event, Fragment) and not event.final), None)


def three_ways(data: bytes, make: Callable[[], WsConnection] = WsConnection) -> Heard:
    """Read `data` whole, byte by byte, and with a leftover behind it; the same must come of each."""
    whole = hear(make(), [data])
    assert hear(make(), byte_by_byte(data)).summary() == whole.summary()
    ws = make()
    assert hear(ws, [data + LEFTOVER]).summary() == whole.summary()
    is_over = whole.fault is not None or (bool(whole.events) and isinstance(whole.events[-1], Close))
    if is_over:
        assert ws.buffered == 0
    elif not ws.in_message:
        assert ws.buffered == len(LEFTOVER)
        # It was no more than the beginning of the next message.
        assert hear(ws, [masked(PING, b"next")[1:]]).summary() == Heard([Ping(b"next")], None).summary()
    return whole
