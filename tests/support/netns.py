"""A network of its own for a test: a namespace in which interfaces and addresses come as the test likes.

    with Network() as network:
        network.run("ip", "link", "set", "lo", "up")
        subprocess.run(network.inside("curl", "http://127.0.0.1/"))

A process that does nothing holds the namespace; it ends with the test, and everything in the
namespace with it.  The host's network is not touched.
"""

from __future__ import annotations

import os
import subprocess
from types import TracebackType
from typing import List, Optional, Type

from tests.support.programs import give_up, need

# Kinds of interface that need nothing else; a small kernel may lack the first.
KINDS = (("dummy",), ("veth", "peer", "name"), ("bridge",))


class Network:
    """A network namespace; skips the test (fails in CI) where none can be made."""

    def __init__(self) -> None:
        if os.getuid() != 0:
            give_up("a network namespace needs root")
        self._nsenter = need("nsenter")
        self._ip = need("ip")
        # It says when the namespace is there, and ends with its standard input.
        self._holder = subprocess.Popen(
            [need("unshare"), "-n", "sh", "-c", "echo made && exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline().decode().strip()
        if said != "made":
            self._end()
            give_up(f"no network namespace here: {said}")

    def inside(self, *command: str) -> List[str]:
        """`command` as it has to be started to run in here."""
        return [self._nsenter, "-t", str(self._holder.pid), "-n", "--", *command]

    def run(self, *command: str) -> None:
        """Run `command` in here; AssertionError with its complaint if it fails."""
        line = self.inside(*command)
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout.decode()}"

    def ip(self, line: str) -> None:
        """Run `ip` with the words of `line`."""
        self.run(self._ip, *line.split())

    def add_interface(self, name: str) -> None:
        """Make an interface without address, of any kind that this kernel has."""
        for kind in KINDS:
            other = [f"{name}-peer"] if len(kind) > 1 else []
            line = [self._ip, "link", "add", name, "type", *kind, *other]
            if subprocess.run(self.inside(*line), stderr=subprocess.DEVNULL, check=False).returncode == 0:
                return
        self._end()
        give_up("this kernel has no kind of interface that a test could make")

    def _end(self) -> None:
        self._holder.communicate()

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        fault: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._end()
