"""The public interface of plugins: everything that a plugin may import of lwsws, and all it needs.

What the names mean stands where they are defined, in core/protocol.py.
"""

from __future__ import annotations

from lwsws.core.protocol import (
    Onward,
    OptionError,
    Options,
    Protocol,
    ProtocolVhost,
    RawSession,
    parse_onward,
)

__all__ = ["Onward", "OptionError", "Options", "Protocol", "ProtocolVhost", "RawSession", "parse_onward"]
