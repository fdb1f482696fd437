"""The ClientHello: what is read out of real ones and of others, in pieces too, and that OpenSSL agrees."""

from __future__ import annotations

import ssl
from typing import Optional, Sequence, Tuple

import pytest

from lwsws.wire.client_hello import MAX_BYTES, MAX_HELLO, MAX_RECORDS, ClientHello, read_client_hello
from tests.support.certificates import Certificates
from tests.support.effort import LINEAR, growth
from tests.support.hellos import (
    CHROMIUM,
    CURL_TLS12,
    GREASE,
    IN_TWO_RECORDS,
    extension,
    fresh_hello,
    hello,
    in_records,
    message,
    name_for_openssl,
    named,
    offering,
    outcome,
    padded,
    record,
    three_ways,
    vector,
)

NAMED = hello(named(b"a.test"))


def read(data: bytes) -> ClientHello:
    """The hello that `data` is, to its last byte."""
    found, size = three_ways(data)
    assert isinstance(found, ClientHello), found
    assert size == len(data)
    return found


# Real ones


@pytest.mark.parametrize(
    "data, name, alpn",
    [
        (CHROMIUM, "www.example.com", ("h2", "http/1.1")),
        (CURL_TLS12, "www.example.com", ("h2", "http/1.1")),
        (IN_TWO_RECORDS, "localhost", ()),
    ],
    ids=["chromium", "curl", "two records"],
)
def test_hellos_of_real_clients(data: bytes, name: str, alpn: Tuple[str, ...]) -> None:
    assert read(data) == ClientHello(name, alpn)
    assert name_for_openssl(data) == name


@pytest.mark.parametrize("newest", [None, ssl.TLSVersion.TLSv1_2], ids=["newest", "TLS 1.2"])
@pytest.mark.parametrize("protocols", [(), ("h2",), ("http/1.1", "acme-tls/1", "x" * 255)])
@pytest.mark.parametrize("name", [None, "a.test", "A.Test", "xn--bcher-kva.example", f"{'a' * 63}.b"])
def test_hellos_of_openssl(
    name: Optional[str], protocols: Sequence[str], newest: Optional[ssl.TLSVersion]
) -> None:
    data = fresh_hello(name, protocols, newest)
    assert read(data) == ClientHello((name or "").lower(), tuple(protocols))
    assert name_for_openssl(data) == (name or "")


@pytest.mark.parametrize("data", [CHROMIUM, CURL_TLS12, fresh_hello("a.test", ["x", "y", "z"])])
def test_openssl_finds_the_same_protocols(data: bytes, certificates: Certificates) -> None:
    offered = read(data).alpn
    assert [chosen(data, name, certificates) for name in offered] == list(offered)
    assert chosen(data, "other", certificates) is None


def chosen(data: bytes, protocol: str, certificates: Certificates) -> Optional[str]:
    """The protocol on which a server that speaks this one would agree with the client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.a.cert, certificates.a.key)
    context.set_alpn_protocols([protocol])
    incoming = ssl.MemoryBIO()
    server = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(data)
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    return server.selected_alpn_protocol()


# What stands in it


@pytest.mark.parametrize(
    "sent, name",
    [
        (b"a.test", "a.test"),
        (b"A.TEST", "a.test"),
        (b"a.test.", "a.test"),
        (b"a.test..", "a.test."),
        (b"localhost", "localhost"),
        (b"a", "a"),
        (b"under_score.test", "under_score.test"),
        (b"127.0.0.1", "127.0.0.1"),
        (b"x" * 255, "x" * 255),
    ],
)
def test_the_server_name(sent: bytes, name: str) -> None:
    data = hello(GREASE, named(sent))
    assert read(data) == ClientHello(name, ())
    assert (name_for_openssl(data) or "").lower().removesuffix(".") == name


@pytest.mark.parametrize(
    "sent", [(b"h2",), (b"h2", b"http/1.1"), (b"\x1a\x1a", b"\xff\x00", b"x" * 255), (b"a",) * 100]
)
def test_the_protocols(sent: Sequence[bytes]) -> None:
    assert read(hello(offering(*sent))).alpn == tuple(name.decode("latin-1") for name in sent)


def groups(*ids: int) -> bytes:
    """The extension supported_groups."""
    return extension(10, vector(2, b"".join(group.to_bytes(2, "big") for group in ids)))


def shares(*ids: int) -> bytes:
    """The extension key_share, each key of 3 bytes."""
    return extension(51, vector(2, b"".join(group.to_bytes(2, "big") + vector(2, b"key") for group in ids)))


X25519, P256, HYBRID, UNKNOWN, FFDHE2048, FFDHE8192 = 29, 23, 0x11EC, 0x1A1A, 256, 260


@pytest.mark.parametrize("parts, costly", [
    ((), False),
    ((groups(X25519), shares(X25519)), False),
    ((groups(UNKNOWN, X25519, P256, FFDHE2048), shares(UNKNOWN, X25519)), False),
    ((groups(X25519, FFDHE2048), shares()), False),     # the server asks for a curve then
    ((groups(P256, FFDHE2048),), False),    # TLS 1.2
    ((groups(HYBRID, UNKNOWN), shares(HYBRID)), False),     # OpenSSL is to judge that
    ((groups(FFDHE8192), shares(FFDHE8192)), True),
    ((groups(FFDHE8192),), True),
    ((groups(UNKNOWN, FFDHE8192), shares()), True),
    ((groups(X25519, FFDHE8192), shares(FFDHE8192)), True),
    ((groups(X25519, FFDHE8192), shares(X25519, FFDHE8192)), True),
])
def test_a_key_exchange_that_costs_much(parts: Tuple[bytes, ...], costly: bool) -> None:
    assert read(hello(*parts)).finite_field is costly


def test_neither_has_to_be_there() -> None:
    assert read(in_records(message())) == ClientHello("", ())
    assert read(hello(b"")) == ClientHello("", ())
    assert read(hello(GREASE)) == ClientHello("", ())


def test_their_order_does_not_matter() -> None:
    assert read(hello(offering(b"h2"), GREASE, named(b"a.test"))) == ClientHello("a.test", ("h2",))


@pytest.mark.parametrize("version", [b"\x03\x00", b"\x03\x01", b"\x03\x03", b"\x03\x04", b"\x03\xff"])
def test_the_version_is_for_openssl_to_judge(version: bytes) -> None:
    assert read(record(message(named(b"a.test")), version=version)).server_name == "a.test"


def test_what_it_holds_besides_may_be_long() -> None:
    data = in_records(message(named(b"a.test"), session=b"s" * 32, suites=b"\x13\x02" * 300, methods=b"\1\0"))
    assert read(data).server_name == "a.test"


# Records


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 50, 100])
def test_records_of_every_size(size: int) -> None:
    data = in_records(message(named(b"a.test"), offering(b"h2")), size)
    assert read(data) == ClientHello("a.test", ("h2",))
    assert name_for_openssl(data) == "a.test"


def test_two_records_cut_anywhere() -> None:
    whole = message(named(b"a.test"))
    for cut in range(1, len(whole)):
        assert read(record(whole[:cut]) + record(whole[cut:])).server_name == "a.test"


def test_a_hello_of_the_usual_512_bytes_may_come_in_records_of_one() -> None:
    assert outcome(in_records(padded(512, named(b"a.test")), 1)) == ClientHello("a.test", ())


def test_what_follows_it_is_left_alone() -> None:
    """With early data, a client sends more before it has an answer (RFC 8446 2.3)."""
    assert outcome(NAMED + record(b"\1", kind=20) + record(b"x" * 500, kind=23)) == ClientHello("a.test", ())


# Limits


@pytest.mark.parametrize("size", [1 << 14, 5000, 40])
def test_the_longest_hello(size: int) -> None:
    data = in_records(padded(MAX_HELLO, named(b"a.test")), size)
    assert outcome(data) == ClientHello("a.test", ())
    assert outcome(data[:-1]) is None
    assert name_for_openssl(data) == "a.test"


@pytest.mark.parametrize("length, size", [(MAX_HELLO, 32), (MAX_HELLO, 1 << 14), (600, 1), (16000, 33)])
def test_with_so_many_bytes_the_answer_is_certain(length: int, size: int) -> None:
    data = in_records(padded(length), size) + record(bytes(1 << 14), kind=23) * 2
    assert outcome(data[:MAX_BYTES]) is not None


# Effort


def test_looking_again_after_each_byte_takes_linear_time() -> None:
    """The one who looks has all bytes before him each time."""

    def look(size: int) -> None:
        data = in_records(padded(size))
        for end in range(len(data)):
            assert read_client_hello(data[:end]) is None

    assert growth(look, 2000) < LINEAR


def test_joining_records_takes_linear_time() -> None:
    def join(size: int) -> None:
        for _ in range(20):
            assert read_client_hello(in_records(padded(size * 32), 32)) is not None

    assert growth(join, MAX_RECORDS // 8) < LINEAR


def test_many_extensions_take_linear_time() -> None:
    def find(size: int) -> None:
        data = hello(*[extension(kind + 100, b"") for kind in range(size)])
        assert read_client_hello(data) is not None

    assert growth(find, 500) < LINEAR
