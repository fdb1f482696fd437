"""The syntax of Sec-WebSocket-Extensions (RFC 6455 9.1): which extensions a client offers.

    extension-list  = 1#extension
    extension       = token *( ";" token [ "=" (token | quoted-string) ] )

A quoted string has to be a token too once its quotes are off.  Names and values keep their case.
"""

from __future__ import annotations

import re
from typing import List, Optional, Tuple

from lwsws.wire.errors import excerpt
from lwsws.wire.headers import TCHAR

Parameters = List[Tuple[str, Optional[str]]]

_TOKEN = re.compile(f"[{TCHAR}]+")
# RFC 9110 5.6.4, without what would be no token in the end: it may be quoted, character by character.
_VALUE = re.compile(rf'[{TCHAR}]+|"(?:[{TCHAR}]|\\[{TCHAR}])+"')
_SPACE = re.compile("[ \t]*")


def parse_extensions(value: str) -> List[Tuple[str, Parameters]]:
    """The extensions of the field's value, in order: names and their parameters, None for one without value.

    ValueError, in words fit for a log, if it is malformed.  An empty value offers nothing.
    """
    text = value.strip(" \t")
    extensions: List[Tuple[str, Parameters]] = []
    at = 0
    while at < len(text):
        # RFC 9110 5.6.1.2: empty members of a list are ignored.
        if text[at] != ",":
            name, parameters, at = _extension(text, at)
            extensions.append((name, parameters))
            if at < len(text) and text[at] != ",":
                raise ValueError(f"{excerpt(text[at:])} follows where a comma should")
        at = _skip_space(text, at + 1)
    return extensions


def _extension(text: str, at: int) -> Tuple[str, Parameters, int]:
    """The extension at `at`, and what follows it, white space left out."""
    name, at = _token(text, at, "extension")
    parameters: Parameters = []
    while text.startswith(";", at):
        parameter, at = _token(text, _skip_space(text, at + 1), "parameter")
        value: Optional[str] = None
        if text.startswith("=", at):
            value, at = _value(text, _skip_space(text, at + 1))
        parameters.append((parameter, value))
    return name, parameters, at


def _token(text: str, at: int, what: str) -> Tuple[str, int]:
    found = _TOKEN.match(text, at)
    if found is None:
        raise ValueError(f"{excerpt(text[at:])} begins no {what}")
    return found.group(), _skip_space(text, found.end())


def _value(text: str, at: int) -> Tuple[str, int]:
    found = _VALUE.match(text, at)
    if found is None:
        raise ValueError(f"{excerpt(text[at:])} begins no value that is a token")
    value = found.group()
    if value.startswith('"'):
        value = value[1:-1].replace("\\", "")
    return value, _skip_space(text, found.end())


def _skip_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
