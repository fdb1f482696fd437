"""One certificate from an ACME server (RFC 8555): the conversation, without any I/O.

`Order(wanted).run()` is a generator.  It yields what is to be done next, and is sent the outcome:

    Fetch         ask the server                        -> Answer
    Sign          sign with the account key             -> bytes, as OpenSSL gives it
    MakeRequest   a new key and a request (CSR) for it  -> bytes, the request in DER
    Show          put up a challenge                    -> None
    Hide          take it away again                    -> None
    Wait          let time pass                         -> None
    Say           tell people                           -> None

What cannot be done is thrown in as AcmeError; as Unreachable, if it is the server that does not answer.  In
the end it returns the chain, or raises AcmeError: whoever drives it takes away then what is still shown.

    directory -> account -> order -> for each name: challenge shown, answered, looked at by the CA
              -> request -> certificate

Each request needs a nonce of the answer before it; one that is refused brings the next.  Names are
proved one after the other, so that a hook that knows one TXT record a name does for a wildcard beside it.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Generator, NamedTuple, Optional, Tuple, TypeVar, Union

from lwsws.wire.acme_answer import (
    AcmeError,
    Answer,
    Json,
    Unreachable,
    describe,
    failure,
    find_challenge,
    identifier_of,
    member,
    members,
    printable,
    problem,
    retry_after,
    texts,
)
from lwsws.wire.base64url import b64url
from lwsws.wire.errors import excerpt
from lwsws.wire.jws import (
    PublicKey,
    external_binding,
    flattened,
    key_authorization,
    raw_signature,
    signing_input,
)

HTTP_01, TLS_ALPN_01, DNS_01 = CHALLENGES = ("http-01", "tls-alpn-01", "dns-01")

JOSE_JSON = "application/jose+json"
PEM_BEGIN = b"-----BEGIN CERTIFICATE-----"

# How often a request is signed anew because its nonce was refused: pebble is made to refuse most of them.
MAX_NONCES = 100
# A fault that may pass by itself, such as a server that is restarted: so many tries, and so long in between.
MAX_TRIES = 4
TRY_SECONDS = 5.0
PASSING = frozenset((429, 500, 502, 503, 504))
# Who asks for more patience than this gets it from who has to try again anyway.
MAX_PATIENCE = 60.0
# How long the server may take to look at a challenge, or to make a certificate, and how often to ask.
POLL_SECONDS = 600.0
FIRST_POLL, LAST_POLL = 1.0, 15.0

# Tokens and nonces.
_BASE64URL = re.compile(r"[A-Za-z0-9_-]{1,512}")


class Wanted(NamedTuple):
    """What is asked for.

    `names` are DNS names, `challenge` is one of CHALLENGES, `key` the public half of the account key,
    `contact` an e-mail address, `binding` the kid and the key of an external account, if the CA wants one;
    `replaces` identifies the certificate that is renewed (RFC 9773 4.1), "" for none.
    """

    directory_url: str
    names: Tuple[str, ...]
    challenge: str
    key: PublicKey
    contact: str = ""
    binding: Optional[Tuple[str, bytes]] = None
    replaces: str = ""


class Challenge(NamedTuple):
    """What has to be shown for one name: the `authorization` of `token` by the account key."""

    kind: str
    name: str
    token: str
    authorization: str


class Fetch(NamedTuple):
    """Send a request."""

    method: str
    url: str
    body: bytes = b""
    content_type: str = ""


class Sign(NamedTuple):
    """Sign `data`, hashed by SHA-256, with the account key."""

    data: bytes


class MakeRequest(NamedTuple):
    """Make a new key, and a certificate request for `names` that is signed by it."""

    names: Tuple[str, ...]


class Show(NamedTuple):
    """Let the CA find the answer to `challenge` from now on."""

    challenge: Challenge


class Hide(NamedTuple):
    """The CA has seen what was shown."""


class Wait(NamedTuple):
    """Do nothing for so long."""

    seconds: float


class Say(NamedTuple):
    """A line for the log."""

    text: str


Action = Union[Fetch, Sign, MakeRequest, Show, Hide, Wait, Say]
T = TypeVar("T")
Steps = Generator[Action, Any, T]


class Talker:
    """Talks to one ACME server: unsigned requests, patience with what may pass, the directory."""

    def __init__(self, directory_url: str) -> None:
        self._directory_url = directory_url
        self._nonce = ""
        self.directory: Json = {}

    def read_directory(self) -> Steps[None]:
        """Learn where everything is (7.1.1)."""
        self.directory = members((yield from self._get(self._directory_url)))

    def resource(self, name: str) -> str:
        """The URL of that resource; AcmeError."""
        return member(self.directory, name, str)

    def _get(self, url: str) -> Steps[Answer]:
        answer = yield from self._patiently(Fetch("GET", url))
        if answer.status != 200:
            raise problem(answer)
        return answer

    def _patiently(self, fetch: Fetch) -> Steps[Answer]:
        """The answer to an unsigned request, asked again where a fault may pass."""
        for tries in range(1, MAX_TRIES + 1):
            try:
                answer = yield from self._ask(fetch)
            except Unreachable as error:
                yield from self._pause(error, tries)
                continue
            if answer.status not in PASSING:
                break
            yield from self._pause(problem(answer), tries)
        return answer

    def _pause(self, error: AcmeError, tries: int) -> Steps[None]:
        """Wait before the next of `tries`; raises `error` if there is to be none."""
        seconds = max(error.retry_after, TRY_SECONDS * tries)
        if tries >= MAX_TRIES or seconds > MAX_PATIENCE:
            raise error
        yield Say(f"{error}: trying again in {seconds:.0f} s")
        yield Wait(seconds)

    def _ask(self, fetch: Fetch) -> Steps[Answer]:
        answer: Answer = yield fetch
        nonce = answer.headers.get("replay-nonce") or ""
        # RFC 8555 6.5.1: clients MUST ignore what is no base64url.
        self._nonce = nonce if _BASE64URL.fullmatch(nonce) else ""
        return answer


class Order(Talker):
    """One order of an account."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted.directory_url)
        self._wanted = wanted
        self._kid = ""

    def run(self) -> Steps[bytes]:
        """The whole way; returns the certificate with its chain, in PEM."""
        yield from self.read_directory()
        yield from self._open_account()
        url, order = yield from self._place()
        if member(order, "status", str) == "pending":
            authorizations = texts(order, "authorizations")
            if len(authorizations) > len(self._wanted.names):
                raise AcmeError(f"the CA wants {len(authorizations)} proofs, for fewer names")
            for authorization in authorizations:
                yield from self._prove(authorization)
            order = yield from self._until(url, "pending", "the order")
        if order["status"] != "ready":
            raise AcmeError(f"the order is {_status(order)}, and not ready for a certificate request")
        yield Say("all names are proved: asking for the certificate")
        request: bytes = yield MakeRequest(self._wanted.names)
        order = yield from self._finalize(url, order, request)
        answer = yield from self._post(member(order, "certificate", str), None)
        if PEM_BEGIN not in answer.body:
            raise AcmeError("what the CA gives as a certificate is none in PEM")
        return answer.body

    # Account (7.3).

    def _open_account(self) -> Steps[None]:
        """Find the account of the key, or open it."""
        wanted, url = self._wanted, self.resource("newAccount")
        account: Dict[str, Any] = {"termsOfServiceAgreed": True}
        if wanted.contact:
            account["contact"] = [f"mailto:{wanted.contact}"]
        if wanted.binding is not None:
            kid, key = wanted.binding
            account["externalAccountBinding"] = external_binding(kid, key, url, wanted.key.jwk)
        elif self._meta("externalAccountRequired"):
            raise AcmeError('this CA opens accounts for customers only: it needs "eab-kid" and "eab-hmac"')
        answer = yield from self._post(url, account)
        self._kid = answer.headers.get("location") or ""
        if not self._kid:
            raise AcmeError("the CA does not say where our account is")
        if answer.status == 201:
            terms = self._meta("termsOfService")
            agreed = f", which agrees to {printable(terms)}" if isinstance(terms, str) else ""
            yield Say(f"opened an account{agreed}")
        elif member(members(answer), "status", str) != "valid":
            raise AcmeError(f"our account is {_status(members(answer))}: another key makes another one")

    def _meta(self, name: str) -> Any:
        meta = self.directory.get("meta")
        return meta.get(name) if isinstance(meta, dict) else None

    # Order (7.4).

    def _place(self) -> Steps[Tuple[str, Json]]:
        """Where the new order is, and what it says."""
        identifiers = [{"type": "dns", "value": name} for name in self._wanted.names]
        order: Dict[str, Any] = {"identifiers": identifiers}
        if self._wanted.replaces and "renewalInfo" in self.directory:
            order["replaces"] = self._wanted.replaces
        url = self.resource("newOrder")
        try:
            answer = yield from self._post(url, order)
        except AcmeError as error:
            # RFC 9773 5: another order has replaced it already, or the CA does not know it (any more).
            if "replaces" not in order or error.kind not in ("alreadyReplaced", "malformed", "unauthorized"):
                raise
            del order["replaces"]
            answer = yield from self._post(url, order)
        location = answer.headers.get("location")
        if not location:
            raise AcmeError("the CA does not say where our order is")
        return location, members(answer)

    def _finalize(self, url: str, order: Json, request: bytes) -> Steps[Json]:
        """Hand in the request; the order with its certificate."""
        answer = yield from self._post(member(order, "finalize", str), {"csr": b64url(request)})
        order = members(answer)
        if order.get("status") in ("ready", "processing"):
            seconds = min(retry_after(answer), POLL_SECONDS)
            order = yield from self._until(url, order["status"], "the certificate", seconds)
            if order["status"] == "processing":
                order = yield from self._until(url, "processing", "the certificate")
        if member(order, "status", str) != "valid":
            raise AcmeError(f"the order is {_status(order)}")
        return order

    # Challenges (7.5, 8).

    def _prove(self, url: str) -> Steps[None]:
        """Prove the name that the authorization at `url` is about, if that is to be done."""
        authorization = members((yield from self._post(url, None)))
        status, name = member(authorization, "status", str), identifier_of(authorization)
        if status == "valid":
            return
        if status != "pending" or name is None:
            raise AcmeError(f"the proof for {printable(name or 'a name')} is {printable(status, 40)}")
        offer = find_challenge(authorization, self._wanted.challenge)
        token = member(offer, "token", str)
        challenge = Challenge(self._wanted.challenge, self._ours(name), token,
                              key_authorization(_checked(token), self._wanted.key))
        yield Show(challenge)
        yield from self._post(member(offer, "url", str), {})
        authorization = yield from self._until(url, "pending", f"the proof for {name}")
        yield Hide()
        if authorization["status"] != "valid":
            raise AcmeError(f"{challenge.kind} has failed for {name}: {failure(authorization)}")
        yield Say(f"{challenge.kind}: {name} is proved")

    def _ours(self, name: str) -> str:
        """`name`, which must be one that we asked for; the CA leaves a wildcard away (7.1.4)."""
        if name not in self._wanted.names and f"*.{name}" not in self._wanted.names:
            raise AcmeError(f"the CA wants a proof for {printable(name)}, which nobody has asked for")
        return name

    def _until(self, url: str, status: str, what: str, seconds: float = 0.0) -> Steps[Json]:
        """What is at `url` when it is not `status` any more; `seconds` is how long to wait first."""
        waited, pause = 0.0, FIRST_POLL
        while True:
            if seconds:
                yield Wait(seconds)
                waited += seconds
            answer = yield from self._post(url, None)
            value = members(answer)
            if member(value, "status", str) != status:
                return value
            if waited >= POLL_SECONDS:
                raise AcmeError(f"{what} is still {status} after {waited:.0f} s")
            seconds = min(max(retry_after(answer), pause), POLL_SECONDS - waited)
            pause = min(2 * pause, LAST_POLL)

    # Signed requests (6).

    def _post(self, url: str, payload: Optional[Json]) -> Steps[Answer]:
        """The answer to a signed request, which is a good one, or AcmeError; without `payload` it only asks
        for what is at `url` (6.3)."""
        tries = nonces = 1
        while True:
            try:
                answer = yield from self._post_once(url, payload)
            except Unreachable as error:
                yield from self._pause(error, tries)
                tries += 1
                continue
            if 200 <= answer.status < 300:
                return answer
            fault = problem(answer)
            if fault.kind == "badNonce" and nonces < MAX_NONCES:
                nonces += 1
            elif answer.status in PASSING:
                yield from self._pause(fault, tries)
                tries += 1
            else:
                raise fault

    def _post_once(self, url: str, payload: Optional[Json]) -> Steps[Answer]:
        if not self._nonce:
            answer = yield from self._ask(Fetch("HEAD", self.resource("newNonce")))
            if answer.status in PASSING:
                return answer
        nonce, self._nonce = self._nonce, ""
        if not nonce:
            raise AcmeError("the CA gives no nonce")
        key = self._wanted.key
        header: Dict[str, Any] = {"alg": key.algorithm, "nonce": nonce, "url": url}
        if self._kid:
            header["kid"] = self._kid
        else:
            header["jwk"] = dict(key.jwk)
        signed = signing_input(header, payload)
        signature: bytes = yield Sign(signed)
        try:
            body = flattened(signed, raw_signature(key.algorithm, signature))
        except ValueError as error:
            raise AcmeError(f"the signature cannot be used: {error}") from None
        return (yield from self._ask(Fetch("POST", url, body, JOSE_JSON)))


def _checked(token: str) -> str:
    """`token`, which must be what RFC 8555 8.3 says: it goes into an answer, and to a hook."""
    if _BASE64URL.fullmatch(token) is None:
        raise AcmeError(f"the CA's token is malformed: {excerpt(token)}")
    return token


def _status(value: Json) -> str:
    """The status of an order or account, with the reason if there is one."""
    status = printable(str(value.get("status")), 40)
    return f"{status}: {describe(value['error'])[1]}" if value.get("error") else status


# When to renew (RFC 9773).


class Renewal(NamedTuple):
    """When the CA wants a certificate renewed: from `start` to `end`, in its own words (RFC 3339), why, and
    after how many seconds to ask again (0: it does not say)."""

    start: str
    end: str
    reason: str
    seconds: float


def ask_renewal(directory_url: str, identifier: str) -> Steps[Optional[Renewal]]:
    """What the CA says of the certificate `identifier`; None if it says nothing of renewals."""
    talker = Talker(directory_url)
    yield from talker.read_directory()
    base = talker.directory.get("renewalInfo")
    if not isinstance(base, str):
        return None
    answer: Answer = yield Fetch("GET", f"{base.rstrip('/')}/{identifier}")
    if answer.status != 200:
        raise problem(answer)
    value = members(answer)
    window = member(value, "suggestedWindow", dict)
    reason = value.get("explanationURL")
    return Renewal(member(window, "start", str), member(window, "end", str),
                   printable(reason) if isinstance(reason, str) else "", retry_after(answer))
