"""A real sshd on a port of its own, never as root, and its clients ssh-keyscan and sftp.

    with Sshd(folder) as sshd:
        known = sshd.keyscan(sshd.port)
        sshd.sftp(sshd.port, known, "put a b")

Not being root it can let in only the user that it runs as.  That is nobody where the tests run as root, who
has no shell; so what clients do is sftp, which needs none.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Optional, Type

from tests.support.programs import need
from tests.support.server import connect, free_ports
from tests.support.waiting import wait_until

NOBODY = 65534
# Without PAM it takes all accounts for locked whose password it cannot read.
CONFIGURATION = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/client_key.pub
StrictModes no
UsePAM yes
PrintMotd no
PidFile none
Subsystem sftp internal-sftp
"""


class Sshd:
    """One daemon; a context manager that gives itself once it accepts connections.

    All its files are in `folder`, which all users must be able to enter; `files` is for those of clients.
    """

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        uid = NOBODY if os.getuid() == 0 else os.getuid()
        self.user = pwd.getpwuid(uid).pw_name
        self.folder = folder
        self.files = folder / "files"
        self.files.mkdir()
        for name in ("host_key", "client_key"):
            command = [need("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
        (folder / "config").write_text(CONFIGURATION.format(port=self.port, folder=folder))
        other = None
        if uid != os.getuid():
            shutil.chown(str(folder / "host_key"), uid)
            shutil.chown(str(self.files), uid)
            other = uid
        with open(str(folder / "log"), "wb") as log:
            # By its full path, for it starts itself anew for each connection.
            command = [need("sshd"), "-D", "-e", "-f", str(folder / "config")]
            self._process = subprocess.Popen(command, stderr=log, user=other)

    @property
    def log(self) -> str:
        """What the daemon has said so far."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def _accepts(self) -> bool:
        assert self._process.poll() is None, self.log
        try:
            connect(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True

    def keyscan(self, port: int) -> str:
        """The host key that ssh-keyscan finds at `port`, as a line for known_hosts."""
        command = [need("ssh-keyscan"), "-t", "ed25519", "-p", str(port), "127.0.0.1"]
        done = subprocess.run(command, capture_output=True, timeout=20, check=True)
        return done.stdout.decode()

    def sftp(self, port: int, known: str, *commands: str) -> None:
        """Log in at `port`, whose key must be the `known` one, and do what sftp's `commands` say."""
        hosts = self.folder / "known_hosts"
        hosts.write_text(known)
        options = [f"UserKnownHostsFile={hosts}", "StrictHostKeyChecking=yes"]
        command = [need("sftp"), "-F", "none", "-b", "-", "-P", str(port), "-i", f"{self.folder}/client_key"]
        done = subprocess.run(
            [*command, *(f"-o{option}" for option in options), f"{self.user}@127.0.0.1"],
            input="\n".join(commands).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stdout.decode("utf-8", "replace") + self.log

    def __enter__(self) -> Sshd:
        try:
            wait_until(self._accepts, "sshd")
        except AssertionError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        fault: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._process.terminate()
        self._process.wait(10)
