"""A site for tests that gets its certificate by ACME, from whatever CA.

    site = AcmeSite(folder, ca.directory_url, ca.ca_file)
    with site.server() as server:
        site.wait_for_certificate(server)

It has two vhosts on 127.0.0.1: http, where everything but a challenge is redirected and needs a password, and
https, whose certificate it is.  Its files are in `private`, which is root's alone, and root serves as nobody;
for other users it is all their own.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from lwsws.acme.state import State, decode
from lwsws.wire.certificate import Certificate, read_certificate
from tests.support.server import Server, connect, free_ports, write_config
from tests.support.source import ROOT
from tests.support.waiting import wait_until

NAMES = ("a.test", "b.test")
ORDER_SECONDS = 60.0


class AcmeSite:
    """The site, and the files of its certificate; `options` are those of `lws-acme-client`, with _ for -."""

    def __init__(self, folder: Path, directory_url: str, ca_file: Path, names: Sequence[str] = NAMES,
                 **options: str) -> None:
        self.folder = folder
        self.private = folder / "private"
        self.certificate, self.key = self.private / "a.crt", self.private / "a.key"
        self.http_port, self.tls_port = free_ports(2)
        self.options: Dict[str, Any] = {
            "auth-path": str(self.private / "account.pem"), "cert-path": str(self.certificate),
            "key-path": str(self.key), "directory-url": directory_url, "ca-file": str(ca_file),
            "common-name": names[0], "alt-names": list(names[1:]), "email": "somebody@a.test"}
        self.change(**options)
        self.more: List[Dict[str, Any]] = []    # vhosts
        self.settings: Dict[str, Any] = {}      # global ones
        if os.getuid() == 0:
            self.settings.update(username="nobody", groupname="nogroup")
        folder.mkdir(parents=True, exist_ok=True)
        # Who serves as nobody must get at hooks, and at nothing in `private`.
        folder.chmod(0o755)
        self.private.mkdir(mode=0o700, exist_ok=True)

    def change(self, **options: str) -> None:
        """Set options of `lws-acme-client`."""
        self.options.update({name.replace("_", "-"): value for name, value in options.items()})

    def tls_vhost(self, name: str, port: Optional[int] = None, **keys: Any) -> Dict[str, Any]:
        """A vhost with that certificate, which does not ask for it."""
        named = {key.replace("_", "-"): value for key, value in keys.items()}
        return {"name": name, "port": port or self.tls_port, "interface": "127.0.0.1",
                "host-ssl-cert": str(self.certificate), "host-ssl-key": str(self.key),
                "ignore-missing-cert": "1", "ws-protocols": [{"lws-status": {}}],
                "mounts": [{"mountpoint": "/", "origin": "callback://lws-status"}], **named}

    def configure(self) -> Path:
        """Write the configuration; its directory."""
        plain = {"name": "a.test", "port": self.http_port, "interface": "127.0.0.1", "mounts": [
            {"mountpoint": "/", "origin": ">https://a.test/", "basic-auth": str(self.folder / "nobody")}]}
        asking = self.tls_vhost("a.test")
        asking["ws-protocols"] = [{"lws-status": {}, "lws-acme-client": self.options}]
        (self.folder / "nobody").write_text("")
        return write_config(self.folder / "conf", [plain, asking, *self.more], **self.settings)

    def server(self, *arguments: str) -> Server:
        """A server for it, to be used in `with`."""
        ready = [("127.0.0.1", self.http_port), ("127.0.0.1", self.tls_port)]
        return Server(self.configure(), ready, arguments)

    # What is seen from outside.

    def served_der(self, name: str = "a.test", port: Optional[int] = None) -> bytes:
        """The certificate that a client gets, whoever has issued it."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        sock = connect(("127.0.0.1", port or self.tls_port))
        with sock, context.wrap_socket(sock, server_hostname=name) as tls:
            return tls.getpeercert(binary_form=True) or b""

    def served(self, name: str = "a.test", port: Optional[int] = None) -> Certificate:
        """The same, taken apart."""
        return read_certificate(self.served_der(name, port))

    def is_open(self) -> bool:
        """Whether a handshake succeeds."""
        try:
            return self.served_der() != b""
        except OSError:
            return False

    def state(self) -> State:
        """What the server keeps beside the certificate."""
        try:
            return decode(Path(f"{self.certificate}.acme").read_bytes())
        except OSError:
            return State()

    def upd(self) -> bytes:
        """The certificate that waits for the next start."""
        return Path(f"{self.certificate}.upd").read_bytes()

    def wait_for_certificate(self, server: Server, count: int = 1) -> None:
        """Return once the server says that so many certificates have come, and serves the last."""
        try:
            wait_until(lambda: server.log().count("there is a new certificate") >= count, "a certificate",
                       ORDER_SECONDS)
            wait_until(lambda: server.log().count("new connections get the new certificate") >= count,
                       "its use", ORDER_SECONDS)
        except AssertionError:
            sys.stderr.write(server.log())
            raise

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What `lwsws acme DIR` says to that."""
        program = [sys.executable, str(ROOT / "lwsws.py"), "acme", str(self.folder / "conf"), *words]
        return subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90,
                              check=False)


def ask(port: int, target: str, host: str) -> bytes:
    """The whole answer to a plain request on 127.0.0.1."""
    with connect(("127.0.0.1", port)) as sock:
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii"))
        pieces: List[bytes] = []
        while True:
            piece = sock.recv(65536)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
