"""The limits for each client address: who counts as one, what is counted, and that nothing stays behind."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from lwsws import log
from lwsws.core.peers import QUIET_SECONDS, Peers, address_key, peer_name
from tests.support.clock import ManualClock


@pytest.mark.parametrize("address, name", [
    (("192.0.2.7", 4711), "192.0.2.7"),
    (("2001:db8::1", 4711, 0, 0), "2001:db8::1"),
    (("::ffff:192.0.2.7", 4711, 0, 0), "192.0.2.7"),
    (("::ffff:1", 4711, 0, 0), "::ffff:1"),     # 0:0:0:0:0:0:ffff:1, which maps nothing
    ("", "unix"),
    ("@abstract", "unix"),
    (None, "unix"),
])
def test_peer_name(address: Any, name: str) -> None:
    assert peer_name(address) == name


@pytest.mark.parametrize("peer, key", [
    ("192.0.2.7", "192.0.2.7"),
    ("2001:db8:1:2::5", "2001:db8:1:2::/64"),
    ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
    ("2001:db8:1:3::5", "2001:db8:1:3::/64"),
    ("2001:0DB8:1:3:0::5", "2001:db8:1:3::/64"),
    ("fe80::1%eth0", "fe80::/64"),
    ("::1", "::/64"),
    ("::ffff:192.0.2.7", "192.0.2.7"),
    ("0:0:0:0:0:ffff:c000:207", "192.0.2.7"),
    ("not:an:address", "not:an:address"),
    ("unix", None),
    ("", None),
])
def test_address_key(peer: str, key: Optional[str]) -> None:
    assert address_key(peer) == key


def test_connections_up_to_the_limit() -> None:
    peers = Peers(2, 0, ManualClock())
    assert [peers.admit(key) for key in ("a", "a", "a", "b")] == [True, True, False, True]
    peers.leave("a")
    assert [peers.admit("a"), peers.admit("a")] == [True, False]
    assert peers.refused == 2
    assert all(peers.begin("a") for _ in range(100))


def test_requests_up_to_the_limit() -> None:
    peers = Peers(0, 2, ManualClock())
    assert [peers.begin(key) for key in ("a", "a", "a", "b")] == [True, True, False, True]
    peers.end("a")
    assert [peers.begin("a"), peers.begin("a")] == [True, False]
    assert peers.refused == 2
    assert all(peers.admit("a") for _ in range(100))


def test_nothing_stays_behind() -> None:
    peers = Peers(2, 2, ManualClock())
    for key in ("a", "b", "a"):
        assert peers.admit(key) and peers.begin(key)
    assert not peers.admit("a") and not peers.begin("a")
    assert len(peers) == 4
    for key in ("a", "b", "a"):
        peers.end(key)
        peers.leave(key)
    assert len(peers) == 0


def test_each_refusal_is_logged_and_one_a_minute_is_a_warning(capfd: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock()
    peers = Peers(1, 1, clock)
    assert peers.admit("192.0.2.7") and peers.begin("192.0.2.7")
    log.set_level(log.DEFAULT_MASK | log.INFO)
    try:
        for _ in range(3):
            assert not peers.admit("192.0.2.7")
        assert not peers.begin("192.0.2.7")
        clock.advance(QUIET_SECONDS)
        assert not peers.begin("192.0.2.7")
    finally:
        log.set_level(log.DEFAULT_MASK)
    open_line = "192.0.2.7: over ip-limit-wsi 1: connection closed"
    busy_line = "192.0.2.7: over ip-limit-ah 1: connection closed"
    assert [line.partition("] ")[2] for line in capfd.readouterr().err.splitlines()] == [
        f"W: {open_line}", f"I: {open_line}", f"I: {open_line}", f"I: {busy_line}",
        f"W: {busy_line} (3 more of all clients since the last warning)"]
