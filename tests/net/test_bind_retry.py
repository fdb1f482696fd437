"""Waiting for an address that comes later."""

from __future__ import annotations

import errno
import os
import socket
from typing import List

import pytest

from lwsws.net.bind_retry import RETRY_SECONDS, BindRetry
from lwsws.net.reactor import Reactor
from tests.net.support import listen_tcp, settle
from tests.support.clock import ManualClock


class Binding:
    """A bind that fails as told."""

    def __init__(self) -> None:
        self.fault = errno.EADDRNOTAVAIL
        self.tries = 0
        self.bound: List[socket.socket] = []

    def bind(self) -> List[socket.socket]:
        """Fail, or give listening sockets."""
        self.tries += 1
        if self.fault:
            raise OSError(self.fault, os.strerror(self.fault))
        return [listen_tcp("127.0.0.1", 0, socket.AF_INET) for _ in range(2)]


def close(sockets: List[socket.socket]) -> None:
    """Close what was bound."""
    for sock in sockets:
        sock.close()


def test_it_binds_when_the_address_is_there(
    reactor: Reactor, clock: ManualClock, capfd: pytest.CaptureFixture[str]
) -> None:
    binding = Binding()
    BindRetry(reactor, binding.bind, binding.bound.extend, "eth9:80")
    assert capfd.readouterr().err.count("eth9:80: its address does not exist") == 1
    for fault in (errno.EADDRNOTAVAIL, errno.ENODEV, errno.EADDRNOTAVAIL):
        binding.fault = fault
        clock.advance(RETRY_SECONDS)
        settle(reactor)
    assert (binding.tries, binding.bound) == (3, [])
    assert capfd.readouterr().err == ""
    binding.fault = 0
    settle(reactor)
    assert binding.bound == []
    clock.advance(RETRY_SECONDS)
    settle(reactor)
    assert len(binding.bound) == 2
    assert capfd.readouterr().err.count("eth9:80: its address is there now") == 1
    clock.advance(10 * RETRY_SECONDS)
    settle(reactor)
    assert binding.tries == 4
    close(binding.bound)


def test_another_fault_is_logged_once_and_waited_out(
    reactor: Reactor, clock: ManualClock, capfd: pytest.CaptureFixture[str]
) -> None:
    binding = Binding()
    BindRetry(reactor, binding.bind, binding.bound.extend, "eth9:80")
    binding.fault = errno.EADDRINUSE
    for _ in range(3):
        clock.advance(RETRY_SECONDS)
        settle(reactor)
    assert capfd.readouterr().err.count("eth9:80: Address already in use") == 1
    binding.fault = 0
    clock.advance(RETRY_SECONDS)
    settle(reactor)
    close(binding.bound)


def test_cancel(reactor: Reactor, clock: ManualClock) -> None:
    binding = Binding()
    retry = BindRetry(reactor, binding.bind, binding.bound.extend, "eth9:80")
    clock.advance(RETRY_SECONDS)
    settle(reactor)
    retry.cancel()
    clock.advance(RETRY_SECONDS)
    settle(reactor)
    assert binding.tries == 1
