"""Handlers that leave it to the test when and what they answer."""

from __future__ import annotations

from typing import Any, List

from lwsws.core.exchange import Exchange
from lwsws.core.handler import Handler

BIG = b"0123456789abcdef" * 60000

GET_TEN = b"GET /ten.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Collector(Handler):
    """Takes the whole body and answers with its length; a consumer and a handler in one."""

    def __init__(self) -> None:
        self.exchange: Any = None
        self.body = b""
        self.ended = False
        self.was_aborted = False

    def begin(self, exchange: Exchange) -> None:
        self.exchange = exchange
        exchange.take_body(self)

    def body_received(self, data: bytes) -> None:
        self.body += data

    def body_ended(self) -> None:
        self.ended = True
        self.exchange.respond(200, [("Content-Type", "text/plain")], str(len(self.body)).encode())

    def drained(self) -> None:
        """Nothing waits for room."""

    def aborted(self) -> None:
        self.was_aborted = True


class Later(Handler):
    """Keeps the exchange, so that the test answers it when it wants."""

    def __init__(self) -> None:
        self.exchanges: List[Exchange] = []

    def begin(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)


class Faulty(Handler):
    """Raises what it was given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def begin(self, exchange: Exchange) -> None:
        raise self.error
