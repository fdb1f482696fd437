"""The code on disk: whether it is still what this process has loaded, and how to load it anew.

Children are forked from the parent and import what it does not have.  After an update of lwsws that would be
new modules beside old ones.  So where a file that the parent has loaded is another one by now, a child first
forgets all of lwsws, and then begins with what is there.  Only plain values go from old modules to new ones.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Dict, List, Tuple

PACKAGE = "lwsws"

State = Tuple[int, ...]


class LoadedCode:
    """The modules of lwsws that have been loaded so far, and what their files were then."""

    def __init__(self) -> None:
        files = [sys.modules[name].__file__ for name in _names()]
        self._states: Dict[str, State] = {file: _state(file) for file in files if file}

    @property
    def is_old(self) -> bool:
        """Whether one of the files has changed since; one that cannot be found has."""
        return any(_state(file) != state for file, state in self._states.items())

    def forget(self) -> None:
        """From here on, imports load all of lwsws anew.  What runs already goes on with what it has."""
        for name in _names():
            del sys.modules[name]
        importlib.invalidate_caches()


def _names() -> List[str]:
    return [name for name in sys.modules if name == PACKAGE or name.startswith(PACKAGE + ".")]


def _state(file: str) -> State:
    """What tells versions of a file apart; of one in an archive, those of the archive."""
    while True:
        try:
            info = os.stat(file)
            return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns
        except NotADirectoryError:
            file = os.path.dirname(file)
        except OSError as error:
            return (error.errno or 0,)
