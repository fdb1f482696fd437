"""For the tests of bundled protocols: raw connections before a real reactor."""

from __future__ import annotations

from typing import Iterator

import pytest

from tests.support.raw import RawBench


@pytest.fixture
def bench() -> Iterator[RawBench]:
    """A reactor, and no fds left at the end."""
    bench = RawBench()
    yield bench
    bench.close()
