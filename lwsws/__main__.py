"""`python3 -m lwsws`."""

from __future__ import annotations

import os
import sys

# `-m` looks for modules in the current directory first.  Whose that is could have root run his code, now and
# at each reload, so it is looked at only if we are there ourselves.
try:
    here = os.getcwd()
except OSError:     # it was removed
    here = ""
if here != os.path.dirname(os.path.dirname(os.path.abspath(__file__))):
    sys.path[:] = [path for path in sys.path if path not in ("", here)]

from lwsws.cli import main

sys.exit(main())
