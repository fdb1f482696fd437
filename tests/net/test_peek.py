"""Peeking: the first bytes are looked at and stay, the loop sleeps meanwhile, and anybody can take over."""

from __future__ import annotations

import socket
from typing import Callable, Iterator, List, Optional, Tuple

import pytest

from lwsws.net.peek import NAP_SECONDS
from lwsws.net.reactor import Reactor
from lwsws.net.receiver import ConnectionLost
from lwsws.net.transport import HIGH
from tests.net.support import Connected, CountingSelector, reset, settle, tcp_pair, unix_pair
from tests.support.clock import ManualClock

LIMIT = 1000


class Peeked(Connected):
    """A transport that peeks from the start, and what it has shown."""

    def __init__(
        self,
        reactor: Reactor,
        clock: ManualClock,
        pair: Tuple[socket.socket, socket.socket],
        limit: int = LIMIT,
    ) -> None:
        super().__init__(reactor, *pair)
        if self.peer.family == socket.AF_INET:  # each byte for itself
            self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.clock = clock
        self.looks: List[Tuple[bytes, bool]] = []
        self.on_look: Optional[Callable[[], None]] = None
        # As a connection does it: its role first, then the start.
        self.transport.start_peeking(limit, self.look)
        self.transport.start()

    def look(self, data: bytes, ended: bool) -> None:
        """Note what is shown, and call the hook."""
        self.looks.append((data, ended))
        if self.on_look is not None:
            self.on_look()

    def wait(self) -> None:
        """Let all happen that can, also after a nap."""
        settle(self.reactor)
        self.clock.advance(NAP_SECONDS)
        settle(self.reactor)

    def send(self, data: bytes) -> None:
        """Send from the peer, and wait."""
        self.peer.sendall(data)
        self.wait()

    def assert_asleep(self, selector: CountingSelector) -> None:
        """Nothing is reported again and again."""
        settle(self.reactor)
        reported = selector.reported
        settle(self.reactor, 20)
        assert selector.reported == reported


@pytest.fixture(params=[unix_pair, tcp_pair])
def peeked(request: pytest.FixtureRequest, reactor: Reactor, clock: ManualClock) -> Iterator[Peeked]:
    """A peeking transport, once on a unix socket and once on TCP."""
    made = Peeked(reactor, clock, request.param())
    yield made
    made.finish()


@pytest.fixture
def tcp(reactor: Reactor, clock: ManualClock) -> Iterator[Peeked]:
    """A peeking transport on TCP."""
    made = Peeked(reactor, clock, tcp_pair())
    yield made
    made.finish()


class TestLooking:
    """What is shown, and when."""

    def test_all_bytes_each_time_there_are_more(self, peeked: Peeked, selector: CountingSelector) -> None:
        for number in range(20):
            peeked.send(b"%c" % (65 + number))
            peeked.assert_asleep(selector)
        sent = bytes(range(65, 85))
        assert peeked.looks == [(sent[: count + 1], False) for count in range(20)]
        assert peeked.got.events == []
        assert peeked.transport.bytes_received == 0

    def test_the_kernel_waits_for_more(self, tcp: Peeked, selector: CountingSelector) -> None:
        """LESSONS T5: without SO_RCVLOWAT the loop would not sleep."""
        for _ in range(20):
            tcp.peer.sendall(b"x")
            settle(tcp.reactor)
        assert (len(tcp.looks), selector.reported) == (20, 20)

    def test_where_it_cannot_there_are_naps(
        self, reactor: Reactor, clock: ManualClock, selector: CountingSelector
    ) -> None:
        made = Peeked(reactor, clock, unix_pair())
        made.send(b"a")
        made.peer.sendall(b"b")
        clock.advance(NAP_SECONDS * 0.99)
        settle(reactor)
        assert made.looks == [(b"a", False)]
        clock.advance(NAP_SECONDS * 0.01)
        settle(reactor)
        assert made.looks == [(b"a", False), (b"ab", False)]
        reported = selector.reported
        for _ in range(10):
            made.wait()
        assert (selector.reported - reported, len(made.looks)) == (10, 2)
        made.finish()

    def test_a_receive_buffer_too_small_for_that(
        self, reactor: Reactor, clock: ManualClock, selector: CountingSelector
    ) -> None:
        """The kernel takes no SO_RCVLOWAT above half of the buffer."""
        ours, peer = tcp_pair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        made = Peeked(reactor, clock, (ours, peer), 60_000)
        half = ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        sent = b"x" * (half + 1)
        made.send(sent)
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == half
        made.assert_asleep(selector)
        made.send(b"y")
        assert made.looks == [(sent, False), (sent + b"y", False)]
        made.finish()

    @pytest.mark.parametrize("sent", [b"", b"GET"])
    @pytest.mark.parametrize("at_once", [False, True])
    def test_the_end_is_told_once(
        self, peeked: Peeked, selector: CountingSelector, sent: bytes, at_once: bool
    ) -> None:
        peeked.peer.sendall(sent)
        if not at_once:
            peeked.wait()
        peeked.peer.shutdown(socket.SHUT_WR)
        peeked.wait()
        assert peeked.looks == [(sent, False)] * bool(sent) + [(sent, True)]
        peeked.assert_asleep(selector)
        peeked.wait()
        assert len(peeked.looks) == 1 + bool(sent)

    def test_no_more_than_the_limit(self, peeked: Peeked, selector: CountingSelector) -> None:
        peeked.send(b"x" * (LIMIT - 1))
        peeked.send(b"yz")
        peeked.assert_asleep(selector)
        peeked.send(b"more")
        assert [len(data) for data, _ in peeked.looks] == [LIMIT - 1, LIMIT]
        assert peeked.looks[-1][0].endswith(b"xy")

    def test_a_reset_loses_the_connection(self, tcp: Peeked) -> None:
        tcp.send(b"x")
        reset(tcp.peer)
        tcp.wait()
        # What had come can still be read.
        assert tcp.looks == [(b"x", False), (b"x", True)]
        tcp.transport.stop_peeking()
        tcp.wait()
        assert (tcp.got.data, tcp.got.events) == (b"x", ["data", "lost"])

    def test_a_reset_before_the_first_byte(self, tcp: Peeked) -> None:
        reset(tcp.peer)
        tcp.wait()
        assert (tcp.looks, tcp.got.events) == ([], ["lost"])
        assert isinstance(tcp.got.loss, ConnectionLost)
        assert str(tcp.got.loss) == "Connection reset by peer"

    def test_a_faulty_look_ends_the_connection(
        self, peeked: Peeked, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def faulty() -> None:
            raise ValueError("out of order")

        peeked.on_look = faulty
        peeked.send(b"x")
        assert peeked.got.events == ["lost"]
        assert capfd.readouterr().err.count("ValueError: out of order") == 1

    def test_anew(self, peeked: Peeked) -> None:
        """The next role looks for itself, also if nothing more comes."""
        shown: List[Tuple[bytes, bool]] = []
        peeked.on_look = lambda: peeked.transport.start_peeking(3, lambda *seen: shown.append(seen))
        peeked.send(b"ab")
        peeked.send(b"cd")
        assert (peeked.looks, shown) == ([(b"ab", False)], [(b"ab", False), (b"abc", False)])


class TestStopping:
    """stop_peeking: reading brings it all."""

    @pytest.mark.parametrize("where", ["look", "later"])
    def test_the_receiver_gets_all_bytes(self, peeked: Peeked, where: str) -> None:
        if where == "look":
            peeked.on_look = peeked.transport.stop_peeking
        peeked.send(b"GET / ")
        if where == "later":
            assert peeked.got.events == []
            peeked.transport.stop_peeking()
        peeked.send(b"HTTP/1.1")
        assert (peeked.got.data, peeked.got.events) == (b"GET / HTTP/1.1", ["data"])
        assert peeked.looks == [(b"GET / ", False)]
        assert peeked.transport.bytes_received == 14
        peeked.transport.stop_peeking()

    def test_one_byte_is_enough_again(self, tcp: Peeked) -> None:
        tcp.send(b"12345")
        assert tcp.transport.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 6
        tcp.transport.stop_peeking()
        tcp.wait()
        tcp.send(b"6")
        assert tcp.got.data == b"123456"

    def test_the_end_comes_too(self, peeked: Peeked) -> None:
        peeked.send(b"x")
        peeked.peer.shutdown(socket.SHUT_WR)
        peeked.wait()
        assert peeked.got.events == []
        peeked.transport.stop_peeking()
        peeked.wait()
        assert peeked.got.events == ["data", "eof"]

    def test_without_peeking_it_starts_nothing(self, reactor: Reactor) -> None:
        made = Connected(reactor, *unix_pair())
        made.transport.stop_peeking()
        made.transport.skip(5)
        made.peer.sendall(b"x")
        settle(reactor)
        assert made.got.events == []
        made.finish()

    def test_pausing_and_resuming_are_for_reading(self, peeked: Peeked) -> None:
        peeked.transport.pause_reading()
        peeked.send(b"a")
        peeked.transport.resume_reading()
        peeked.send(b"b")
        assert (peeked.looks, peeked.got.events) == ([(b"a", False), (b"ab", False)], [])


class TestSkipping:
    """skip: what was looked at is taken out of the socket."""

    @pytest.mark.parametrize("where", ["look", "later"])
    def test_the_rest_is_left(self, peeked: Peeked, clock: ManualClock, where: str) -> None:
        def take_the_line() -> None:
            peeked.on_look = None
            clock.advance(1.0)
            settle(peeked.reactor, 1)
            peeked.transport.skip(7)

        if where == "look":
            peeked.on_look = lambda: peeked.transport.skip(7)
            peeked.send(b"PROXY\r\nGET")
            peeked.on_look = None
        else:
            peeked.send(b"PROXY\r\nGET")
            take_the_line()
        assert peeked.transport.bytes_received == 7
        peeked.wait()
        assert peeked.looks == [(b"PROXY\r\nGET", False)], "nothing new came"
        peeked.send(b" /")
        assert peeked.looks[1:] == [(b"GET /", False)]
        peeked.transport.stop_peeking()
        peeked.wait()
        assert peeked.got.data == b"GET /"

    def test_it_counts_as_progress(self, tcp: Peeked, clock: ManualClock) -> None:
        tcp.on_look = lambda: tcp.transport.skip(1)
        clock.advance(5.0)
        tcp.send(b"x")
        assert tcp.transport.last_progress == 1005.0

    def test_all_of_it(self, peeked: Peeked, selector: CountingSelector) -> None:
        peeked.on_look = lambda: peeked.transport.skip(len(peeked.looks[-1][0]))
        for _ in range(3):
            peeked.send(b"abc")
        assert peeked.looks == [(b"abc", False)] * 3
        peeked.assert_asleep(selector)

    def test_it_makes_room_below_the_limit(self, peeked: Peeked) -> None:
        peeked.send(b"x" * LIMIT + b"y")
        peeked.transport.skip(10)
        peeked.wait()
        assert [len(data) for data, _ in peeked.looks] == [LIMIT, LIMIT - 9]

    def test_after_the_end_nothing_is_new(self, peeked: Peeked, selector: CountingSelector) -> None:
        peeked.send(b"abc")
        peeked.peer.shutdown(socket.SHUT_WR)
        peeked.wait()
        peeked.transport.skip(1)
        peeked.wait()
        assert peeked.looks == [(b"abc", False), (b"abc", True)]
        peeked.assert_asleep(selector)

    @pytest.mark.parametrize("end", [False, True])
    def test_more_than_there_is(self, peeked: Peeked, end: bool) -> None:
        peeked.send(b"abc")
        if end:
            peeked.peer.shutdown(socket.SHUT_WR)
        peeked.transport.skip(4)
        peeked.wait()
        assert peeked.got.events == ["lost"]


class TestEnding:
    """close, abort and detach while peeking."""

    def test_nothing_more_is_shown_after_close(self, peeked: Peeked) -> None:
        peeked.send(b"x")
        peeked.transport.close()
        peeked.transport.start_peeking(5, peeked.look)
        peeked.wait()
        assert (peeked.looks, peeked.got.events) == ([(b"x", False)], ["closed"])

    @pytest.mark.parametrize("end", ["close", "linger", "abort"])
    def test_in_a_look(self, peeked: Peeked, end: str) -> None:
        def finish() -> None:
            if end == "abort":
                peeked.transport.abort()
            else:
                peeked.transport.write(b"no")
                peeked.transport.close(linger=end == "linger")

        peeked.on_look = finish
        peeked.send(b"SSH")
        assert peeked.got.events == ([] if end == "linger" else ["closed"])
        if end == "linger":
            assert peeked.read_all() == b"no"
            peeked.peer.sendall(b"x")
            peeked.peer.close()
            peeked.wait()
            assert peeked.got.events == ["closed"]
        assert len(peeked.looks) == 1

    def test_writing_goes_on_meanwhile(self, peeked: Peeked) -> None:
        peeked.send(b"x")
        peeked.transport.write(b"y" * (2 * HIGH))
        assert peeked.transport.size
        peeked.send(b"z")
        assert peeked.looks == [(b"x", False), (b"xz", False)]
        peeked.transport.skip(2)  # else the close is a reset
        peeked.transport.close()
        assert peeked.read_all() == b"y" * (2 * HIGH)
        peeked.spin(lambda: peeked.got.over)

    @pytest.mark.parametrize("where", ["look", "later"])
    def test_the_socket_is_given_away(self, peeked: Peeked, where: str) -> None:
        given: List[socket.socket] = []
        if where == "look":
            peeked.on_look = lambda: given.append(peeked.transport.detach())
        peeked.send(b"hello")
        if where == "later":
            given.append(peeked.transport.detach())
        peeked.wait()
        assert (peeked.transport.closed, peeked.got.events) == (True, [])
        peeked.transport.abort()
        peeked.transport.write(b"dropped")
        peeked.transport.close()
        peeked.wait()
        assert given[0].getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
        assert given[0].recv(100) == b"hello"
        given[0].send(b"welcome")
        assert peeked.peer.recv(100) == b"welcome"
        assert peeked.got.events == []
        given[0].close()

    def test_not_with_output_on_its_way(self, peeked: Peeked) -> None:
        peeked.transport.write(b"y" * (2 * HIGH))
        with pytest.raises(AssertionError, match="cannot give its socket away"):
            peeked.transport.detach()
