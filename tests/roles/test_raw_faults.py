"""The raw role: plugins that fail, and connections that they hand over."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from lwsws.core.role import Role
from lwsws.core.session import RawSession
from lwsws.net.onward import parse_onward
from tests.support.raw import Notes, Peer, RawBench, opened, raw_role

Errors = pytest.CaptureFixture[str]


# Faults of the plugin.


def broken(s: RawSession) -> None:
    """A hook with a fault."""
    raise RuntimeError("a fault of the plugin")


def provoke(event: str, bench: RawBench, client: Peer, session: RawSession) -> None:
    """Have the event come."""
    if event == "receive":
        client.send(b"x")
    elif event == "writable":
        session.request_writable()
    elif event == "timer":
        session.set_timer(1)
    elif event in ("eof", "closed"):
        client.half_close()
    bench.settle()
    bench.advance(1)


@pytest.mark.parametrize("event", ["adopted", "receive", "eof", "writable", "timer", "closed"])
def test_a_fault_in_any_method_is_logged_and_ends_that_session_only(
    bench: RawBench, event: str, capfd: Errors
) -> None:
    _, others = opened(bench)
    notes = Notes(**{event: broken})
    client = bench.connect(raw_role(notes))
    bench.settle()
    provoke(event, bench, client, notes.adopted[0])
    assert client.over
    assert notes.events.count("closed") == 1 and notes.events[-1] == "closed"
    logged = capfd.readouterr().err
    assert logged.count("conn 2: fault in Notes.") == 1
    assert "RuntimeError: a fault of the plugin" in logged and "Traceback" in logged
    assert others.events == ["adopted"]
    assert len(bench.context.connections) == 1


def test_a_fault_after_the_work_of_a_worker_ends_the_session(bench: RawBench, capfd: Errors) -> None:
    client, notes = opened(bench)

    def then(s: RawSession, result: Any, error: Optional[Exception]) -> None:
        raise RuntimeError("a fault of the plugin")

    notes.adopted[0].run_blocking(int, "1", then=then)
    bench.until(lambda: "closed" in notes.events)
    assert client.over
    assert "conn 1: fault in " in capfd.readouterr().err


def test_a_fault_with_held_bytes_tells_no_more_of_them(bench: RawBench, capfd: Errors) -> None:
    client, notes = opened(bench, adopted=lambda s: s.pause(), receive=broken)
    client.send(b"x")
    bench.settle()
    client.half_close()
    notes.adopted[0].resume()
    bench.settle()
    assert notes.events == ["adopted", "receive", "closed"]
    assert "fault in Notes.raw_receive" in capfd.readouterr().err


# Handing over.


def test_a_session_is_handed_over_with_all_its_bytes_in_order(bench: RawBench) -> None:
    server = bench.listen()

    def receive(s: RawSession) -> None:
        s.tunnel(server.onward, notes.data)
        s.write(b"too late")
        s.abort()
        assert notes.events[-1] == "receive"

    client, notes = opened(bench, receive=receive)
    notes.adopted[0].write(b"banner ")
    notes.adopted[0].set_timer(1)
    notes.adopted[0].request_writable()
    client.send(b"one ")
    bench.until(lambda: "closed" in notes.events)
    client.send(b"two")
    far = server.accept()
    bench.until(lambda: far.receive() and far.data == b"one two")
    far.send(b"answer")
    bench.until(lambda: client.receive() and client.data == b"banner answer")
    bench.advance(5)
    assert notes.events in (["adopted", "receive", "closed"], ["adopted", "writable", "receive", "closed"])


def test_held_bytes_and_a_held_end_are_handed_over(bench: RawBench) -> None:
    server = bench.listen()
    client, notes = opened(bench, adopted=lambda s: s.pause())
    client.send(b"held")
    bench.settle()
    client.half_close()
    bench.settle()
    notes.adopted[0].tunnel(server.onward, b"first ")
    far = server.accept()
    bench.until(lambda: far.over)
    assert far.data == b"first held"
    assert notes.events == ["adopted", "closed"]


def test_a_session_is_handed_over_by_what_hears_of_the_end(bench: RawBench) -> None:
    def hand_over(s: RawSession) -> None:
        s.tunnel(server.onward, notes.data)

    server = bench.listen()
    client, notes = opened(bench, eof=hand_over)
    client.send(b"all")
    client.half_close()
    far = server.accept()
    bench.until(lambda: far.over)
    assert far.data == b"all"
    far.send(b"answer")
    far.close()
    bench.until(lambda: client.over)
    assert client.data == b"answer"
    assert notes.events == ["adopted", "receive", "eof", "closed"]


def test_leftover_goes_along_if_the_plugin_hands_over_at_once(bench: RawBench) -> None:
    class Earlier(Role):
        def data_received(self, data: bytes) -> None:
            self.conn.switch_role(raw_role(notes), data)

    server = bench.listen()
    notes = Notes(adopted=lambda s: s.tunnel(server.onward))
    client = bench.connect(Earlier())
    client.send(b"leftover")
    far = server.accept()
    bench.until(far.receive)
    assert far.data == b"leftover"
    assert notes.events == ["adopted", "closed"]


def test_a_fault_after_handing_over_ends_the_tunnel_too(bench: RawBench, capfd: Errors) -> None:
    def adopted(s: RawSession) -> None:
        s.tunnel(server.onward)
        raise RuntimeError("a fault of the plugin")

    server = bench.listen()
    client, notes = opened(bench, adopted=adopted)
    assert client.over
    assert notes.events == ["adopted", "closed"]
    assert not bench.context.connections
    assert "fault in Notes.raw_adopted" in capfd.readouterr().err


def test_what_cannot_be_written_to_any_more_cannot_be_handed_over(bench: RawBench) -> None:
    _, notes = opened(bench)
    notes.adopted[0].shutdown_write()
    with pytest.raises(RuntimeError, match="cannot be handed over"):
        notes.adopted[0].tunnel(parse_onward("127.0.0.1:1"))
