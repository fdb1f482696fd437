"""The OpenSSL side of TLS connections that we accept: one that knows for which name it was chosen.

A connection's SSLContext is chosen by our own reading of its ClientHello.  OpenSSL reads it again, and the
callback of the context for the server name gets this object: there it compares both names.
"""

from __future__ import annotations

import ssl


class NamedObject(ssl.SSLObject):
    """An SSLObject with the server name that our own reader found."""

    # Lower case, without the dot at the end; "" if the client sent none.  Set right after wrap_bio().
    expected_name: str = ""
