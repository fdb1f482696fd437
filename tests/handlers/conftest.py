"""What the tests of file serving share: a document root, a site that serves it, a client."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from tests.support.auth_site import LINES, AuthSite
from tests.support.docroot import file_vhost, make_docroot
from tests.support.peer import Bench, Peer
from tests.support.proxy_site import ProxySite


@pytest.fixture
def docroot(tmp_path: Path) -> Path:
    """See tests/support/docroot.py."""
    return make_docroot(tmp_path)


@pytest.fixture
def bench(tmp_path: Path, docroot: Path) -> Iterator[Bench]:
    """A site that serves `docroot`."""
    bench = Bench(tmp_path, file_vhost(docroot))
    yield bench
    bench.close()


@pytest.fixture
def peer(bench: Bench) -> Peer:
    """A client of `bench`."""
    return bench.connect()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[AuthSite]:
    """Plain users and a hashed one."""
    made = AuthSite(tmp_path, *LINES)
    made.greet()
    yield made
    made.close()


@pytest.fixture
def plain_site(tmp_path: Path) -> Iterator[AuthSite]:
    """Without any hash, so without any worker."""
    made = AuthSite(tmp_path, "user:pass")
    made.greet()
    yield made
    made.close()


@pytest.fixture
def make_proxy(tmp_path: Path) -> Iterator[Callable[..., ProxySite]]:
    """Makes sites with a proxy mount; nothing may be left open at the end."""
    made: List[ProxySite] = []

    def make(**keys: Any) -> ProxySite:
        made.append(ProxySite(tmp_path, **keys))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def proxy(make_proxy: Callable[..., ProxySite]) -> ProxySite:
    """One origin behind /p."""
    return make_proxy()
