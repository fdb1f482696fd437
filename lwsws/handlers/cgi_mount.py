"""What the programs of one cgi:// mount have in common: where they are, how they start, how many run."""

from __future__ import annotations

from typing import Optional

from lwsws import log
from lwsws.config.model import MountConfig
from lwsws.core.exchange import Exchange
from lwsws.handlers.cgi_program import Script, Scripts
from lwsws.handlers.cgi_variables import Variables
from lwsws.net.spawn import Command

# Between two lines of the log about programs that are too many.
QUIET_SECONDS = 1.0


class CgiMount:
    """One mount; `running` is the number of its programs that run, or are about to."""

    __slots__ = ("scripts", "variables", "timeout", "chroot", "directory", "limit", "running", "_refused",
                 "_quiet_until")

    def __init__(self, mount: MountConfig, software: str, port: int) -> None:
        """`software` is the name of the server, `port` that of the vhost."""
        self.scripts = Scripts(mount)
        self.variables = Variables(mount, software, port)
        self.timeout = mount.cgi_timeout
        self.chroot = mount.cgi_chroot
        self.directory = mount.cgi_chdir
        self.limit = mount.cgi_limit
        self.running = 0
        self._refused = 0
        self._quiet_until = 0.0     # of refusals nothing is logged before

    @property
    def is_full(self) -> bool:
        """Whether as many programs run as may."""
        return self.running >= self.limit

    def report_refusal(self, now: float, label: str) -> None:
        """Log that it is full, but not for each one of thousands; `now` by the reactor's clock."""
        self._refused += 1
        if now >= self._quiet_until:
            log.warn(f"{label}: 503: {self.running} run already (cgi-limit); refused so far: {self._refused}")
            self._quiet_until = now + QUIET_SECONDS

    def command(self, exchange: Exchange, script: Script, length: Optional[int], stdin: int) -> Command:
        """How to start `script`, which gets `length` bytes from `stdin`."""
        # RFC 3875 7.2: the directory of the program, so that it finds what lies beside it.
        directory = self.directory or script.path.rpartition("/")[0] or "/"
        environment = self.variables.make(exchange, script, length)
        return Command(script.argv, environment, directory, self.chroot, stdin)
