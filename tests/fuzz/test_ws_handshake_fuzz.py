"""Seeded random and damaged Sec-WebSocket-Extensions and Origin values.

Whatever they are, an offer is either refused or gives parameters that zlib and the client can keep to, and
the answer is one that the reader of offers itself can read.
"""

from __future__ import annotations

import random
from typing import Union

import pytest

from lwsws.wire.headers import Headers, check_field
from lwsws.wire.request import Request
from lwsws.wire.ws_deflate import Deflate, DeflateParams, DeflateSettings
from lwsws.wire.ws_extensions import parse_extensions
from lwsws.wire.ws_handshake import HandshakeRefused, negotiate_deflate, origin_allowed
from tests.support.fuzzing import BATCHES, CASES, perhaps_damaged, seeds, told

PARAMETERS = (
    *("server_no_context_takeover", "client_no_context_takeover", "client_max_window_bits"),
    *(f"{side}_max_window_bits={bits}" for side in ("server", "client") for bits in (8, 9, 12, 15)),
    *("server_max_window_bits=16", "x", 'client_max_window_bits="11"'),
)
BITS = (
    *(b",", b";", b"=", b'"', b"\\", b" ", b"\t", b"1", b"\xfc"),
    *(b"permessage-deflate", b"server_max_window_bits=9"),
)
ORIGINS = ("http://a.test", "https://a.test:8443", "http://[::1]", "null")


def random_offers(rand: random.Random) -> str:
    """A list of offers."""
    offers = []
    for _ in range(rand.choice((1, 1, 2, 3))):
        name = "permessage-deflate" if rand.random() < 0.9 else "other"
        offers.append("; ".join([name, *rand.sample(PARAMETERS, rand.choice((0, 1, 1, 2, 3)))]))
    return ", ".join(offers)


def check_params(params: DeflateParams, value: str, settings: DeflateSettings) -> None:
    """What both ends rely on."""
    answer = str(params)
    check_field("Sec-WebSocket-Extensions", answer)
    [(name, parameters)] = parse_extensions(answer)
    assert name == "permessage-deflate"
    assert 9 <= params.window_bits <= settings.window_bits
    told = dict(parameters)
    assert len(told) == len(parameters)
    offers = [dict(offered) for name, offered in parse_extensions(value) if name == "permessage-deflate"]
    # RFC 7692 7.1.2.2: the client can only be told if some offer said so.
    if "client_max_window_bits" in told:
        assert any("client_max_window_bits" in offer for offer in offers)
    if "server_max_window_bits" in told:
        assert int(told["server_max_window_bits"] or "") == params.window_bits
    assert Deflate(params).compress(b"a" * 200)


def outcome(
    request: Request, settings: DeflateSettings
) -> Union[DeflateParams, HandshakeRefused, None]:
    """What is agreed on, or how the request is refused."""
    try:
        return negotiate_deflate(request, settings)
    except HandshakeRefused as refused:
        return refused


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_offers(batch: int) -> None:
    outcomes = {"accepted": 0, "declined": 0, "malformed": 0}
    for seed in seeds(batch):
        rand = random.Random(seed)
        value = perhaps_damaged(rand, random_offers(rand).encode("latin-1"), BITS).decode("latin-1")
        settings = DeflateSettings(rand.choice((9, 12, 15)), rand.choice((9, 12, 15)), rand.random() < 0.2)
        fields = [("Host", "a.test"), ("Sec-WebSocket-Extensions", value)]
        with told(f"seed {seed}: {value!r}"):
            found = outcome(Request("GET", "/", "1.1", Headers(fields)), settings)
            if isinstance(found, HandshakeRefused):
                assert found.status == 400
                assert found.why.isascii() and found.why.isprintable()
            elif found is not None:
                check_params(found, value, settings)
        kind = "malformed" if isinstance(found, HandshakeRefused) else "accepted" if found else "declined"
        outcomes[kind] += 1
    assert min(outcomes.values()) > CASES // BATCHES // 50, outcomes


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_origins(batch: int) -> None:
    """A damaged origin is another one, unless only its case, spaces or a port that says nothing changed."""
    for seed in seeds(batch):
        rand = random.Random(seed)
        origin = rand.choice(ORIGINS)
        bits = (b":80", b":443", b".", b"/", b"@", b"evil", b" ", b":", b"http://", b", ")
        value = perhaps_damaged(rand, origin.encode(), bits).decode("latin-1")
        with told(f"seed {seed}: {value!r}"):
            if origin_allowed(value, [origin]):
                plain = value.strip(" \t").lower()
                default = ":80" if plain.startswith("http:") else ":443"
                assert plain.removesuffix(default) == origin or plain.replace(":0", ":") == origin
