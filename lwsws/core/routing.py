"""Routing: from the normalised path of a request to the mount that answers it.

The longest mountpoint that is a prefix on whole path segments wins, so `/two` answers `/two` and
`/two/x` but never `/twox` (LESSONS 3.14).  The path is cut back segment by segment from the length
of the longest mountpoint and looked up in a dict, so the work depends on the configuration and
not on the length of the path.
"""

from __future__ import annotations

from typing import Dict, Optional, Sequence

from lwsws.core.vhost import MountPoint


class Routes:
    """The mounts of one vhost; the first of two with the same mountpoint wins."""

    __slots__ = ("_by_prefix", "_exact", "_longest")

    def __init__(self, mounts: Sequence[MountPoint]) -> None:
        self._by_prefix: Dict[str, MountPoint] = {}
        self._exact: Dict[str, MountPoint] = {}
        for mount in mounts:
            if mount.exact:
                self._exact.setdefault(mount.prefix, mount)
                self._exact.setdefault(mount.prefix + "/", mount)
            else:
                self._by_prefix.setdefault(mount.prefix, mount)
        self._longest = max(map(len, self._by_prefix), default=0)

    def match(self, path: str) -> Optional[MountPoint]:
        """The mount for `path` (normalised, starts with "/"), or None."""
        mount = self._exact.get(path)
        if mount is not None:
            return mount
        prefix = path
        if len(path) > self._longest:
            prefix = path[:path.rfind("/", 0, self._longest + 1)]
        while True:
            mount = self._by_prefix.get(prefix)
            if mount is not None or not prefix:
                return mount
            prefix = prefix[:prefix.rfind("/")]
