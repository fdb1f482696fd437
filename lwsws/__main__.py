"""`python3 -m lwsws`."""

from __future__ import annotations

import sys

from lwsws.cli import main

sys.exit(main())
