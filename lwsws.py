#!/usr/bin/env python3
"""Start lwsws from a checkout: `python3 lwsws.py [options]`, no installation needed."""

import os
import sys

if sys.version_info < (3, 9):
    sys.exit("lwsws needs Python 3.9 or newer; this is %d.%d" % sys.version_info[:2])

# This file and the package have the same name: make sure that the package is found, from any folder.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

if __name__ == "__main__":
    sys.modules.pop("lwsws", None)
    from lwsws.cli import main

    sys.exit(main())
