"""Runs all tests with the Python that runs this; `make test` calls it.

Those with real programs and clocks (tests/interop) mostly wait.  At the same time, with what they leave of
the processors, all the others run, in two processes, one of which has all about ACME; at a lower priority, so
that no client of a real server has to wait for them.

With arguments, which are pytest's, there is one process only, because they may choose among the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List, Sequence

ROOT = Path(__file__).resolve().parent.parent
PYTEST = [sys.executable, "-m", "pytest"]
# There is one folder in which pytest remembers what has failed.
NO_CACHE = ["-p", "no:cacheprovider"]
REAL = "tests/interop"
# Each order for a certificate starts dozens of programs, and whoever ordered waits for the CA.
ACME = ["tests/acme", "tests/interop/test_acme.py", "tests/interop/test_acme_hostile.py"]
NICE = 10


def main(arguments: List[str]) -> int:
    """The exit code: 0 if all passed."""
    if arguments:
        return subprocess.call([*PYTEST, *arguments], cwd=ROOT)
    not_acme = [f"--ignore={path}" for path in ACME]
    others = [Others([f"--ignore={REAL}", *not_acme]), Others([*NO_CACHE, *ACME])]
    try:
        codes = [subprocess.call([*PYTEST, *NO_CACHE, *not_acme, REAL], cwd=ROOT)]
        codes += [other.process.wait() for other in others]
    finally:
        for other in others:
            other.end()
    return 0 if not any(codes) else 1


class Others:
    """Tests that run beside those in front."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.output = tempfile.TemporaryFile()
        self.process = subprocess.Popen([*PYTEST, *arguments], cwd=ROOT, stdout=self.output,
                                        stderr=self.output)
        os.setpriority(os.PRIO_PROCESS, self.process.pid, NICE)

    def end(self) -> None:
        """Show what they said; if they still run, they are ended."""
        self.process.kill()
        self.process.wait()
        self.output.seek(0)
        sys.stdout.write(self.output.read().decode("utf-8", "replace"))
        self.output.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
