"""The CGI handler: mounts with a `cgi://` origin.

It finds the program for a request (cgi_program.py); the rest of the story of each is in cgi_exchange.py.
"""

from __future__ import annotations

from lwsws.config.model import MountConfig
from lwsws.core.exchange import Exchange
from lwsws.core.handler import Handler
from lwsws.handlers.cgi_exchange import CgiExchange
from lwsws.handlers.cgi_mount import CgiMount


class CgiHandler(Handler):
    """Runs the programs of one mount."""

    def __init__(self, mount: MountConfig, software: str, port: int) -> None:
        """`software` is the name of the server, `port` that of the vhost."""
        self._mount = CgiMount(mount, software, port)

    @property
    def running(self) -> int:
        """How many programs run, or are about to."""
        return self._mount.running

    def begin(self, exchange: Exchange) -> None:
        """Start the program for `exchange`; HttpError if there is none."""
        script = self._mount.scripts.find(exchange)
        if script is not None:
            CgiExchange(self._mount, exchange, script).begin()
