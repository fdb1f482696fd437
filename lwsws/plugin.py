"""The public interface of plugins: everything that a plugin may import of lwsws, and all it needs.

What the names mean stands where they are defined, in core/protocol.py, core/session.py and
core/options.py, and with examples in docs/plugins.md.
"""

from __future__ import annotations

from lwsws.core.options import OptionError, Options
from lwsws.core.protocol import Protocol
from lwsws.core.session import (
    HttpRequest,
    HttpSession,
    PendingCall,
    Pool,
    ProtocolVhost,
    RawSession,
    Server,
    WsSession,
)
from lwsws.net.onward import Onward, parse_onward
from lwsws.wire.cgi import http_variables
from lwsws.wire.forms import (
    FormEnd,
    FormError,
    FormIncomplete,
    FormLimits,
    FormReader,
    Part,
    PartData,
    PartEnd,
    form_reader,
)
from lwsws.wire.ws_message import PreparedMessage

__all__ = ["FormEnd", "FormError", "FormIncomplete", "FormLimits", "FormReader", "HttpRequest",
           "HttpSession", "Onward", "OptionError", "Options", "Part", "PartData", "PartEnd", "PendingCall",
           "Pool", "PreparedMessage", "Protocol", "ProtocolVhost", "RawSession", "Server", "WsSession",
           "form_reader", "http_variables", "parse_onward"]
