"""raw-proxy: hands each raw connection on to another server, such as an sshd behind the port of a web server.

    "ws-protocols": [{ "raw-proxy": { "onward": "ipv4:127.0.0.1:22" } }]
"""

from __future__ import annotations

from lwsws.plugin import Onward, OptionError, Options, Protocol, ProtocolVhost, RawSession, parse_onward


class RawProxy(Protocol):
    """Option `onward`: where to."""

    name = "raw-proxy"

    onward: Onward

    def init(self, vhost: ProtocolVhost, options: Options) -> None:
        """OptionError if `onward` is missing or no address."""
        text = options.get("onward")
        if not text:
            raise OptionError("onward", 'is missing: where to connect to, such as "ipv4:127.0.0.1:22"')
        try:
            self.onward = parse_onward(text)
        except ValueError as error:
            raise OptionError("onward", str(error)) from None

    def raw_adopted(self, s: RawSession) -> None:
        """Hand it on before a byte is read."""
        s.tunnel(self.onward)
