"""Base64 for URLs, without padding (RFC 4648 5, RFC 7515 2)."""

from __future__ import annotations

import base64
import binascii
import re

_B64URL = re.compile(r"[A-Za-z0-9_-]*")


def b64url(data: bytes) -> str:
    """`data` in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_b64url(text: str) -> bytes:
    """What b64url() made `text` of; ValueError if it made no such thing.  Padding is overlooked."""
    text = text.rstrip("=")
    if _B64URL.fullmatch(text) is None:
        raise ValueError("it is not base64url")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("it is not base64url") from None
    if b64url(data) != text:    # bits that nobody has encoded
        raise ValueError("it is not base64url")
    return data
