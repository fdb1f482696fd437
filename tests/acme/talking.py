"""Conversations over real means: the openssl tool, hooks, a fetcher; the clock stands still."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

from lwsws.acme.conversation import Conversation, Means
from lwsws.acme.exhibit import Exhibit
from lwsws.acme.store import Store
from lwsws.net.fetch import Fetcher
from lwsws.net.openssl import Openssl
from lwsws.net.programs import KILL_SECONDS, Programs
from lwsws.net.tls import ClientSettings, client_context
from lwsws.net.workers import Workers
from lwsws.wire.acme import Steps
from lwsws.wire.acme_answer import AcmeError
from tests.net.fetching import Server, Step, own_pair
from tests.net.support import settle
from tests.support.certificates import Certificates
from tests.support.clock import ManualClock
from tests.support.programs import need
from tests.support.waiting import run_until

PATIENCE = 10.0


def tool(*arguments: str, data: bytes = b"") -> bytes:
    """What openssl writes when it is called as people do."""
    return subprocess.run([need("openssl"), *arguments], input=data, capture_output=True, check=True).stdout


def make_key() -> bytes:
    """A private key."""
    return tool("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


class Hook:
    """A script for dns-01 that notes what it is told, and what else it is to do."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "hook"
        self._said = folder / "said"
        self.write()

    def write(self, present: str = "", cleanup: str = "") -> None:
        """Let it do that."""
        note = f'echo "$1 $2 $3 $CERTBOT_DOMAIN $CERTBOT_VALIDATION" >> {self._said}'
        self.path.write_text(f"#!/bin/sh\n{note}\ncase $1 in\npresent) {present or ':'};;\n"
                             f"cleanup) {cleanup or ':'};;\nesac\n")
        self.path.chmod(0o755)

    @property
    def said(self) -> List[str]:
        """What it was told, call by call."""
        return self._said.read_text().splitlines() if self._said.exists() else []


class Talk:
    """The means of conversations, and what is told of the one that is under way."""

    def __init__(self, store: Store, programs: Programs, clock: ManualClock, certificates: Certificates,
                 key: bytes) -> None:
        self.store = store
        self.programs = programs
        self.reactor = programs.reactor
        self.clock = clock
        self.key = key
        self.said: List[str] = []
        self.warned: List[str] = []
        self.told: List[Tuple[Any, Optional[AcmeError]]] = []
        self.workers = Workers(self.reactor, 1)
        self.openssl = Openssl(programs, need("openssl"))
        self._certificates = certificates
        tls = client_context(ClientSettings(ca=str(certificates.ca.cert)))
        self.fetcher = Fetcher(self.reactor, self.workers, tls, "test/1")
        self._servers: List[Server] = []

    def means(self) -> Means:
        """All of them."""
        exhibit = Exhibit(self.store, self.openssl, self.programs, self.tell)
        return Means(self.reactor, self.fetcher, self.openssl, exhibit, self.key, self.said.append)

    def tell(self, text: str) -> None:
        """What the exhibit says; that a hook runs is no warning."""
        if not text.startswith("running dns-hook"):
            self.warned.append(text)

    def begin(self, steps: Steps[Any]) -> Conversation[Any]:
        """Begin; nothing is told from within."""
        made = Conversation(steps, self.means(), lambda result, error: self.told.append((result, error)))
        assert self.told == []
        return made

    def serve(self, *scripts: Sequence[Step]) -> Server:
        """A server to fetch from."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*own_pair(self._certificates))
        self._servers.append(Server(context, scripts, "127.0.0.1"))
        return self._servers[-1]

    def spin_until(self, condition: Any) -> None:
        """Let everything go on until the condition holds."""
        run_until(self.reactor, condition)

    def settle(self) -> None:
        """Let happen what needs no waiting."""
        settle(self.reactor)

    def reap(self) -> None:
        """Wait for all programs; what was told to end, and hears nothing, is killed."""
        self.clock.advance(KILL_SECONDS)
        self.spin_until(lambda: self.programs.alive == 0)

    def ended(self, steps: Steps[Any]) -> Tuple[Any, Optional[AcmeError]]:
        """What is told of the end of `steps`; once."""
        self.begin(steps)
        return self.end()

    def end(self) -> Tuple[Any, Optional[AcmeError]]:
        """The same of those that are under way."""
        self.spin_until(lambda: self.told)
        self.settle()
        told, = self.told
        return told

    def result(self, steps: Steps[Any]) -> Any:
        """What comes of those that end well."""
        result, error = self.ended(steps)
        assert error is None
        return result

    def fault(self, steps: Steps[Any]) -> AcmeError:
        """Why those have failed that do."""
        result, error = self.ended(steps)
        assert result is None and error is not None
        return error

    def close(self) -> None:
        """End it all."""
        self.fetcher.close()
        self.settle()
        for server in self._servers:
            server.close()
        self.workers.stop(PATIENCE)
