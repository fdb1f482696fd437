"""Plays the steps of wire/acme.py against a model of a CA, without any I/O, and keeps what has happened.

    ca = ModelCa(HTTP_01, "a.test")
    ca.instead["POST /new-order"] = [Altered({"finalize": None})]   # one after the other, then what is right
    ca.instead["GET /directory"] = repeat(Unreachable("gone"))
    course = play(Order(ca.wanted()).run(), ca)
    course.deeds        ["GET /directory", "HEAD /new-nonce", "POST /new-account", ...]

Instead of what is right comes a Canned answer, for which nothing is done; an Altered one, after all has been
done; or an AcmeError is thrown.  Signatures are made up and not verified, but the model looks at the rest of
each signed request: who asks, for which URL, and that it has the nonce that was given last.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Union

from lwsws.wire.acme import (
    CHALLENGES,
    HTTP_01,
    Action,
    Fetch,
    Hide,
    MakeRequest,
    Say,
    Show,
    Sign,
    Steps,
    Wait,
    Wanted,
)
from lwsws.wire.acme_answer import AcmeError, Answer
from lwsws.wire.headers import Headers
from lwsws.wire.jws import PublicKey
from tests.support.der import SEQUENCE, element
from tests.support.false_ca_answers import Altered, Canned, problem

BASE = "https://ca.test"
NAMES = ("a.test", "b.test")
RENEWAL_INFO = f"{BASE}/renewal-info"
REQUEST = b"a request in DER"
CHAIN = b"-----BEGIN CERTIFICATE-----\nleaf\n-----END CERTIFICATE-----\n" * 2

# RFC 7515 A.3.1, and what is hashed of it.
KEY = PublicKey("ES256", {
    "crv": "P-256",
    "kty": "EC",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
})

# More than any course can have: 4 names, 50 polls for each, 100 nonces for each poll, and so on.
MOST_STEPS = 100_000

Outcome = Union[Canned, Altered, AcmeError]
Document = Dict[str, Any]


class Sent(NamedTuple):
    """A request; of a signed one also what was signed.  The payload of POST-as-GET is None."""

    what: str
    protected: Document
    payload: Any


def decode64(text: str) -> bytes:
    """The bytes in base64url."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def document(value: Any, status: int = 200, **headers: str) -> Canned:
    """An answer in JSON; in the names of `headers` _ stands for -."""
    fields = {name.replace("_", "-"): text for name, text in headers.items()}
    return Canned(status, {"Content-Type": "application/json", **fields}, json.dumps(value).encode())


class ModelCa:
    """A CA that does all at once and right, but for what stands in `instead`."""

    def __init__(self, kind: str = HTTP_01, *names: str) -> None:
        """`kind` is the challenge that wanted() asks for; all are offered, but for wildcards."""
        self._kind = kind
        self._names = names or NAMES
        self.instead: Dict[str, Iterable[Outcome]] = {}
        self.sent: List[Sent] = []
        resources = ("newNonce", "new-nonce"), ("newAccount", "new-account"), ("newOrder", "new-order")
        self.directory: Document = {name: f"{BASE}/{path}" for name, path in resources}
        self.authorizations = [authorization(number, name) for number, name in enumerate(self._names)]
        self.order: Document = {
            "status": "pending",
            "authorizations": [f"{BASE}/authorization/{number}" for number in range(len(self._names))],
            "finalize": f"{BASE}/finalize",
        }
        self._account: Optional[str] = None
        self._nonce: Optional[str] = None
        self._nonces = 0
        self._scripts: Dict[str, Iterator[Outcome]] = {}

    def wanted(self, **more: Any) -> Wanted:
        """What a client asks of it."""
        return Wanted(f"{BASE}/directory", self._names, self._kind, KEY, **more)

    def of(self, what: str) -> List[Sent]:
        """The requests so far of this kind, such as "POST /new-order"."""
        return [sent for sent in self.sent if sent.what == what]

    def answer(self, fetch: Fetch) -> Answer:
        """The answer to one request; AcmeError."""
        sent = decoded(fetch)
        self.sent.append(sent)
        if fetch.method == "POST":
            self._check(sent, fetch)
            self._nonce = None
        script = self._scripts.setdefault(sent.what, iter(self.instead.get(sent.what, ())))
        scripted = next(script, None)
        if isinstance(scripted, AcmeError):
            raise scripted
        answer = scripted if isinstance(scripted, Canned) else self._right(sent.what)
        if isinstance(scripted, Altered):
            answer = scripted.of(answer)
        headers = self._completed(sent, answer)
        self._nonce = headers.get("Replay-Nonce", self._nonce)
        if "jwk" in sent.protected and 200 <= answer.status < 300:
            self._account = headers.get("Location")
        return Answer(answer.status, Headers(list(headers.items())), answer.body)

    def _check(self, sent: Sent, fetch: Fetch) -> None:
        """What RFC 8555 6.2 to 6.5 want of each signed request."""
        who = {"kid": self._account} if self._account else {"jwk": dict(KEY.jwk)}
        assert sent.protected == {"alg": "ES256", "nonce": self._nonce, "url": fetch.url, **who}
        assert fetch.content_type == "application/jose+json"

    def _completed(self, sent: Sent, answer: Canned) -> Dict[str, str]:
        headers = dict(answer.headers)
        if answer.nonce and not sent.what.startswith("GET "):
            self._nonces += 1
            headers.setdefault("Replay-Nonce", f"nonce-{self._nonces}")
        return headers

    def _right(self, what: str) -> Canned:
        _, _, path = what.partition(" /")
        resource, _, rest = path.partition("/")
        if resource == "directory":
            return document(self.directory)
        if resource == "new-nonce":
            return Canned()
        if resource == "new-account":
            return document({"status": "valid"}, 201, Location=f"{BASE}/account/1")
        if resource in ("new-order", "order"):
            return document(self._order(), 201 if resource == "new-order" else 200, Location=f"{BASE}/order")
        if resource == "authorization" and rest in map(str, range(len(self._names))):
            return document(self.authorizations[int(rest)])
        if resource == "challenge" and rest[:1] in map(str, range(len(self._names))):
            return self._validated(self.authorizations[int(rest[:1])], f"{BASE}/{path}")
        if resource == "finalize":
            self.order.update(status="valid", certificate=f"{BASE}/certificate")
            return document(self.order, Location=f"{BASE}/order")
        if resource == "certificate":
            return Canned(200, {"Content-Type": "application/pem-certificate-chain"}, CHAIN)
        if resource == "renewal-info":
            window = {"start": "2026-01-02T00:00:00Z", "end": "2026-01-03T00:00:00Z"}
            return document({"suggestedWindow": window}, Retry_After="21600")
        return problem("malformed", 404)

    def _order(self) -> Document:
        proved = all(each["status"] == "valid" for each in self.authorizations)
        if self.order["status"] == "pending" and proved:
            self.order["status"] = "ready"
        return self.order

    def _validated(self, of: Document, url: str) -> Canned:
        of["status"] = "valid"
        return document(next(each for each in of["challenges"] if each["url"] == url))


def authorization(number: int, name: str) -> Document:
    """The authorization for a name, as it is at first."""
    wild = name.startswith("*.")
    challenges = [
        {"type": kind, "url": f"{BASE}/challenge/{number}/{kind}", "token": f"token-{number}-{kind}",
         "status": "pending"}
        for kind in CHALLENGES if not wild or kind == "dns-01"
    ]
    made = {"status": "pending", "identifier": {"type": "dns", "value": name[2:] if wild else name},
            "challenges": challenges}
    return {**made, "wildcard": True} if wild else made


def decoded(fetch: Fetch) -> Sent:
    """A request, taken apart."""
    path = fetch.url.removeprefix(BASE)
    if fetch.method != "POST":
        assert (fetch.body, fetch.content_type) == (b"", "")
        return Sent(f"{fetch.method} {path}", {}, None)
    jws = json.loads(fetch.body)
    assert set(jws) == {"protected", "payload", "signature"}
    payload = json.loads(decode64(jws["payload"])) if jws["payload"] else None
    return Sent(f"POST {path}", json.loads(decode64(jws["protected"])), payload)


class Course:
    """What has happened: all actions, and what came of them."""

    def __init__(self) -> None:
        self.actions: List[Action] = []
        self.result: Any = None
        self.error: Optional[AcmeError] = None

    @property
    def steps(self) -> List[str]:
        """The actions in words."""
        return [in_words(action) for action in self.actions]

    @property
    def deeds(self) -> List[str]:
        """The same without what is signed and said."""
        return [in_words(action) for action in self.actions if not isinstance(action, (Sign, Say))]

    @property
    def said(self) -> List[str]:
        """The lines for the log."""
        return [action.text for action in self.actions if isinstance(action, Say)]

    @property
    def waits(self) -> List[float]:
        """How long it has waited each time."""
        return [action.seconds for action in self.actions if isinstance(action, Wait)]

    @property
    def shown(self) -> List[str]:
        """The names for which a challenge was shown."""
        return [action.challenge.name for action in self.actions if isinstance(action, Show)]


def in_words(action: Action) -> str:
    """One action, such as "POST /new-order", "show http-01 a.test token-0-http-01", "wait 5"."""
    if isinstance(action, Fetch):
        return decoded(action).what
    if isinstance(action, Show):
        return f"show {action.challenge.kind} {action.challenge.name} {action.challenge.token}"
    if isinstance(action, MakeRequest):
        return " ".join(("request", *action.names))
    if isinstance(action, Wait):
        return f"wait {action.seconds:g}"
    if isinstance(action, Say):
        return f"say {action.text}"
    return type(action).__name__.lower()


class Signer:
    """Makes signatures up, each another one, and knows them again."""

    def __init__(self) -> None:
        self._data = b""
        self._number = 0

    def sign(self, data: bytes) -> bytes:
        """As OpenSSL gives it: of a number, and of one that has all 256 bits."""
        self._data = data
        self._number += 1
        numbers = [bytes((2, 2)) + self._number.to_bytes(2, "big"), element(2, b"\0" + b"\xff" * 32)]
        return element(SEQUENCE, *numbers)

    def check(self, body: bytes) -> None:
        """`body` must be what was signed last, with that signature."""
        jws = json.loads(body)
        assert f"{jws['protected']}.{jws['payload']}".encode() == self._data
        assert decode64(jws["signature"]) == self._number.to_bytes(32, "big") + b"\xff" * 32


def play(steps: Steps[Any], ca: ModelCa, failing: Optional[Mapping[type, AcmeError]] = None) -> Course:
    """Do what `steps` say, with `ca`; actions of the kinds in `failing` cannot be done."""
    course, signer = Course(), Signer()
    outcome: Any = None
    error: Optional[AcmeError] = None
    for _ in range(MOST_STEPS):
        try:
            action = steps.send(outcome) if error is None else steps.throw(error)
        except StopIteration as stop:
            course.result = stop.value
            return course
        except AcmeError as fault:
            course.error = fault
            return course
        course.actions.append(action)
        outcome, error = None, (failing or {}).get(type(action))
        try:
            outcome = done(action, ca, signer) if error is None else None
        except AcmeError as fault:
            error = fault
    raise AssertionError(f"no end after {MOST_STEPS} steps: ..., {course.steps[-9:]}")


def done(action: Action, ca: ModelCa, signer: Signer) -> Any:
    """The outcome of one action; AcmeError."""
    if isinstance(action, Fetch):
        if action.method == "POST":
            signer.check(action.body)
        return ca.answer(action)
    if isinstance(action, Sign):
        return signer.sign(action.data)
    assert isinstance(action, (MakeRequest, Show, Hide, Wait, Say))
    return REQUEST if isinstance(action, MakeRequest) else None
