"""TLS vhosts whose certificates a test replaces while they are watched."""

from __future__ import annotations

import shutil
import ssl
import threading
import time
from pathlib import Path
from typing import List, Optional

from lwsws.config.model import GlobalConfig, VhostConfig
from lwsws.net.keeper import OwnKeeper
from lwsws.net.reactor import Reactor
from lwsws.net.tls import ServerTls
from lwsws.net.workers import Overloaded, Workers
from lwsws.server.certificates import LOOK_SECONDS, CertificateWatch, load_tls
from tests.support.certificates import Certificates, Pair
from tests.support.clock import ManualClock
from tests.support.handshake import shake

# Seconds within which a worker must have answered; never waited for where all is well.
PATIENCE = 10
# Jobs that wait for the only worker.
QUEUE_LIMIT = 2


class Site:
    """TLS vhosts whose files are copies, and a watch over them with clocks that stand still."""

    def __init__(self, folder: Path, made: Certificates) -> None:
        self.folder = folder
        self.made = made
        self.clock = ManualClock()
        self.wall = ManualClock(float(int(time.time())))
        self.reactor = Reactor(self.clock)
        self.workers = Workers(self.reactor, 1, QUEUE_LIMIT)
        self.release = threading.Event()
        self.keeper = OwnKeeper()
        self.vhosts: List[ServerTls] = []
        self.watch: Optional[CertificateWatch] = None

    def config(self, name: str = "a.test") -> VhostConfig:
        """A vhost with files of its own."""
        path = self.folder / name
        return VhostConfig(name=name, port=443, host_ssl_cert=f"{path}.crt", host_ssl_key=f"{path}.key")

    def put(self, pair: Pair, name: str = "a.test", cert: bool = True, key: bool = True) -> None:
        """Make the files of the vhost copies of `pair`, as a renewal does it."""
        for wanted, source, ending in ((cert, pair.cert, "crt"), (key, pair.key, "key")):
            if wanted:
                shutil.copy(source, self.folder / "new")
                (self.folder / "new").replace(self.folder / f"{name}.{ending}")

    def start(self, *configs: VhostConfig) -> ServerTls:
        """Load the vhosts, the first of which is returned, and watch them."""
        self.vhosts = [load_tls(config, GlobalConfig()) for config in configs or (self.config(),)]
        self.watch = CertificateWatch(self.reactor, self.workers, self.vhosts, self.wall, self.keeper)
        self.watch.start()
        return self.vhosts[0]

    def look(self, seconds: float = LOOK_SECONDS) -> None:
        """Let the time pass, and the worker do what that brings."""
        self.clock.advance(seconds)
        self.wall.advance(seconds)
        self.settle()

    def check_now(self) -> None:
        """Ask for a look."""
        assert self.watch is not None
        self.watch.check_now()
        self.settle()

    def settle(self) -> None:
        """Let the only worker do one job for each vhost."""
        self.reactor.run_once(0)
        for _ in range(len(self.vhosts) + 1):
            self._one_job()

    def _one_job(self) -> None:
        """Wait until the worker has done what it was given before."""
        done: List[bool] = []
        submitted = False
        give_up = time.monotonic() + PATIENCE
        while not done:
            assert time.monotonic() < give_up
            try:
                if not submitted:
                    self.workers.submit(lambda: None, lambda result, error: done.append(True))
                submitted = True
            except Overloaded:
                pass
            self.reactor.run_once(0.05)

    def fill_queue(self) -> int:
        """Submit jobs until the workers take no more; returns how many they took."""
        taken = 0
        try:
            while True:
                self.workers.submit(lambda: None, lambda result, error: None)
                taken += 1
        except Overloaded:
            return taken

    def hold_worker(self) -> None:
        """Keep the only worker busy until `release` is set."""
        started = threading.Event()

        def job() -> None:
            started.set()
            self.release.wait(PATIENCE)

        self.workers.submit(job, lambda result, error: None)
        assert started.wait(PATIENCE)

    def served(self, tls: Optional[ServerTls] = None) -> bytes:
        """The certificate that a new client gets."""
        tls = tls or self.vhosts[0]
        assert tls.context is not None
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        ends = shake(tls.context, client)
        served = ends.client.getpeercert(True)
        ends.close()
        assert served is not None
        return served

    def close(self) -> None:
        """End all that was started."""
        self.release.set()
        if self.watch is not None:
            self.watch.close()
        self.workers.stop(PATIENCE)
        self.reactor.close()
