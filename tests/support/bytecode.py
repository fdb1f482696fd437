"""Where the servers of the tests keep what Python has compiled: one folder for all of them.

To compile the server takes much longer than to start it, and some two hundred are started in one run.  The
sources stay as they are: nothing is written beside them, and what may lie there is not looked at.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from typing import Dict


@cache
def shared_bytecode() -> Dict[str, str]:
    """What the environment of a Python program must have for this; the folder goes away at the end."""
    folder = tempfile.mkdtemp(prefix="lwsws-bytecode-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.chmod(folder, 0o755)  # for those, too, who have given up being root
    return {"PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
