"""Signed messages in JSON (JWS, RFC 7515) and the keys that sign them (JWK, RFC 7517), as far as ACME goes.

    Account key, a PEM file       signs by the openssl tool, which is not our business here
      its public half, DER   ->   PublicKey: as JWK, its thumbprint, the name of its algorithm
    header and payload       ->   signing_input(), what is to be signed
      with the signature     ->   flattened(), what is sent

P-256 signs by ES256, RSA by RS256 (RFC 7518 3.1); other keys are refused.  No cryptography of public keys
happens here, only the hashes and the HMAC of Python's library.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any, Mapping, NamedTuple, Optional

from lwsws.wire.base64url import b64url, from_b64url
from lwsws.wire.der import (
    BIT_STRING,
    INTEGER,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    contents_of,
    element,
    elements_of,
    integer,
    only,
    unsigned,
)

# Identifiers: of algorithms for keys (RFC 5480 2.1.1, RFC 8017 A.1) and of the curve P-256.
_EC_KEY = bytes.fromhex("2a8648ce3d0201")
_RSA_KEY = bytes.fromhex("2a864886f70d010101")
_P256 = bytes.fromhex("2a8648ce3d030107")

# Bytes of a coordinate, and of each half of a signature, on P-256.
P256_BYTES = 32
# RFC 8555 6.2 leaves it open; less is signed by nobody any more (RFC 7518 3.3).
MIN_RSA_BITS = 2048
# [1], explicit, around the public key in a private one (RFC 5915 3).
_PUBLIC_KEY = 0xA1
_CURVE = 0xA0

_LINE = 64

Json = Mapping[str, Any]


def compact_json(value: Any) -> bytes:
    """`value` as JSON without white space; the order of members is kept."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


# Keys.


class PublicKey(NamedTuple):
    """The public half of an account key: its algorithm for signatures, and its members as a JWK."""

    algorithm: str
    jwk: Mapping[str, str]

    @property
    def thumbprint(self) -> str:
        """The hash that tells keys apart (RFC 7638 3), in base64url."""
        return b64url(hashlib.sha256(compact_json(dict(sorted(self.jwk.items())))).digest())


def read_public_key(der: bytes) -> PublicKey:
    """The key in a SubjectPublicKeyInfo (RFC 5280 4.1); ValueError if it is none that can be used."""
    parts = elements_of(only(contents_of(der, SEQUENCE)))
    if [tag for tag, _ in parts] != [SEQUENCE, BIT_STRING] or parts[1][1][:1] != b"\0":
        raise ValueError("it is no public key")
    algorithm, key = elements_of(parts[0][1]), parts[1][1][1:]
    if algorithm[:1] == [(OBJECT_IDENTIFIER, _RSA_KEY)]:
        return _read_rsa(key)
    if algorithm != [(OBJECT_IDENTIFIER, _EC_KEY), (OBJECT_IDENTIFIER, _P256)]:
        raise ValueError("it is neither an RSA key nor one on the curve P-256")
    # RFC 5480 2.2: uncompressed.
    if len(key) != 1 + 2 * P256_BYTES or key[0] != 4:
        raise ValueError("its point is malformed")
    x, y = key[1 : 1 + P256_BYTES], key[1 + P256_BYTES :]
    return PublicKey("ES256", {"crv": "P-256", "kty": "EC", "x": b64url(x), "y": b64url(y)})


def _read_rsa(key: bytes) -> PublicKey:
    numbers = [unsigned(content) for content in contents_of(only(contents_of(key, SEQUENCE)), INTEGER)]
    if len(numbers) != 2:
        raise ValueError("it is no RSA key")
    if numbers[0].bit_length() < MIN_RSA_BITS:
        raise ValueError(f"an RSA key needs {MIN_RSA_BITS} bits, it has {numbers[0].bit_length()}")
    n, e = (b64url(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in numbers)
    return PublicKey("RS256", {"e": e, "kty": "RSA", "n": n})


def private_key_pem(jwk: Json) -> bytes:
    """A private key that is given as JWK (RFC 7518 6), as the original keeps its account key, in PEM;
    ValueError if it is none on P-256 and no RSA key of two primes."""
    kind = jwk.get("kty")
    if kind == "EC" and jwk.get("crv") == "P-256":
        x, y, d = (_member(jwk, name) for name in ("x", "y", "d"))
        if not len(x) == len(y) == len(d) == P256_BYTES:
            raise ValueError("a number in it has not the size of the curve")
        # RFC 5915 3
        key = element(SEQUENCE, integer(1), element(OCTET_STRING, d),
                      element(_CURVE, element(OBJECT_IDENTIFIER, _P256)),
                      element(_PUBLIC_KEY, element(BIT_STRING, b"\0\4", x, y)))
        return _pem("EC PRIVATE KEY", key)
    # RFC 7518 6.3.2.7: who does not know keys of more primes MUST NOT use them.
    if kind != "RSA" or "oth" in jwk:
        raise ValueError("it is neither an RSA key nor one on the curve P-256")
    # RFC 8017 A.1.2
    names = ("n", "e", "d", "p", "q", "dp", "dq", "qi")
    numbers = [int.from_bytes(_member(jwk, name), "big") for name in names]
    return _pem("RSA PRIVATE KEY", element(SEQUENCE, integer(0), *map(integer, numbers)))


def _member(jwk: Json, name: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise ValueError(f"its member {name!r} is missing")
    return from_b64url(value)


def _pem(label: str, der: bytes) -> bytes:
    text = base64.b64encode(der).decode("ascii")
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode("ascii")


# Messages.


def signing_input(header: Json, payload: Optional[Json]) -> bytes:
    """What is signed of a message (RFC 7515 5.1); None is the empty payload of a POST-as-GET."""
    body = b"" if payload is None else compact_json(payload)
    return f"{b64url(compact_json(header))}.{b64url(body)}".encode("ascii")


def flattened(signed: bytes, signature: bytes) -> bytes:
    """The message of which `signed` is the signing_input(), in the form of RFC 7515 7.2.2."""
    header, _, payload = signed.decode("ascii").partition(".")
    return compact_json({"protected": header, "payload": payload, "signature": b64url(signature)})


def raw_signature(algorithm: str, signature: bytes) -> bytes:
    """What OpenSSL gives as `signature` in the form of RFC 7518 3.4; ValueError if it is none."""
    if algorithm != "ES256":
        return signature
    numbers = [unsigned(content) for content in contents_of(only(contents_of(signature, SEQUENCE)), INTEGER)]
    if len(numbers) != 2 or max(numbers).bit_length() > 8 * P256_BYTES:
        raise ValueError("it is no signature on P-256")
    return b"".join(number.to_bytes(P256_BYTES, "big") for number in numbers)


def external_binding(kid: str, key: bytes, url: str, jwk: Json) -> Json:
    """The proof that an account belongs to a customer (RFC 8555 7.3.4), by a `key` that the CA gave him."""
    signed = signing_input({"alg": "HS256", "kid": kid, "url": url}, jwk)
    message: Json = json.loads(flattened(signed, hmac.new(key, signed, hashlib.sha256).digest()))
    return message


# What a challenge wants to be shown (RFC 8555 8).


def key_authorization(token: str, key: PublicKey) -> str:
    """What proves that whoever has `key` was given `token`."""
    return f"{token}.{key.thumbprint}"


def authorization_digest(authorization: str) -> bytes:
    """The hash of a key authorization, which dns-01 and tls-alpn-01 show."""
    return hashlib.sha256(authorization.encode("ascii")).digest()
