"""What an ACME server answers (RFC 8555): JSON with the members that one needs, or a problem (RFC 7807).

    Answer         status, headers, body
    members()      the JSON object in it; member() and texts() take from that what has to be there
    problem()      the AcmeError that it tells of
    retry_after()  for how long it asks to wait

Everything in an answer is the word of a stranger: of the right type, or AcmeError; printable, and short.
"""

from __future__ import annotations

import json
from typing import Any, List, Mapping, NamedTuple, Optional, Tuple, Type, TypeVar

from lwsws.wire.dates import parse_date
from lwsws.wire.headers import Headers

PROBLEM = "urn:ietf:params:acme:error:"

# Of each text that goes to the log, and of the problems below a problem.
MAX_TEXT = 300
MAX_PROBLEMS = 5
# Nobody has to be waited for longer.
MAX_RETRY_AFTER = 7 * 24 * 3600.0

T = TypeVar("T")
Json = Mapping[str, Any]


class Answer(NamedTuple):
    """One answer; `headers` as wire/headers.py reads them."""

    status: int
    headers: Headers
    body: bytes


class AcmeError(Exception):
    """Why there is no certificate, for people; `kind` is the name of the problem, as in "rateLimited" ("" if
    it is not the server that tells of one), `retry_after` the seconds for which it asks to be left alone."""

    def __init__(self, text: str, kind: str = "", retry_after: float = 0.0) -> None:
        super().__init__(text, kind, retry_after)
        self.text = text
        self.kind = kind
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.text


class Unreachable(AcmeError):
    """The server did not answer."""


def printable(text: str, most: int = MAX_TEXT) -> str:
    """`text` in one line that is safe to log, and not longer than `most` characters."""
    text = " ".join(text.split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= most else text[:most] + "..."


def members(answer: Answer) -> Json:
    """The JSON object that is the body; AcmeError if it is something else."""
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        begin = printable(answer.body[:60].decode("latin-1"))
        raise AcmeError(f"the CA answers with status {answer.status} and no JSON object: {begin!r}")
    return value


def member(value: Json, name: str, kind: Type[T]) -> T:
    """The member `name`, which must be there and be a `kind`; AcmeError."""
    found = value.get(name)
    if not isinstance(found, kind):
        raise AcmeError(f"the CA's answer has no proper {name!r}")
    return found


def texts(value: Json, name: str) -> Tuple[str, ...]:
    """The member `name`, a list of texts that is not empty; AcmeError."""
    found = member(value, name, list)
    if not found or not all(isinstance(each, str) for each in found):
        raise AcmeError(f"the CA's answer has no proper {name!r}")
    return tuple(found)


def problem(answer: Answer) -> AcmeError:
    """What went wrong, of an answer that is no success."""
    try:
        value = members(answer)
    except AcmeError as error:
        return AcmeError(error.text, "", retry_after(answer))
    kind, text = describe(value)
    return AcmeError(f"the CA says {text} (status {answer.status})", kind, retry_after(answer))


def describe(value: Any) -> Tuple[str, str]:
    """The name of a problem document, and what it says for people (RFC 7807 3.1, RFC 8555 6.7)."""
    if not isinstance(value, dict):
        return "", "nothing more about it"
    kind = _kind(value)
    text = _sentence(kind, value)
    below = value.get("subproblems")
    if isinstance(below, list):
        parts = [_subproblem(each) for each in below[:MAX_PROBLEMS] if isinstance(each, dict)]
        text += "".join(f"; {part}" for part in parts)
    return printable(kind, 60), text


def _sentence(kind: str, value: Json) -> str:
    detail = value.get("detail") or value.get("title") or ""
    return printable(f"{kind or 'an unnamed problem'}: {detail}" if detail else kind or "an unnamed problem")


def _subproblem(value: Json) -> str:
    identifier = value.get("identifier")
    name = str(identifier.get("value", "")) if isinstance(identifier, dict) else ""
    return (printable(name, 80) + ": " if name else "") + _sentence(_kind(value), value)


def _kind(value: Json) -> str:
    return str(value.get("type") or "").removeprefix(PROBLEM)


def retry_after(answer: Answer) -> float:
    """For how many seconds the server asks to wait (RFC 9110 10.2.3); 0 if it does not ask."""
    text = (answer.headers.get("retry-after") or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text.lstrip("0")[:9] or 0), MAX_RETRY_AFTER)
    until = parse_date(text)
    # Its clock counts, which it tells; ours may be another.
    now = parse_date(answer.headers.get("date") or "")
    if until is None or now is None:
        return 0.0
    return min(max(float(until - now), 0.0), MAX_RETRY_AFTER)


def find_challenge(authorization: Json, kind: str) -> Json:
    """The challenge of the `kind` that is wanted, among those that an authorization offers; AcmeError."""
    offered: List[str] = []
    for challenge in member(authorization, "challenges", list):
        if isinstance(challenge, dict):
            if challenge.get("type") == kind:
                return challenge
            offered.append(printable(str(challenge.get("type")), 40))
    only_dns = ". A name with a wildcard needs dns-01" if authorization.get("wildcard") else ""
    raise AcmeError(f"the CA does not offer {kind}, only {', '.join(offered[:5]) or 'nothing'}{only_dns}")


def failure(authorization: Json) -> str:
    """Why an authorization is not valid: the errors of its challenges, for people."""
    challenges = member(authorization, "challenges", list)
    errors = [each["error"] for each in challenges if isinstance(each, dict) and each.get("error")]
    return describe(errors[0])[1] if errors else "and does not say why"


def identifier_of(authorization: Json) -> Optional[str]:
    """The name that an authorization is about; None if it does not say."""
    identifier = authorization.get("identifier")
    value = identifier.get("value") if isinstance(identifier, dict) else None
    return value if isinstance(value, str) else None
