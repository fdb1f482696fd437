"""TLS vhosts for a real child, and connections to them on blocking sockets.

    pair = make_certificate(folder, "localhost", ["localhost"], certificates.ca)
    with site_server(folder / "conf", [{**tls_keys(pair), "mounts": [...]}]) as server:
        with Client(connect_tls(server, client_context(certificates.ca))) as client:
            client.get("/")
"""

from __future__ import annotations

import ssl
from typing import Any, Dict, Optional

from tests.support.certificates import Pair
from tests.support.server import Server


def tls_keys(pair: Pair, **keys: Any) -> Dict[str, Any]:
    """The keys of a vhost with this certificate, and more `keys` (_ for -)."""
    named = {name.replace("_", "-"): value for name, value in keys.items()}
    return {"host-ssl-cert": str(pair.cert), "host-ssl-key": str(pair.key), **named}


def demand_keys(ca: Pair) -> Dict[str, Any]:
    """The keys that demand a certificate by `ca` of each client."""
    return {"host-ssl-ca": str(ca.cert), "client-cert-required": "1"}


def raw_keys(protocol: str, listening: str, **options: str) -> Dict[str, Any]:
    """The keys for connections that are not http: they go to the plugin `protocol` with these `options`.

    `listening` is the key that says which do: apply-listen-accept or fallback-listen-accept.
    """
    return {
        "ws-protocols": [{protocol: options}],
        "listen-accept-role": "raw-proxy" if protocol == "raw-proxy" else "raw-skt",
        "listen-accept-protocol": protocol,
        listening: "1",
    }


def connect_tls(
    server: Server,
    context: ssl.SSLContext,
    name: Optional[str] = "localhost",
    session: Optional[ssl.SSLSession] = None,
) -> ssl.SSLSocket:
    """A connection to `server` after its handshake; the ssl.SSLError of a client that is refused."""
    sock = server.connect()
    try:
        return context.wrap_socket(sock, server_hostname=name, session=session)
    except OSError:
        sock.close()
        raise
