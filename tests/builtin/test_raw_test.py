"""raw-test: an echo."""

from __future__ import annotations

from lwsws.builtin.raw_test import RawTest
from lwsws.core.options import Options
from lwsws.net.transport import HIGH
from tests.net.support import tcp_pair
from tests.support.raw import VHOST, RawBench, raw_role


def test_what_comes_goes_back_even_after_the_client_has_sent_its_end(bench: RawBench) -> None:
    echo = RawTest()
    echo.init(VHOST, Options())
    client = bench.connect(raw_role(echo), tcp_pair)
    for line in (b"hello\r\n", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256))):
        client.send(line)
        bench.until(client.receive)
        assert client.data == line
        client.data.clear()
    client.send(b"bye")
    client.half_close()
    bench.until(lambda: client.over)
    assert client.data == b"bye"
    assert not bench.context.connections


def test_a_hundred_megabytes_come_back_to_a_client_that_reads_in_gulps(bench: RawBench) -> None:
    client = bench.connect(raw_role(RawTest()), tcp_pair)
    (conn,) = bench.context.connections
    total, block = 100 << 20, bytes(1 << 16)
    sent = received = most = turn = 0
    while received < total:
        if sent < total:
            sent += client.send_some(block[:total - sent])
        bench.reactor.run_once(0)
        most = max(most, conn.transport.size)
        turn += 1
        if turn % 64 == 0:
            while piece := client.receive():
                received += len(piece)
            client.data.clear()
    assert HIGH < most <= HIGH + len(block)
