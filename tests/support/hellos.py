"""ClientHellos: real ones as bytes, fresh ones made by OpenSSL, others put together from parts.

And the two who read them: our reader, in all the ways that bytes may arrive, and OpenSSL, which must never
find another name than ours does.
"""

from __future__ import annotations

import ssl
from functools import cache
from typing import List, Optional, Sequence, Tuple, Union

from lwsws.wire.client_hello import ClientHello, HelloError, NotTls, read_client_hello
from tests.support.wire_cases import LEFTOVER

# The hello, None if more is needed, or the name of the fault and its text.
Outcome = Union[ClientHello, Tuple[str, str], None]

# Chromium on a TLS port, with the names 3a3a, 5a5a, 2a2a, fafa and 4a4a that nobody knows (GREASE, RFC 8701).
# Zeros stand for what only fills it: a post-quantum key, an encrypted hello, a list of trust anchors.
CHROMIUM = (
    bytes.fromhex(
        "160301079e0100079a03033185422f4bb42c575a5c73df75a8a8167a935b62c23127143ef0720710c7ce292093074905e3"
        "ef6c3d0a7abe6a2cd21806399e6731591b66b013467f9d4143d7e800203a3a130113021303c02bc02fc02cc030cca9cca8"
        "c013c014009c009d002f0035010007315a5a000000000014001200000f7777772e6578616d706c652e636f6d003304ef04"
        "ed2a2a00010011ec04c0"
    )
    + bytes(1216)
    + bytes.fromhex(
        "001d00202fd9cdb76784e5d3288dbe6a6c90b0357b74493d2ae15cf630f9b03add756f5ffe0d00da00000100016c0020be"
        "0b7d50a3a54057ab6eb0d02ae2ed2369badf645b040dfa5437b1491a8d6f7b00b0"
    )
    + bytes(176)
    + bytes.fromhex(
        "ff01000100000a000c000a2a2a11ec001d00170018001b000302000244cd00050003026832002b000706fafa0304030300"
        "230000002d0002010100120000000d001a00185a5a09040905090604030804040105030805050108060601000500050100"
        "0000000010000e000c02683208687474702f312e31000b00020100ca3400ba00b8"
    )
    + bytes(184)
    + bytes.fromhex("001700004a4a000100")
)
# curl --tls-max 1.2, for www.example.com with h2 and http/1.1.
CURL_TLS12 = bytes.fromhex(
    "16030100dd010000d9030355a668e284f39fb67091dd30a1b4e0ca5eec898e70fad7edbd9ba8927fbd8fe1000038c02cc030"
    "009fcca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c0035002f"
    "00ff0100007800000014001200000f7777772e6578616d706c652e636f6d000b000403000102000a000c000a001d0017001e"
    "001900180010000e000c02683208687474702f312e310016000000170000000d002a0028040305030603080708080809080a"
    "080b080408050806040105010601030303010302040205020602"
)
# The same for localhost without ALPN and with fewer ciphers, in two records of which the first ends within
# the server name.
IN_TWO_RECORDS = bytes.fromhex(
    "1603010040"
    "010000710303000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f000004c02fc03001000044"
    "0000000e000c0000096c6f63616c68"
    "1603010035"
    "6f7374000b000403000102000a00080006001d001700180017000000230000000d00120010040305030603080408050806"
    "04010501"
)
# The hello of SSL 2.0 that old clients sent to offer SSL 3.0 and TLS 1.0 beside it (RFC 5246 E.2).
SSL2 = bytes.fromhex("80220103010009000000100000390000350700c0000102030405060708090a0b0c0d0e0f")

CLIENT_HELLO = 1
SERVER_NAME = 0
ALPN = 16
PADDING = 21


def vector(width: int, data: bytes) -> bytes:
    """`data` with its length in `width` bytes in front (RFC 8446 3.4)."""
    return len(data).to_bytes(width, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    """One extension."""
    return kind.to_bytes(2, "big") + vector(2, data)


def named(*names: bytes, kind: int = 0) -> bytes:
    """The extension server_name with these names, each of the type `kind`."""
    return extension(SERVER_NAME, vector(2, b"".join(bytes((kind,)) + vector(2, name) for name in names)))


def offering(*protocols: bytes) -> bytes:
    """The extension with these ALPN protocols."""
    return extension(ALPN, vector(2, b"".join(vector(1, name) for name in protocols)))


def message(
    *extensions: bytes,
    session: bytes = b"",
    suites: bytes = b"\x13\x01\xc0\x2f",
    methods: bytes = b"\0",
    kind: int = CLIENT_HELLO,
) -> bytes:
    """A handshake message, a ClientHello unless `kind` says otherwise; no list of extensions without any."""
    hello = b"\x03\x03" + bytes(range(32)) + vector(1, session) + vector(2, suites) + vector(1, methods)
    if extensions:
        hello += vector(2, b"".join(extensions))
    return bytes((kind,)) + vector(3, hello)


def record(data: bytes, kind: int = 22, version: bytes = b"\x03\x01") -> bytes:
    """One record."""
    return bytes((kind,)) + version + vector(2, data)


def in_records(data: bytes, size: int = 1 << 14) -> bytes:
    """The handshake message `data` in records of `size` bytes, the last one with the rest."""
    return b"".join(record(data[at : at + size]) for at in range(0, len(data), size))


# An extension that nobody knows.
GREASE = extension(0x1A1A, b"")


def hello(*extensions: bytes) -> bytes:
    """A ClientHello in one record."""
    return in_records(message(*extensions))


def padded(length: int, *extensions: bytes) -> bytes:
    """A handshake message of `length` bytes, padded (RFC 7685)."""
    missing = length - len(message(*extensions, extension(PADDING, b"")))
    return message(*extensions, extension(PADDING, bytes(missing)))


def fresh_hello(
    name: Optional[str] = "a.test", protocols: Sequence[str] = (), newest: Optional[ssl.TLSVersion] = None
) -> bytes:
    """What Python's own client begins with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if protocols:
        context.set_alpn_protocols(protocols)
    if newest is not None:
        context.maximum_version = newest
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


@cache
def noting_server() -> Tuple[ssl.SSLContext, List[str]]:
    """A server that writes down which names it is asked for, and refuses them all."""
    names: List[str] = []

    def note(_: ssl.SSLObject, name: Optional[str], __: ssl.SSLContext) -> int:
        names.append(name or "")
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = note
    return context, names


def name_for_openssl(data: bytes) -> Optional[str]:
    """The server name that OpenSSL finds in `data`, "" for none; None if it does not get that far."""
    context, names = noting_server()
    names.clear()
    incoming = ssl.MemoryBIO()
    server = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(data)
    try:
        server.do_handshake()
    except ssl.SSLError:
        pass
    return names[0] if names else None


def outcome(data: bytes) -> Outcome:
    """What our reader says to `data`."""
    try:
        return read_client_hello(data)
    except (NotTls, HelloError) as error:
        return type(error).__name__, str(error)


def three_ways(data: bytes) -> Tuple[Outcome, int]:
    """What becomes of `data`, and after how many of its bytes that is certain.

    The same must come of it whole, after each further byte, and with something behind it.
    """
    whole = outcome(data)
    steps = [outcome(data[:size]) for size in range(len(data) + 1)]
    decided = next((size for size, step in enumerate(steps) if step is not None), len(data))
    assert all(step == whole for step in steps[decided:])
    if whole is not None:
        assert outcome(data + LEFTOVER) == whole
        assert outcome(data + record(b"early data", kind=23)) == whole
    return whole, decided
