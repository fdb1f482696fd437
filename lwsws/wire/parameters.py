"""Field values with parameters: `text/html; charset=utf-8`, `form-data; name="a"` (RFC 9110 5.6.6, RFC 2183).

The text is latin-1, as header fields are.  Strict: what is no parameter, or is given twice, is an error,
since two readers could take it for two different things.
"""

from __future__ import annotations

import re
from typing import Dict, Tuple

from lwsws.wire.errors import excerpt
from lwsws.wire.headers import TCHAR

_TYPE = re.compile(rf"([{TCHAR}/]+)[\t ]*")
# RFC 9110 5.6.6: OWS ";" OWS name "=" (token / quoted-string).  RFC 2046 5.1.1 has boundaries with "(",
# ")", "/", ":", "=" and "?", and not everybody quotes them.
_PARAMETER = re.compile(
    rf';[\t ]*([{TCHAR}]+)=(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([{TCHAR}()/:=?]+))[\t ]*', re.DOTALL
)
# RFC 9110 5.6.6: what stands between two semicolons may be missing.
_NO_PARAMETER = re.compile(r";[\t ]*(?=;|\Z)")
# The two that need it.  Before any other character a backslash stands for itself: some browsers have sent
# whole paths of Windows as file names, without a thought of escaping.
_QUOTED_PAIR = re.compile(r'\\(["\\])')


def parse_parameters(value: str) -> Tuple[str, Dict[str, str]]:
    """What stands in front, and the parameters by name, the names in lower case.

    ValueError, fit to be shown to whoever sent it, if it is malformed.
    """
    found = _TYPE.match(value)
    if found is None:
        raise ValueError(f"{excerpt(value)} does not begin with a token")
    parameters: Dict[str, str] = {}
    at = found.end()
    while at < len(value):
        empty = _NO_PARAMETER.match(value, at)
        if empty is not None:
            at = empty.end()
            continue
        parameter = _PARAMETER.match(value, at)
        if parameter is None:
            raise ValueError(f"{excerpt(value[at:])} is no parameter")
        name, quoted, token = parameter.groups()
        name = name.lower()
        if name in parameters:
            raise ValueError(f"the parameter {excerpt(name)} is given twice")
        parameters[name] = token if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
        at = parameter.end()
    return found.group(1).lower(), parameters
