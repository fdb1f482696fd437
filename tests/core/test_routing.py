"""Which mount answers which path."""

from __future__ import annotations

from typing import Optional

import pytest

from lwsws.core.handler import Handler
from lwsws.core.routing import Routes
from lwsws.core.vhost import HeaderSet, MountPoint


def mount(prefix: str, exact: bool = False, origin: str = "") -> MountPoint:
    return MountPoint(prefix, Handler(), HeaderSet(), 60, 0, exact, origin or prefix or "/")


ROUTES = Routes([mount(""), mount("/two"), mount("/two/deep"), mount("/tw"), mount("/exact", exact=True)])


@pytest.mark.parametrize("path, origin", [
    ("/", "/"),
    ("/x", "/"),
    ("/two", "/two"),
    ("/two/", "/two"),
    ("/two/x.txt", "/two"),
    ("/two/deep", "/two/deep"),
    ("/two/deep/", "/two/deep"),
    ("/two/deeper", "/two"),
    ("/two/deep/x/y/z", "/two/deep"),
    ("/tw", "/tw"),
    ("/tw/o", "/tw"),
    # LESSONS 3.14: whole segments only.
    ("/twox", "/"),
    ("/two.txt", "/"),
    ("/TWO/x", "/"),
    ("/exact", "/exact"),
    ("/exact/", "/exact"),
    ("/exact/x", "/"),
    ("/exactly", "/"),
])
def test_longest_whole_segment_prefix_wins(path: str, origin: str) -> None:
    found = ROUTES.match(path)
    assert found is not None and found.origin == origin


@pytest.mark.parametrize("path", ["/", "/x", "/on", "/only2", "/x/only"])
def test_no_mount_matches(path: str) -> None:
    assert Routes([mount("/only")]).match(path) is None


def test_without_mounts_nothing_matches() -> None:
    assert Routes([]).match("/") is None


def test_first_of_two_equal_mountpoints_wins() -> None:
    routes = Routes([mount("/dup", origin="a"), mount("/dup", origin="b")])
    found: Optional[MountPoint] = routes.match("/dup/x")
    assert found is not None and found.origin == "a"


def test_exact_mount_stands_beside_a_prefix_mount_of_the_same_name() -> None:
    routes = Routes([mount("/a", origin="all"), mount("/a", exact=True, origin="one")])
    origins = [found.origin for found in map(routes.match, ("/a", "/a/", "/a/b")) if found is not None]
    assert origins == ["one", "one", "all"]
