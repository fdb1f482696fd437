"""What OpenSSL and the socket below it raise, in words for a log."""

from __future__ import annotations

import ssl

# The peer went away in the middle of the handshake: nobody is left to whom one could explain anything.
GONE = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)


def explain(exc: Exception) -> str:
    """`exc` in short words, without the names and lines of OpenSSL's code."""
    if isinstance(exc, GONE):
        return "the peer hung up"
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {exc.verify_message}"
    if isinstance(exc, ssl.SSLError) and exc.reason:
        return exc.reason.replace("_", " ").lower()
    return exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
