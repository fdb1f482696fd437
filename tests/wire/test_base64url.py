"""Base64 for URLs: the examples of the RFCs, and what is none."""

from __future__ import annotations

import base64

import pytest

from lwsws.wire.base64url import b64url, from_b64url

EXAMPLES = [
    # RFC 4648 10, without padding
    (b"", ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"foob", "Zm9vYg"), (b"fooba", "Zm9vYmE"),
    (b"foobar", "Zm9vYmFy"),
    # RFC 7515, appendix C
    (bytes((3, 236, 255, 224, 193)), "A-z_4ME"),
    # Each character once.
    (bytes.fromhex("00108310518720928b30d38f41149351559761969b71d79f8218a39259a7a29aabb2dbafc31cb3d35db7e39e"
                   "bbf3dfbf"), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
]


@pytest.mark.parametrize("data, text", EXAMPLES)
def test_examples(data: bytes, text: str) -> None:
    assert b64url(data) == text
    assert from_b64url(text) == data


@pytest.mark.parametrize("text", ["Zg=", "Zg==", "Zg===", "Zm9v=", "="])
def test_padding_is_overlooked(text: str) -> None:
    assert from_b64url(text) == base64.b64decode(text.rstrip("=") + "==")


@pytest.mark.parametrize("size", range(70))
def test_there_and_back(size: int) -> None:
    data = bytes(255 - number * 7 % 256 for number in range(size))
    assert from_b64url(b64url(data)) == data
    assert b64url(data) == base64.b64encode(data, b"-_").decode().replace("=", "")


@pytest.mark.parametrize(
    "text",
    [
        "Z", "Zm9vZ", "Z===",  # one character says less than one byte
        "Zm+v", "Zm/v",  # the usual alphabet
        " Zg", "Zg ", "Zg\n", "\nZg", "Z g", "Zm9v\r\nZm9v", "\0",  # white space
        "Zg==Zg", "Z=g", "=Zg",  # padding in front of something
        "Zg.", "Zg~", "Zg\xe4", "\u0661", "Zm9\u017f", "{}",
    ],
)
def test_what_is_no_base64url(text: str) -> None:
    with pytest.raises(ValueError, match=r"^it is not base64url$"):
        from_b64url(text)


@pytest.mark.parametrize("text", ["Zh", "Zv", "Zm9", "Zm-", "_____x", "AAB"])
def test_bits_that_nobody_has_encoded(text: str) -> None:
    """RFC 4648 3.5: the bits that are left over are zero; b64url() makes nothing else."""
    with pytest.raises(ValueError, match=r"^it is not base64url$"):
        from_b64url(text)
