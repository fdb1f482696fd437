"""TLS transports: messages between the two OpenSSLs after the handshake, well meant and not."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from typing import Any, Iterator

import pytest

from lwsws.net import tls_transport
from lwsws.net.reactor import Reactor
from lwsws.net.tls_transport import NO_DATA_BYTES, TlsTransport, start_tls
from lwsws.net.transport import Transport
from tests.net.support import PASSES, PATIENCE_SECONDS, CountingSelector, Recorder, settle
from tests.net.tls_support import Secured, client_context, server_context
from tests.support.certificates import Certificates
from tests.support.programs import need

# Each takes 27 bytes, and the tool must be given one by one.
FEW_BYTES = 200 * 27


class Contrary(ssl.SSLObject):
    """OpenSSL that has to read before it can write, as often as told: a part of a KeyUpdate has come."""

    wants: int = 0

    def write(self, data: Any) -> int:
        """Write, or want to read."""
        if self.wants:
            self.wants -= 1
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "first read")
        return super().write(data)


class TestCrossing:
    """A write that must read first."""

    @pytest.fixture
    def contrary(self, reactor: Reactor, certificates: Certificates, version: str) -> Iterator[Secured]:
        """With an OpenSSL that is contrary when told so."""
        server = server_context(certificates, version)
        server.sslobject_class = Contrary
        made = Secured(reactor, server, client_context(certificates))
        yield made.handshake()
        made.finish()

    def want(self, made: Secured, times: int) -> None:
        """Have its next writes refused."""
        made.transport._tls.wants = times  # type: ignore[attr-defined]

    @pytest.mark.parametrize("paused", [False, True])
    def test_it_waits_for_bytes(self, contrary: Secured, selector: CountingSelector, paused: bool) -> None:
        """And for nothing else, so the loop sleeps; each read gives it one more try."""
        if paused:
            contrary.transport.pause_reading()
        self.want(contrary, 4)
        contrary.transport.write(b"answer")
        contrary.transport.write(b" it")
        assert contrary.transport.size == 9
        reported = selector.reported
        settle(contrary.reactor, 20)
        assert selector.reported == reported
        for byte in b"hello":
            contrary.send(bytes([byte]))
        assert contrary.got.data == (b"" if paused else b"hello")
        assert contrary.read(9) == b"answer it"
        reported = selector.reported
        settle(contrary.reactor, 20)
        assert selector.reported <= reported + 1
        contrary.transport.resume_reading()
        contrary.send(b"!")
        assert (contrary.got.data, contrary.transport.size) == (b"hello!", 0)
        assert set(contrary.got.events) == {"data", "drained"}

    def test_what_was_read_for_it_outlives_our_end(self, contrary: Secured) -> None:
        contrary.transport.pause_reading()
        self.want(contrary, 2)
        contrary.transport.write(b"answer")
        contrary.transport.write_eof()
        contrary.send(b"hello")
        assert contrary.read_all() == b"answer"
        contrary.end()
        contrary.transport.resume_reading()
        settle(contrary.reactor)
        assert contrary.got.data == b"hello"
        assert contrary.got.events[-1] == "eof"

    @pytest.mark.parametrize("paused", [False, True])
    def test_the_end_comes_instead(self, contrary: Secured, selector: CountingSelector, paused: bool) -> None:
        if paused:
            contrary.transport.pause_reading()
        self.want(contrary, 3)
        contrary.transport.write(b"answer")
        contrary.peer.shutdown(socket.SHUT_WR)
        settle(contrary.reactor)
        reported = selector.reported
        settle(contrary.reactor, 20)
        assert selector.reported <= reported + 1

    @pytest.mark.parametrize("linger", [False, True])
    def test_closing_meanwhile(self, contrary: Secured, linger: bool) -> None:
        self.want(contrary, 2)
        contrary.transport.write(b"answer")
        contrary.transport.close(linger=linger)
        assert not contrary.transport.closed
        contrary.send(b"hello")
        assert contrary.read_all() == b"answer"
        contrary.peer.close()
        settle(contrary.reactor)
        assert (contrary.got.data, contrary.got.events) == (b"", ["closed"])

    def test_too_much_is_read_for_it(self, contrary: Secured) -> None:
        """Data that nobody wants do not help."""
        contrary.transport.pause_reading()
        self.want(contrary, 1000)
        contrary.transport.write(b"answer")
        contrary.client.tls.write(b"x" * (2 * NO_DATA_BYTES))
        contrary.client.send_raw(contrary.client.outgoing.read())
        contrary.spin(lambda: contrary.got.over)
        assert contrary.got.data == b""
        assert str(contrary.got.loss) == "the peer sent too much that is no data"


class Tool:
    """`openssl s_client`, which sends a KeyUpdate that asks for one of ours (RFC 8446 4.6.3) for each K."""

    def __init__(self, reactor: Reactor, certificates: Certificates) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(PATIENCE_SECONDS)
        command = [need("openssl"), "s_client", "-connect", "127.0.0.1:%d" % listener.getsockname()[1]]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        os.set_blocking(self.stdout.fileno(), False)
        os.set_blocking(self.stdin.fileno(), False)
        ours, _ = listener.accept()
        listener.close()
        ours.setblocking(False)
        self.reactor = reactor
        self.said = b""
        self.got = Recorder()
        self.transport: TlsTransport = start_tls(
            Transport(reactor, ours, self.got), server_context(certificates), "", self.welcome
        )

    def welcome(self) -> None:
        """The handshake is over."""
        self.transport.write(b"WELCOME\n")

    def hears(self, word: bytes) -> None:
        """Run until it has said that."""
        for _ in range(PASSES):
            if word in self.said:
                return
            self.reactor.run_once(0.001)
            self.said += self.stdout.read() or b""
        raise AssertionError(self.said)

    def type(self, text: bytes) -> None:
        """Give it `text`."""
        self.stdin.write(text)
        self.stdin.flush()

    def finish(self) -> None:
        """End it."""
        self.transport.abort()
        self.process.kill()
        os.set_blocking(self.stdin.fileno(), True)
        self.process.communicate()
        settle(self.reactor)


class TestKeyUpdates:
    """RFC 8446 4.6.3."""

    @pytest.fixture
    def tool(self, reactor: Reactor, certificates: Certificates) -> Iterator[Tool]:
        """Connected."""
        made = Tool(reactor, certificates)
        made.hears(b"WELCOME")
        yield made
        made.finish()

    def test_new_keys(self, tool: Tool) -> None:
        tool.type(b"K\n")
        tool.hears(b"KEYUPDATE")
        tool.type(b"hello\n")
        while tool.got.data != b"hello\n":
            tool.reactor.run_once(0.01)
        tool.transport.write(b"NEWKEYS\n")
        tool.hears(b"NEWKEYS")
        tool.type(b"Q\n")
        while tool.got.events[-1:] != ["eof"]:
            tool.reactor.run_once(0.01)
        assert set(tool.got.events) == {"data", "eof"}

    def test_nothing_but_new_keys(
        self, tool: Tool, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Cut off, and others are served meanwhile."""
        monkeypatch.setattr(tls_transport, "NO_DATA_BYTES", FEW_BYTES)
        other = Secured(tool.reactor, server_context(certificates), client_context(certificates)).handshake()
        updates = 0
        while not tool.got.over:
            tool.said = b""
            tool.type(b"K\n")
            updates += 1
            tool.hears(b"KEYUPDATE")
            other.transport.write(b"served")
            assert other.read(6) == b"served"
        assert 190 < updates < 210
        assert str(tool.got.loss) == "the peer sent too much that is no data"
        other.finish()

    def test_data_between_new_keys(self, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tls_transport, "NO_DATA_BYTES", FEW_BYTES // 20)
        for number in range(30):
            tool.said = b""
            tool.type(b"K\n")
            tool.hears(b"KEYUPDATE")
            if number % 5 == 0:
                tool.got.data = b""
                tool.type(b"hello\n")
                while tool.got.data != b"hello\n":
                    tool.reactor.run_once(0.01)
        assert not tool.got.over
