"""`lws-acme-client`, the protocol by which a vhost asks for a certificate.

There are no connections of it: it only says what is wrong with its options.  What is right is found by
server/acme.py, before the rights are given up that its files need.
"""

from __future__ import annotations

from lwsws.acme.settings import KNOWN, read_settings
from lwsws.core.options import Options
from lwsws.core.protocol import Protocol
from lwsws.core.session import ProtocolVhost


class AcmeClient(Protocol):
    """Asks for one certificate."""

    name = "lws-acme-client"
    known_options = KNOWN
    known_pmo = ()

    def init(self, vhost: ProtocolVhost, options: Options) -> None:
        """Check the options."""
        read_settings(options)
