"""Runs all tests with the Python that runs this; `make test` calls it.

Those with real programs and clocks (tests/interop) mostly wait.  At the same time, with what they leave of
the processors, all the others run; at a lower priority, so that no client of a real server has to wait for
them.

With arguments, which are pytest's, there is one process only, because they may choose among the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List

ROOT = Path(__file__).resolve().parent.parent
PYTEST = [sys.executable, "-m", "pytest"]
REAL = "tests/interop"
NICE = 10


def main(arguments: List[str]) -> int:
    """The exit code: 0 if all passed."""
    if arguments:
        return subprocess.call([*PYTEST, *arguments], cwd=ROOT)
    with tempfile.TemporaryFile() as output:
        others = subprocess.Popen([*PYTEST, f"--ignore={REAL}"], cwd=ROOT, stdout=output, stderr=output)
        try:
            os.setpriority(os.PRIO_PROCESS, others.pid, NICE)
            # Both would write to the one folder in which pytest remembers what has failed.
            code = subprocess.call([*PYTEST, "-p", "no:cacheprovider", REAL], cwd=ROOT)
            others.wait()
        finally:
            others.kill()
            others.wait()
        output.seek(0)
        sys.stdout.write(output.read().decode("utf-8", "replace"))
    return 0 if code == others.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
