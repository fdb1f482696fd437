"""The two faults of wire code: theirs and ours.

`RemoteProtocolError` means the peer's bytes break a rule; it carries the status to answer with and
one sentence that may be shown to him.  `LocalProtocolError` means that our own side asked for bytes
that must not be written, or used a reader out of turn; that is a bug or a bad configuration value,
never the peer's doing.
"""

from __future__ import annotations

# Enough of the peer's text to recognise it in a log line, too little to flood one.
EXCERPT_CHARACTERS = 40


class RemoteProtocolError(Exception):
    """The peer broke the protocol: answer with `status`, say `why`, and read nothing more from him."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(status, why)
        self.status = status
        self.why = why

    def __str__(self) -> str:
        return f"{self.status}: {self.why}"


class LocalProtocolError(Exception):
    """Our side tried to send, or to do, what the protocol forbids."""


def excerpt(text: str) -> str:
    """The first characters of `text` from the peer, quoted and ASCII only, for the `why` of an error."""
    if len(text) <= EXCERPT_CHARACTERS:
        return ascii(text)
    return ascii(text[:EXCERPT_CHARACTERS]) + "..."
