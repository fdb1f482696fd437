"""Certifiers in this process, against a CA that does what it is told, on clocks that do, too.

    with World(folder) as world:
        process = world.start()             as a process of the server does
        world.settle()                      until nothing is under way
        world.days(61)                      so much time passes

All is real but the time: `world.wall` is what the clock on the wall says, to the CA as well, and moves only
by days() and hours(); the clock of the reactor runs, and skip() puts it ahead, so nobody waits for a retry.
The CA looks at a challenge where another process of the server would: in the files.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Tuple, Type

from lwsws import log
from lwsws.acme.board import Board
from lwsws.acme.certifier import LOOK_SECONDS, Certifier
from lwsws.acme.pending import PendingFiles, in_place
from lwsws.acme.schedule import Held, usual_time
from lwsws.acme.settings import DAY, HOUR, AcmeSettings
from lwsws.acme.state import State
from lwsws.acme.store import Store
from lwsws.config.model import NOWHERE, GlobalConfig, VhostConfig
from lwsws.core.context import Context, Limits
from lwsws.net.fetch import IDLE_SECONDS
from lwsws.net.keeper import OwnKeeper
from lwsws.net.reactor import Reactor
from lwsws.net.tls import ServerTls
from lwsws.net.workers import Workers
from lwsws.server.acme import Asked, open_certificates
from lwsws.server.certificates import CertificateWatch, load_tls
from tests.acme.support import Value, settings
from tests.support.certificates import Pair, make_certificate
from tests.support.clock import ManualClock
from tests.support.false_ca import FalseCa
from tests.support.handshake import any_client, shake
from tests.support.procfs import children
from tests.support.programs import need

NAMES = ("a.test", "b.test")
# Looks after some time has passed: for the question when to renew, the order, and the question after it.
LOOKS = 3
WORKERS = 2
# What the log says before an order waits for its next try.
PAUSE = re.compile(r"trying again in (\d+) s")
# Long against what anything here takes.
SECONDS = 20.0

# Changes of the options of a certificate, as support.py takes them.
Options = Dict[str, Optional[Value]]

# In /proc/net/tcp.
ESTABLISHED = "01"

NEW_ORDER = ("POST", "/new-order")
CERTIFICATE = ("POST", "/certificate")


class Process:
    """What one process of the server has for its certificate."""

    def __init__(self, world: World, *certificates: Options, keeper: Optional[OwnKeeper] = None) -> None:
        """It has a certificate for each of these changes of options; `store` and `tls` are the first's."""
        self.world = world
        self.context = Context(world.reactor, world.workers, Limits(), world.wall)
        self.keeper = keeper or OwnKeeper()
        self.changes = 0    # how often it was told of a new certificate
        asked = [Asked(VhostConfig(), NOWHERE, "", world.settings(**options)) for options in certificates]
        self.stores = open_certificates(asked, self.keeper, world.wall())
        self.store = self.stores[0]
        self.files = PendingFiles(self.keeper, self.stores, world.wall)
        vhosts = [self._load(store.settings) for store in self.stores]
        self.tls = vhosts[0]
        self.watch = CertificateWatch(world.reactor, world.workers, vhosts, world.wall, self.files)
        self.certifier = Certifier(self.context, self.stores, vhosts, self.keeper, need("openssl"),
                                   "lwsws/test", self._changed)
        self.watch.start()
        self.certifier.start()

    def _load(self, wanted: AcmeSettings) -> ServerTls:
        vhost = VhostConfig("a.test", host_ssl_cert=wanted.cert_path, host_ssl_key=wanted.key_path,
                            ignore_missing_cert=True)
        return load_tls(vhost, GlobalConfig(), self.files)

    def _changed(self) -> None:
        self.changes += 1
        self.watch.check_now()

    @property
    def state(self) -> State:
        """What the file of state says."""
        return self.store.read_state()

    def held(self) -> Held:
        """The certificate that it goes by."""
        held = in_place(self.store.settings, self.files.read)
        assert held is not None
        return held

    def usual_time(self) -> float:
        """When that is renewed, if the CA does not say."""
        return usual_time(self.store.settings, self.held())

    def served(self) -> Optional[bytes]:
        """The certificate that a client gets, in DER; None if there is no TLS."""
        if self.tls.context is None:
            return None
        ends = shake(self.tls.context, any_client())
        try:
            assert ends.failure == ""
            return ends.client.getpeercert(binary_form=True)
        finally:
            ends.close()

    def serves(self, chain: str) -> bool:
        """Whether a client gets the first certificate of `chain`."""
        return self.served() == first_der(chain)

    def close(self) -> None:
        """As the service does at its end."""
        self.watch.close()
        self.certifier.close()
        self.world.reactor.run_once(0)
        for store in self.stores:
            store.close()
        self.context.end_programs()
        for _ in range(3):
            self.world.reactor.run_once(0)  # only here: the service ends, and with it all pipes
        if self in self.world.processes:
            self.world.processes.remove(self)


class World:
    """A CA, and processes that share a directory for their files, a reactor and its clocks."""

    def __init__(self, folder: Path, **options: Any) -> None:
        """`options` are those of the CA."""
        self.home = folder / "home"
        self.home.mkdir(mode=0o700)
        self.wall = ManualClock(float(int(time.time())))
        self._ahead = 0.0
        self.reactor = Reactor(lambda: time.monotonic() + self._ahead)
        self.workers = Workers(self.reactor, WORKERS)
        self.processes: List[Process] = []
        self.log: List[Tuple[int, str]] = []
        self._known: List[AcmeSettings] = []    # of all that ever were
        self._pauses = 0    # lines of the log that were looked at for one
        self.ca = FalseCa(folder / "ca", **{"clock": self.wall, "validate": self._validate, **options})

    def settings(self, **options: Optional[Value]) -> AcmeSettings:
        """Those of the certificate, with the changes in `options`."""
        wanted: Dict[str, Optional[Value]] = {
            "directory_url": self.ca.directory_url, "ca_file": str(self.ca.ca_file), "common_name": NAMES[0],
            "alt_names": list(NAMES[1:])}
        return settings(self.home, **{**wanted, **options})

    def start(self, **options: Optional[Value]) -> Process:
        """A process begins to serve."""
        return self.add(options)

    def add(self, *certificates: Options, keeper: Optional[OwnKeeper] = None) -> Process:
        """The same, with several certificates."""
        self._known += [self.settings(**options) for options in certificates]
        self.processes.append(Process(self, *certificates, keeper=keeper))
        return self.processes[-1]

    def first(self, **options: Optional[Value]) -> Process:
        """The same, and it has got its first certificate."""
        process = self.start(**options)
        self.settle()
        self.look()
        assert process.state.renewed, self.text()
        return process

    def _validate(self, kind: str, name: str, token: str, proof: Optional[str]) -> bool:
        """Whether a process that has but the files would show the challenge; in a thread of the CA."""
        if kind == "dns-01":
            return True     # the hook is looked at by the test
        stores = [Store(each) for each in dict.fromkeys(self._known)]
        try:
            board = Board(stores)
            shown = board.authorization(token) == proof if kind == "http-01" else board.context(name)
            return bool(shown)
        finally:
            for store in stores:
                store.close()

    # Time.

    def skip(self, seconds: float) -> None:
        """Put the clock of the reactor ahead."""
        self._ahead += seconds

    def look(self, count: int = LOOKS) -> None:
        """Have everybody look at the files, and do what is due, `count` times."""
        for _ in range(count):
            self.skip(LOOK_SECONDS)
            self.settle()

    def hours(self, count: float) -> None:
        """Let time pass, and everybody look."""
        self.wall.advance(count * HOUR)
        self.look()

    def days(self, count: float) -> None:
        """Let time pass, and everybody look."""
        self.hours(count * DAY / HOUR)

    def at(self, moment: float) -> None:
        """Let it be that time, and everybody look."""
        self.wall.time = moment
        self.look()

    def settle(self, seconds: float = SECONDS) -> None:
        """Run until nothing is under way; what waits for its next try need not wait."""
        self.reactor.run_once(0)
        rounds = 0
        while rounds < 3:   # the results of workers, and what comes of them: more work, perhaps
            self.until(self._is_quiet, "the end of what is under way", seconds)
            self._take_results()
            rounds = rounds + 1 if self._is_quiet() else 0

    def _take_results(self) -> None:
        """Those of all jobs that have come to their end: each thread gives what it has, then meets the
        others."""
        told: List[Optional[Exception]] = []
        meeting = threading.Barrier(WORKERS, timeout=SECONDS)
        for _ in range(WORKERS):
            self.workers.submit(meeting.wait, lambda result, error: told.append(error))
        self.until(lambda: len(told) == WORKERS, "the workers")
        assert told == [None] * WORKERS

    def until(self, condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
        """Run until `condition()` is true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}\n{self.text()}"
            self._skip_pause()
            self.reactor.run_once(0.005)

    def hurry(self, condition: Callable[[], object], what: str) -> None:
        """The same, on a clock that runs some ten times as fast."""

        def hurried() -> bool:
            if not self._programs():    # whose time would be up
                self.skip(0.05)
            return bool(condition())

        self.until(hurried, what)

    def _skip_pause(self) -> None:
        if self._programs():
            return      # or their time would be up
        for _, line in self.log[self._pauses:]:
            match = PAUSE.search(line)
            self.skip(float(match[1]) if match else 0.0)
        self._pauses = len(self.log)

    def _programs(self) -> int:
        return sum(process.context.programs.alive for process in self.processes)

    def _is_quiet(self) -> bool:
        return not (any(process.certifier.busy for process in self.processes)
                    or self._programs() or self.workers.busy or self.workers.waiting)

    # What was said, and what is left.

    def text(self) -> str:
        """The log."""
        return "\n".join(f"{log.LETTERS[level]}: {line}" for level, line in self.log)

    def lines(self, level: int, about: str = "") -> List[str]:
        """The lines of that level that have these words."""
        return [line for each, line in self.log if each == level and about in line]

    def errors(self) -> List[str]:
        """What an administrator must act on, of ACME."""
        return self.lines(log.ERR, "acme: ")

    def orders(self) -> int:
        """How many the CA was asked for."""
        return len(self.ca.of(*NEW_ORDER))

    def links(self) -> int:
        """How many connections to the CA our side has open."""
        port = f":{int(self.ca.base.rpartition(':')[2]):04X}"
        rows = [line.split() for line in Path("/proc/self/net/tcp").read_text("ascii").splitlines()[1:]]
        return sum(row[2].endswith(port) and row[3] == ESTABLISHED for row in rows)

    def nothing_left(self) -> None:
        """No lock is held, no challenge is up, no program runs, no connection is open, now that all are
        closed."""
        links = self.links()
        store = Store(self.settings())
        try:
            assert store.lock(), "the lock of the account is held"
            assert store.read_state().shown is None
        finally:
            store.close()
        assert children(os.getpid()) == []
        self.skip(IDLE_SECONDS)
        self.reactor.run_once(0)    # or those that are idle would stay for the tests to come
        assert links == 0

    # The files.

    def put(self, pair: Pair) -> None:
        """An administrator puts `pair` in place of what is there."""
        wanted = self.settings()
        for source, path in ((pair.key, wanted.key_path), (pair.cert, wanted.cert_path)):
            Path(path + ".tmp").write_bytes(source.read_bytes())
            os.replace(path + ".tmp", path)

    def make(self, name: str, age: float = 0.0, ca: Optional[Pair] = None, days: int = 90) -> Pair:
        """A certificate for NAMES that holds since `age` seconds; by itself unless by `ca`."""
        return make_certificate(self.home.parent, name, NAMES, ca, days=days,
                                not_before=int(self.wall() - age))

    def keep_waiting(self) -> None:
        """Have no certificate take its place: as for a process that has given up its rights."""
        for path in (self.settings().key_path, self.settings().cert_path):
            os.mkdir(path + ".new")

    # Its life.

    def __enter__(self) -> World:
        self._mask = log.mask()
        log.set_level(log.DEFAULT_MASK | log.INFO)
        log.to_syslog(self._take_line)
        self.ca.__enter__()
        return self

    def _take_line(self, level: int, line: str) -> bool:
        self.log.append((level, line))
        return True

    def __exit__(self, kind: Optional[Type[BaseException]], fault: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        try:
            for process in list(self.processes):
                process.close()
            self.workers.stop(5.0)
            self.reactor.close()
        finally:
            log.to_syslog(None)
            log.set_level(self._mask)
            self.ca.__exit__(kind, fault, trace)
        assert kind is not None or not self.lines(log.ERR, "fault in"), self.text()


def first_der(chain: str) -> bytes:
    """The first certificate in PEM, in DER."""
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(chain.partition(end)[0] + end)


def read_only(path: str) -> None:
    """Let nobody here write to `path` any more, who has it open: its descriptors become ones to read."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        link = f"/proc/self/fd/{name}"
        with suppress(OSError):
            if os.readlink(link) == path:
                fd = os.open(link, os.O_RDONLY | os.O_CLOEXEC)
                os.dup2(fd, int(name), inheritable=False)
                os.close(fd)
                found += 1
    if not found:
        raise FileNotFoundError(errno.ENOENT, "nobody has it open", path)
