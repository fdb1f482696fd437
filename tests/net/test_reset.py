"""Breaking off: never an end that looks like a regular one."""

from __future__ import annotations

import pytest

from lwsws.net.reset import break_off, is_delivered
from tests.net.support import LARGE, Connected, settle
from tests.support.waiting import wait_until


def test_a_peer_that_has_everything_gets_a_reset(tcp: Connected) -> None:
    tcp.transport.write(b"all")
    assert tcp.peer.recv(3) == b"all"
    wait_until(lambda: is_delivered(tcp.transport), "the acknowledgement")
    break_off(tcp.transport)
    settle(tcp.reactor)
    assert tcp.got.events == ["closed"]
    with pytest.raises(ConnectionResetError):
        tcp.peer.recv(1)


def test_what_waits_in_our_queue_is_given_up_with_a_reset(tcp: Connected) -> None:
    while not tcp.transport.size:
        tcp.transport.write(bytes(LARGE))
    assert not is_delivered(tcp.transport)
    break_off(tcp.transport)
    with pytest.raises(ConnectionResetError):
        while tcp.peer.recv(1 << 16):
            pass


def test_what_the_kernel_has_does_not_arrive_as_if_it_were_all(tcp: Connected) -> None:
    """More than the peer's buffer takes, so that some of it is with our kernel when it is closed."""
    while not tcp.transport.size and is_delivered(tcp.transport):
        tcp.transport.write(b"x" * 4096)
    assert not tcp.transport.size
    break_off(tcp.transport)
    with pytest.raises(ConnectionResetError):
        while tcp.peer.recv(1 << 16):
            pass


def test_a_peer_that_is_gone_will_get_nothing_more(tcp: Connected) -> None:
    tcp.transport.pause_reading()
    settle(tcp.reactor)
    tcp.peer.close()
    tcp.transport.write(b"first: answered by a reset")
    wait_until(lambda: is_delivered(tcp.transport), "the reset")


def test_one_that_is_closed_already_is_left_alone(conn: Connected) -> None:
    break_off(conn.transport)
    break_off(conn.transport)
    settle(conn.reactor)
    assert conn.got.events == ["closed"]
    assert is_delivered(conn.transport)
