"""For every test: a limit in time, so that one that waits for ever fails and shows where it stood.

And for all tests of TLS: one set of certificates, made once per session.
"""

from __future__ import annotations

import gc
import os
import signal
from types import FrameType
from typing import Iterator, Optional

import pytest

from tests.support.certificates import Certificates, make_certificates

# Far above what the slowest test takes on a busy machine; `make fuzz` runs as long as it is asked to.
TEST_SECONDS = 0 if "LWSWS_FUZZ_CASES" in os.environ else 120


def too_long(signum: int, frame: Optional[FrameType]) -> None:
    """The alarm rang.  The exception of pytest.fail is none that code under test would catch."""
    pytest.fail(f"the test took longer than {TEST_SECONDS} s")


def pytest_sessionstart(session: pytest.Session) -> None:
    """A fixture for each test would cost as much as many of them take."""
    signal.signal(signal.SIGALRM, too_long)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Rings an alarm when a test takes too long."""
    signal.alarm(TEST_SECONDS)
    yield
    signal.alarm(0)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A CA with two server certificates and a client's, and a client certificate of another CA."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """All tests are known: what that took lives to the end, and need not be looked at in each collection of
    garbage, of which those that count descriptors make two for each test."""
    forget_what_lives_on()
    # Each test leaves little; to look for it after every 700 objects takes some of the time of all.
    gc.set_threshold(10_000, 20, 20)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: Optional[pytest.Item]) -> None:
    """The same for the reports of a whole file of tests, and for what it has kept in memory."""
    if nextitem is None or nextitem.path != item.path:
        forget_what_lives_on()


def forget_what_lives_on() -> None:
    """Collect the garbage now, and leave all else out of later collections."""
    gc.collect()
    gc.freeze()
