"""Keys and signed messages: the examples of the RFCs, and what the openssl tool makes and accepts."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
from pathlib import Path
from typing import Any, Dict, List

import pytest

from lwsws.wire.jws import (
    MIN_RSA_BITS,
    PublicKey,
    authorization_digest,
    compact_json,
    external_binding,
    flattened,
    key_authorization,
    private_key_pem,
    raw_signature,
    read_public_key,
    signing_input,
)
from tests.support.certificates import openssl
from tests.support.der import SEQUENCE, element
from tests.support.false_ca_answers import decode64, encode64
from tests.support.programs import need

# RFC 7515 A.3.1
EC_JWK = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
}
# RFC 7515 A.2.1
RSA_JWK = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL"
         "-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA"
         "9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8N"
         "Aco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e": "AQAB",
    "d": "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe4"
         "6sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYa"
         "nrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhB"
         "OneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
    "p": "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJN"
         "PY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
    "q": "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD"
         "66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc",
    "dp": "BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJ"
          "eDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0",
    "dq": "h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-N"
          "KJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU",
    "qi": "IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi8"
          "7w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U",
}
PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
RSA_INPUT = f"eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}".encode()
RSA_SIGNATURE = (
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJ"
    "dbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN"
    "9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXL"
    "IhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)
EC_INPUT = f"eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}".encode()
EC_SIGNATURE = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"

P256 = bytes.fromhex("06082a8648ce3d030107")
EC_ALGORITHM = element(SEQUENCE, bytes.fromhex("06072a8648ce3d0201"), P256)
RSA_ALGORITHM = element(SEQUENCE, bytes.fromhex("06092a864886f70d0101010500"))


def run(*arguments: str, data: bytes = b"") -> bytes:
    """What the openssl tool writes."""
    command = [need("openssl"), *arguments]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def public_half(jwk: Dict[str, str]) -> PublicKey:
    """The key that read_public_key() should find."""
    names = ("crv", "kty", "x", "y") if jwk["kty"] == "EC" else ("e", "kty", "n")
    return PublicKey("ES256" if jwk["kty"] == "EC" else "RS256", {name: jwk[name] for name in names})


def saved(jwk: Dict[str, str], folder: Path) -> str:
    """The path of a file with the private key."""
    path = folder / "key.pem"
    path.write_bytes(private_key_pem(jwk))
    return str(path)


def info(algorithm: bytes, key: bytes) -> bytes:
    """A SubjectPublicKeyInfo (RFC 5280 4.1)."""
    return element(SEQUENCE, algorithm, element(3, b"\0", key))


def number(value: int) -> bytes:
    """An INTEGER, sign octet included."""
    return element(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def rsa(*numbers: int) -> bytes:
    """An RSA key of these numbers."""
    return info(RSA_ALGORITHM, element(SEQUENCE, *map(number, numbers)))


def signature_of(*numbers: int) -> bytes:
    """A signature as OpenSSL gives it (RFC 3279 2.2.3)."""
    return element(SEQUENCE, *map(number, numbers))


# Keys


@pytest.mark.parametrize("jwk", [EC_JWK, RSA_JWK], ids=["ec", "rsa"])
def test_a_private_key_goes_through_openssl(jwk: Dict[str, str], tmp_path: Path) -> None:
    path = saved(jwk, tmp_path)
    key = read_public_key(run("pkey", "-in", path, "-pubout", "-outform", "DER"))
    assert key == public_half(jwk)
    # It checks here that the numbers belong together.
    assert run("pkey", "-in", path, "-check", "-noout") == b"Key is valid\n"
    lines = private_key_pem(jwk).decode().split("\n")
    assert (lines[0], lines[-2:]) == (f"-----BEGIN {jwk['kty']} PRIVATE KEY-----",
                                      [f"-----END {jwk['kty']} PRIVATE KEY-----", ""])
    assert max(map(len, lines[1:-2])) <= 64


def test_the_rsa_key_of_the_rfc_signs_as_in_the_rfc(tmp_path: Path) -> None:
    """RFC 7515 A.2.1."""
    made = run("dgst", "-sha256", "-sign", saved(RSA_JWK, tmp_path), "-binary", data=RSA_INPUT)
    assert raw_signature("RS256", made) == made
    assert encode64(made) == RSA_SIGNATURE


def test_the_signature_of_the_rfc_is_one_by_its_ec_key(tmp_path: Path) -> None:
    """RFC 7515 A.3.1."""
    raw = decode64(EC_SIGNATURE)
    der = signature_of(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    assert raw_signature("ES256", der) == raw
    (tmp_path / "signature").write_bytes(der)
    check = ["-prverify", saved(EC_JWK, tmp_path), "-signature", str(tmp_path / "signature")]
    assert run("dgst", "-sha256", *check, data=EC_INPUT) == b"Verified OK\n"


def test_new_keys_of_openssl() -> None:
    private = run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    der = run("pkey", "-pubout", "-outform", "DER", data=private)
    key = read_public_key(der)
    # LESSONS 4.3: 91 bytes, the point in the last 64.
    assert key == PublicKey("ES256", {"crv": "P-256", "kty": "EC", "x": encode64(der[27:59]),
                                      "y": encode64(der[59:91])})
    private = run("genrsa", "2048")
    key = read_public_key(run("pkey", "-pubout", "-outform", "DER", data=private))
    modulus = run("rsa", "-noout", "-modulus", data=private).decode().strip().removeprefix("Modulus=")
    assert key == PublicKey("RS256", {"e": "AQAB", "kty": "RSA", "n": encode64(bytes.fromhex(modulus))})


@pytest.mark.parametrize(
    "kind, why",
    [
        (["EC", "-pkeyopt", "ec_paramgen_curve:P-384"], "neither an RSA key nor one on the curve P-256"),
        (["EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"], "neither an RSA key nor one on the curve P-256"),
        (["EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"], "neither"),
        (["ED25519"], "neither an RSA key nor one on the curve P-256"),
        (["RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"], "neither an RSA key nor one on the curve P-256"),
        (["RSA", "-pkeyopt", "rsa_keygen_bits:1024"], "an RSA key needs 2048 bits, it has 1024"),
    ],
)
def test_keys_of_other_kinds(kind: List[str], why: str) -> None:
    private = run("genpkey", "-algorithm", *kind)
    with pytest.raises(ValueError, match=why):
        read_public_key(run("pkey", "-pubout", "-outform", "DER", data=private))


def test_rsa_keys_by_their_size() -> None:
    assert read_public_key(rsa(1 << MIN_RSA_BITS - 1, 3)).jwk["e"] == "Aw"
    with pytest.raises(ValueError, match="it has 2047"):
        read_public_key(rsa((1 << MIN_RSA_BITS - 1) - 1, 3))


def test_a_certificate_is_no_key(tmp_path: Path) -> None:
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "crt"), "-outform", "DER"]
    (tmp_path / "cnf").write_text("[req]\ndistinguished_name = dn\n[dn]\n")
    more = ["-nodes", "-subj", "/CN=a", "-config", str(tmp_path / "cnf")]
    openssl("req", "-x509", "-newkey", "ed25519", *more, *files)
    with pytest.raises(ValueError, match=r"^it is no public key$"):
        read_public_key((tmp_path / "crt").read_bytes())


POINT = b"\4" + bytes(64)


@pytest.mark.parametrize(
    "der",
    [
        b"", b"\x30\0", b"\2\1\0", b"key", b"-----BEGIN PUBLIC KEY-----",
        info(EC_ALGORITHM, POINT) * 2, info(EC_ALGORITHM, POINT)[:-1], info(EC_ALGORITHM, POINT) + b"\0",
        element(SEQUENCE, EC_ALGORITHM), element(SEQUENCE, element(3, b"\0", POINT), EC_ALGORITHM),
        element(SEQUENCE, EC_ALGORITHM, element(4, b"\0", POINT)),
        element(SEQUENCE, EC_ALGORITHM, element(3, b"\1", POINT)),
        element(SEQUENCE, EC_ALGORITHM, element(3)),
        info(EC_ALGORITHM, b""), info(EC_ALGORITHM, POINT[:-1]), info(EC_ALGORITHM, POINT + b"\0"),
        info(EC_ALGORITHM, b"\2" + bytes(32)), info(EC_ALGORITHM, b"\3" + bytes(64)),
        info(element(SEQUENCE), POINT), info(element(SEQUENCE, P256), POINT),
        info(element(SEQUENCE, EC_ALGORITHM[2:], b"\5\0"), POINT), info(EC_ALGORITHM[2:], POINT),
        info(RSA_ALGORITHM, b""), info(RSA_ALGORITHM, b"\x30\0"), info(RSA_ALGORITHM, number(3) * 2),
        rsa(1 << 2048), rsa(1 << 2048, 3, 5), rsa(),
        info(RSA_ALGORITHM, element(SEQUENCE, element(2, b"\x80" + bytes(256)), number(3))),
        info(RSA_ALGORITHM, element(SEQUENCE, element(2), number(3))),
        info(RSA_ALGORITHM, element(SEQUENCE, element(4, b"\1" * 256), number(3))),
    ],
)
def test_what_is_no_public_key(der: bytes) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        read_public_key(der)


def test_the_thumbprint_of_the_rfc() -> None:
    """RFC 7638 3.1."""
    n = ("0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWK"
         "RXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMic"
         "AtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3"
         "XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw")
    key = read_public_key(rsa(int.from_bytes(decode64(n), "big"), 65537))
    assert key == PublicKey("RS256", {"e": "AQAB", "kty": "RSA", "n": n})
    assert key.thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert PublicKey("RS256", {"n": n, "kty": "RSA", "e": "AQAB"}).thumbprint == key.thumbprint


def test_the_thumbprint_of_an_ec_key() -> None:
    """RFC 7638 3.2: crv, kty, x and y, in this order, and no white space."""
    text = '{"crv":"P-256","kty":"EC","x":"%(x)s","y":"%(y)s"}' % EC_JWK
    assert public_half(EC_JWK).thumbprint == encode64(hashlib.sha256(text.encode()).digest())


def test_numbers_of_an_ec_key_keep_their_zeros() -> None:
    """RFC 7518 6.2.1.2: the full size of a coordinate."""
    jwk = read_public_key(info(EC_ALGORITHM, b"\4" + bytes(31) + b"\1" + bytes(32))).jwk
    assert (jwk["x"], jwk["y"]) == ("A" * 42 + "E", "A" * 43)


# Private keys as JWK


SHORT = encode64(bytes(31))


@pytest.mark.parametrize(
    "jwk",
    [
        {}, {"kty": 7}, {"kty": "oct", "k": "AA"}, {"kty": "OKP", "crv": "Ed25519"}, {"kty": ["EC"]},
        {**EC_JWK, "crv": "P-384"}, {**EC_JWK, "crv": None},
        {**EC_JWK, "x": SHORT}, {**EC_JWK, "y": SHORT}, {**EC_JWK, "d": SHORT}, {**EC_JWK, "d": ""},
        {**EC_JWK, "x": EC_JWK["x"] + "AA"}, {**EC_JWK, "d": EC_JWK["d"][:-1] + "+"}, {**EC_JWK, "y": 7},
        *[{name: value for name, value in EC_JWK.items() if name != gone} for gone in ("x", "y", "d", "crv")],
        *[{name: value for name, value in RSA_JWK.items() if name != gone} for gone in RSA_JWK],
        {**RSA_JWK, "p": None}, {**RSA_JWK, "qi": "+"}, {**RSA_JWK, "d": b"AQ"},
    ],
)
def test_what_is_no_private_key(jwk: Dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        private_key_pem(jwk)


def test_an_rsa_key_of_more_than_two_primes_is_refused() -> None:
    """RFC 7518 6.3.2.7: who does not support them must not use a key with "oth"."""
    more = {**RSA_JWK, "oth": [{"r": "AQ", "d": "AQ", "t": "AQ"}]}
    with pytest.raises(ValueError, match=r"[a-z]"):
        private_key_pem(more)


def test_members_that_mean_nothing_here(tmp_path: Path) -> None:
    assert private_key_pem({"use": "sig", "kid": 7, "key_ops": [], **EC_JWK}) == private_key_pem(EC_JWK)
    padded = {**EC_JWK, "x": EC_JWK["x"] + "="}
    assert private_key_pem(padded) == private_key_pem(EC_JWK)


# Messages


def test_json_is_compact_ascii_in_the_order_given() -> None:
    assert compact_json({"b": [1, None], "a": "gr\xfcn \ud800"}) == b'{"b":[1,null],"a":"gr\\u00fcn \\ud800"}'


def test_what_is_signed() -> None:
    """RFC 7515 5.1, RFC 8555 6.3."""
    assert signing_input({"alg": "ES256"}, {}) == b"eyJhbGciOiJFUzI1NiJ9.e30"
    assert signing_input({"alg": "ES256"}, None) == b"eyJhbGciOiJFUzI1NiJ9."
    header, payload = signing_input({"alg": "x", "url": "\xe4"}, {"csr": "_-"}).split(b".")
    assert (json.loads(decode64(header.decode())), decode64(payload.decode())) == (
        {"alg": "x", "url": "\xe4"}, b'{"csr":"_-"}',
    )


def test_the_flattened_form() -> None:
    """RFC 7515 7.2.2, with the key and message of A.3."""
    assert json.loads(flattened(EC_INPUT, decode64(EC_SIGNATURE))) == {
        "protected": "eyJhbGciOiJFUzI1NiJ9", "payload": PAYLOAD, "signature": EC_SIGNATURE,
    }
    assert flattened(b"e30.", b"") == b'{"protected":"e30","payload":"","signature":""}'


@pytest.mark.parametrize("r", [0, 1, 127, 128, 255, 256, (1 << 247) + 1, 1 << 248, 1 << 255, (1 << 256) - 1])
def test_signatures_have_two_numbers_of_full_size(r: int) -> None:
    """RFC 7518 3.4."""
    other = 0xABCDEF
    assert raw_signature("ES256", signature_of(r, other)) == r.to_bytes(32, "big") + other.to_bytes(32, "big")
    assert raw_signature("ES256", signature_of(other, r)) == other.to_bytes(32, "big") + r.to_bytes(32, "big")


def test_signatures_of_openssl(tmp_path: Path) -> None:
    """About half of the numbers have an octet for the sign; all are cut to 32."""
    path = saved(EC_JWK, tmp_path)
    for text in (b"a", b"b", b"c", b"d"):
        der = run("dgst", "-sha256", "-sign", path, "-binary", data=text)
        raw = raw_signature("ES256", der)
        assert len(raw) == 64
        assert signature_of(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")) == der


@pytest.mark.parametrize(
    "signature",
    [
        b"", b"\x30", b"\x30\0", b"\0" * 64, signature_of(1), signature_of(1, 2, 3),
        signature_of(1, 2) + b"\0", signature_of(1, 2)[:-1], signature_of(1, 2) * 2,
        element(0x31, number(1), number(2)), signature_of(1 << 256, 1), signature_of(1, 1 << 256),
        element(SEQUENCE, number(1), element(2)),
        element(SEQUENCE, number(1), element(2, b"\xff")), element(SEQUENCE, number(1), element(3, b"\1")),
    ],
)
def test_what_is_no_signature(signature: bytes) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        raw_signature("ES256", signature)


# External accounts and challenges


def test_an_external_binding() -> None:
    """RFC 8555 7.3.4: the account key as payload, no nonce, signed by HS256 with the key of the CA."""
    jwk, key, url = public_half(EC_JWK).jwk, bytes(range(40)), "https://ca.test/new-account"
    binding = external_binding("kid-\xe4", key, url, jwk)
    assert set(binding) == {"protected", "payload", "signature"}
    assert json.loads(decode64(binding["protected"])) == {"alg": "HS256", "kid": "kid-\xe4", "url": url}
    assert json.loads(decode64(binding["payload"])) == jwk
    signed = f"{binding['protected']}.{binding['payload']}".encode()
    assert decode64(binding["signature"]) == hmac.new(key, signed, "sha256").digest()
    mac = run("dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}", "-binary", data=signed)
    assert decode64(binding["signature"]) == mac


def test_what_a_challenge_shows() -> None:
    """RFC 8555 8.1, 8.4; RFC 8737 3."""
    key = public_half(EC_JWK)
    text = key_authorization("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA", key)
    token, _, thumbprint = text.partition(".")
    assert (token, thumbprint) == ("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA", key.thumbprint)
    assert len(thumbprint) == 43
    assert authorization_digest(text) == hashlib.sha256(text.encode()).digest()
