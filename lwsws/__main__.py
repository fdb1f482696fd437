"""`python3 -m lwsws`."""

from __future__ import annotations

import os
import sys

# `-m` looks for modules in the current directory first.  Whose that is could have root run his code, now and
# at each reload, so it is looked at only if we are there ourselves.
if os.getcwd() != os.path.dirname(os.path.dirname(os.path.abspath(__file__))):
    sys.path[:] = [path for path in sys.path if path not in ("", os.getcwd())]

from lwsws.cli import main

sys.exit(main())
