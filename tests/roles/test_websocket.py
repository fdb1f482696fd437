"""The websocket role from the first frame to the last: sessions, messages, the close handshake, deadlines."""

from __future__ import annotations

import socket
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from lwsws.core.session import WsSession
from lwsws.roles.websocket import PONG_SECONDS, STILL_THERE
from lwsws.wire.ws_connection import WsLimits
from lwsws.wire.ws_message import PreparedMessage
from tests.net.support import tcp_pair
from tests.support.raw import VHOST
from tests.support.ws import KEY, Notes, WsBench, WsPeer, echo, notes_of, opened
from tests.support.ws_client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, frame


@pytest.fixture
def bench() -> Iterator[WsBench]:
    """A bench of its own for each test."""
    bench = WsBench()
    yield bench
    bench.close()


def datagram_pair() -> Tuple[socket.socket, socket.socket]:
    """Sockets where each send is received by a recv of its own."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return ours, theirs


def end(client: WsPeer) -> None:
    """The client sees the end of the stream, as it must, and closes."""
    assert client.peer.over
    client.peer.close()
    client.bench.settle()


# Sessions.


def test_a_session_from_beginning_to_end(bench: WsBench) -> None:
    client = opened(bench)
    client.send_text("one")
    client.send_binary(b"two")
    client.send_close(1000, "bye")
    assert client.closed_with() == (1000, "bye")
    client.peer.close()
    bench.settle()
    assert notes_of(client).events == ["established", ("receive", "one"), ("receive", b"two"),
                                       ("closed", 1000, "bye")]


def test_a_session_knows_who_it_is(bench: WsBench) -> None:
    client = bench.open(bench.begin(Notes()), "/chat?room=1", "User-Agent: ua/1\r\n", username="joe")
    s = client.session
    assert (s.peer, s.vhost, s.user, s.username, s.subprotocol) == ("192.0.2.7", VHOST, None, "joe", "notes")
    assert s.secure is False and s.ident == bench.only().ident
    request = s.request
    assert (request.method, request.path, request.query) == ("GET", "/chat", "room=1")
    assert request.headers.get("user-agent") == "ua/1"


def test_open_sessions_are_those_of_the_instance(bench: WsBench) -> None:
    notes = bench.begin(Notes())
    first, second = bench.open(notes), bench.open(notes)
    assert notes.sessions == {first.session, second.session}
    first.peer.close()
    bench.settle()
    assert notes.sessions == {second.session}


def test_frames_behind_the_handshake_are_received(bench: WsBench) -> None:
    client = opened(bench, receive=echo)
    client.send(frame(TEXT, b"a", key=KEY) + frame(TEXT, b"b", key=KEY))
    assert client.messages() == ["a", "b"]


# Messages.


def test_what_is_sent_in_one_event_goes_out_at_once(bench: WsBench) -> None:
    client = opened(bench, receive=echo, pair=datagram_pair)
    client.send(b"".join(frame(TEXT, b"%d" % n, key=KEY) for n in range(10)))
    assert len(client.peer.receive()) == 10 * 3     # of one send, as each is one packet here


def test_messages_from_outside_an_event_are_joined(bench: WsBench) -> None:
    client = opened(bench)
    client.session.send("a")
    client.session.send(b"b")
    assert client.peer.receive() == b""     # not before the next turn
    assert client.frames() == [Frame(TEXT, b"a", True, 0), Frame(BINARY, b"b", True, 0)]


def test_a_prepared_message_goes_to_many(bench: WsBench) -> None:
    notes = bench.begin(Notes())
    clients = [bench.open(notes) for _ in range(3)]
    message = PreparedMessage("news")
    for s in notes.sessions:
        s.send(message)
    assert [client.messages() for client in clients] == [["news"]] * 3


def test_fragments_are_sent_as_they_are_given(bench: WsBench) -> None:
    client = opened(bench)
    client.session.send_fragment("a", False)
    client.session.send_fragment("b", False)
    client.session.send_fragment("", True)
    assert client.frames() == [Frame(TEXT, b"a", False, 0), Frame(CONTINUATION, b"b", False, 0),
                               Frame(CONTINUATION, b"", True, 0)]


def test_a_message_inside_a_fragmented_one_is_a_fault_of_the_plugin(bench: WsBench) -> None:
    def wrong(s: WsSession, message: Any) -> None:
        s.send_fragment("a", False)
        s.send("b")

    client = opened(bench, receive=wrong)
    client.send_text("go")
    assert client.closed_with() == (1011, "")
    assert notes_of(client).events[-1] == ("receive", "go")


def test_fragments_are_told_to_who_wants_them(bench: WsBench) -> None:
    notes = bench.begin(Notes())
    notes.fragments = True
    client = bench.open(notes)
    client.send_frame(TEXT, b"a", fin=False)
    client.send_frame(CONTINUATION, b"b")
    client.send_binary(b"c")
    assert notes.events[1:] == [("receive_fragment", "a", True, False),
                                ("receive_fragment", "b", False, True),
                                ("receive_fragment", b"c", True, True)]


# Control frames.


def test_a_ping_is_answered_also_inside_a_message(bench: WsBench) -> None:
    client = opened(bench, receive=echo)
    client.send_frame(TEXT, b"a", fin=False)
    client.send_frame(PING, b"there?")
    client.send_frame(CONTINUATION, b"b")
    assert client.frames() == [Frame(PONG, b"there?", True, 0), Frame(TEXT, b"ab", True, 0)]


def test_the_plugin_hears_of_the_answer_to_its_ping(bench: WsBench) -> None:
    client = opened(bench)
    client.session.ping(b"1")
    assert client.frames() == [Frame(PING, b"1", True, 0)]
    client.send_frame(PONG, b"1")
    assert notes_of(client).events == ["established", ("pong", b"1")]


def test_an_idle_peer_is_pinged_and_lives_if_it_answers(bench: WsBench) -> None:
    client = opened(bench, ping_seconds=200)
    bench.advance(199)
    assert client.frames() == []
    bench.advance(1)
    assert client.frames() == [Frame(PING, STILL_THERE, True, 0)]
    client.send_frame(PONG, STILL_THERE)
    bench.advance(199)
    assert client.frames() == [] and not client.peer.over
    assert notes_of(client).events == ["established"]   # it was not the plugin's ping


def test_an_idle_peer_that_does_not_answer_is_given_up(bench: WsBench) -> None:
    client = opened(bench, ping_seconds=200)
    bench.advance(200)
    bench.advance(PONG_SECONDS - 1)
    assert not bench.only().closed
    bench.advance(1)
    assert not bench.context.connections
    assert notes_of(client).events[-1] == ("closed", 1006, "")


def test_what_we_send_does_not_count_as_a_sign_of_life(bench: WsBench) -> None:
    client = opened(bench, ping_seconds=200)
    for _ in range(4):
        bench.advance(50)
        client.session.send("tick")
        bench.settle()
    assert Frame(PING, STILL_THERE, True, 0) in client.frames()


def test_any_data_counts_as_an_answer(bench: WsBench) -> None:
    client = opened(bench, ping_seconds=200)
    bench.advance(200)
    client.send_text("busy")
    bench.advance(PONG_SECONDS + 1)
    assert not bench.only().closed
    client.send_frame(PONG, STILL_THERE)     # late, and still not the plugin's
    assert notes_of(client).events == ["established", ("receive", "busy")]


# Closing.


def test_the_plugin_closes_and_the_client_answers(bench: WsBench) -> None:
    client = opened(bench, receive=lambda s, message: s.close(4001, "enough"))
    client.send_text("go")
    assert client.closed_with() == (4001, "enough")
    client.send_text("ignored")
    client.send_close(4001)
    end(client)
    assert notes_of(client).events[1:] == [("receive", "go"), ("closed", 4001, "")]


def test_a_client_that_does_not_answer_a_close_is_left(bench: WsBench) -> None:
    client = opened(bench, established=lambda s: s.close())
    assert client.frames() == [Frame(CLOSE, b"\x03\xe8", True, 0)]
    for _ in range(4):
        bench.advance(1)
        client.send_text("still talking")
    assert not bench.only().closed
    bench.advance(1)
    assert not bench.context.connections
    assert notes_of(client).events == ["established", ("closed", 1006, "")]


def test_nothing_is_sent_after_a_close_frame(bench: WsBench) -> None:
    client = opened(bench)
    s = client.session
    s.close()
    s.send("late")
    s.send_fragment("late", True)
    s.ping()
    s.close(4000)
    assert client.frames() == [Frame(CLOSE, b"\x03\xe8", True, 0)]
    client.send_frame(PING, b"?")
    assert client.frames() == []


def test_an_empty_close_frame_is_answered_by_one(bench: WsBench) -> None:
    client = opened(bench)
    client.send_frame(CLOSE)
    assert client.frames() == [Frame(CLOSE, b"", True, 0)]
    end(client)
    assert notes_of(client).events[-1] == ("closed", 1005, "")


def test_an_end_without_a_close_frame_is_1006(bench: WsBench) -> None:
    client = opened(bench)
    client.peer.half_close()
    bench.settle()
    assert notes_of(client).events[-1] == ("closed", 1006, "")
    assert not bench.context.connections


def test_a_reset_is_1006(bench: WsBench) -> None:
    client = bench.open(bench.begin(Notes()), pair=tcp_pair)
    client.peer.reset()
    bench.until(lambda: not bench.context.connections)
    assert notes_of(client).events[-1] == ("closed", 1006, "")


def test_the_end_of_the_server_is_1001(bench: WsBench) -> None:
    client = opened(bench)
    bench.only().role.shutdown()
    assert client.closed_with() == (1001, "")


def test_a_peer_that_breaks_the_rules_is_told_so(bench: WsBench) -> None:
    client = opened(bench)
    client.send(frame(TEXT, b"unmasked"))
    code, reason = client.closed_with()
    assert code == 1002 and reason
    end(client)
    assert notes_of(client).events[-1] == ("closed", 1002, reason)


def test_a_message_over_the_limit_is_1009(bench: WsBench) -> None:
    client = bench.open(bench.begin(Notes()), limits=WsLimits(message=10))
    client.send_text("0123456789")
    client.send_text("0123456789x")
    assert client.closed_with()[0] == 1009
    assert notes_of(client).events[1:] == [("receive", "0123456789")]


def test_nothing_is_received_behind_a_breach(bench: WsBench) -> None:
    client = opened(bench)
    client.send(frame(3, b"", key=KEY) + frame(TEXT, b"x", key=KEY))
    client.send_text("y")
    assert client.closed_with()[0] == 1002
    assert notes_of(client).events == ["established"]


def test_a_session_that_opens_while_the_server_ends_is_told_at_once(bench: WsBench) -> None:
    bench.context.stopping = True
    client = opened(bench)
    assert client.closed_with() == (1001, "")
    assert notes_of(client).events == ["established"]


# Faults of the plugin.


def fails(*arguments: Any) -> None:
    raise ZeroDivisionError("as a test wants it")


def exits(*arguments: Any) -> None:
    raise SystemExit


@pytest.mark.parametrize("fault", [fails, exits])
@pytest.mark.parametrize("event", ["established", "receive", "writable", "timer"])
def test_a_fault_ends_the_session_with_1011(bench: WsBench, event: str, fault: Any, capfd: Any) -> None:
    hooks: Dict[str, Any] = {event: fault}
    client = opened(bench, **hooks)
    if event == "receive":
        client.send_text("x")
    elif event == "writable":
        client.session.request_writable()
    elif event == "timer":
        client.session.set_timer(1)
        bench.advance(1)
    other = opened(bench, receive=echo)
    other.send_text("fine")
    assert other.messages() == ["fine"]
    assert client.closed_with() == (1011, "")
    assert f"fault in Notes.{event}" in capfd.readouterr().err
    other.peer.close()
    bench.settle()


def test_a_fault_at_the_end_ends_nothing_else(bench: WsBench) -> None:
    client = opened(bench, closed=fails)
    other = opened(bench, receive=echo)
    client.peer.close()
    bench.settle()
    other.send_text("fine")
    assert other.messages() == ["fine"]


# Work and timers.


def test_a_worker_does_what_would_wait(bench: WsBench) -> None:
    client = opened(bench)
    client.session.run_blocking(int, "7", then=lambda s, result, error: s.send(str(result + 1)))
    bench.work_off()
    assert client.messages() == ["8"]


def test_nobody_is_told_of_a_result_after_the_end(bench: WsBench) -> None:
    told: List[Any] = []
    client = opened(bench)
    client.session.run_blocking(int, "7", then=lambda s, result, error: told.append(result))
    client.session.close()
    bench.work_off()
    assert told == []


def test_a_timer_comes_once(bench: WsBench) -> None:
    client = opened(bench, timer=lambda s: s.send("now"))
    client.session.set_timer(5)
    bench.advance(5)
    bench.advance(5)
    assert client.messages() == ["now"]


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
def test_a_timer_needs_a_time(bench: WsBench, seconds: float) -> None:
    client = opened(bench)
    with pytest.raises(ValueError, match="a timer cannot be set"):
        client.session.set_timer(seconds)
