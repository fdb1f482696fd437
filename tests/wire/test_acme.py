"""The conversation with an ACME server: the ordinary course, and what may differ from it."""

from __future__ import annotations

import hashlib
import json
from itertools import repeat
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import pytest

from lwsws.wire.acme import (
    CHALLENGES,
    DNS_01,
    HTTP_01,
    MAX_NONCES,
    Challenge,
    Fetch,
    Hide,
    MakeRequest,
    Order,
    Renewal,
    Say,
    Show,
    Sign,
    Wait,
    Wanted,
    ask_renewal,
)
from lwsws.wire.acme_answer import AcmeError, Answer, Unreachable
from lwsws.wire.headers import Headers
from lwsws.wire.jws import PublicKey
from tests.support.acme_script import (
    BASE,
    CHAIN,
    KEY,
    NAMES,
    RENEWAL_INFO,
    REQUEST,
    Course,
    ModelCa,
    Outcome,
    Sent,
    decode64,
    document,
    play,
)
from tests.support.false_ca_answers import Altered, Canned, bad_nonce, encode64, problem

# RFC 7638 3: of the members of KEY, sorted, without white space.
HASHED = (b'{"crv":"P-256","kty":"EC","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",'
          b'"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}')
THUMBPRINT = encode64(hashlib.sha256(HASHED).digest())

ACCOUNT = ["GET /directory", "HEAD /new-nonce", "POST /new-account"]
ORDER = [*ACCOUNT, "POST /new-order"]
FINISH = ["POST /order", "request a.test b.test", "POST /finalize", "POST /certificate"]


def order(ca: ModelCa, instead: Optional[Mapping[str, Sequence[Outcome]]] = None, **more: Any) -> Course:
    """The course of an order with these differences, which ends well."""
    ca.instead.update(instead or {})
    course = play(Order(ca.wanted(**more)).run(), ca)
    assert (course.error, course.result) == (None, CHAIN)
    return course


def proof(kind: str, number: int) -> List[str]:
    """The deeds by which one of NAMES is proved."""
    at, challenge = f"/authorization/{number}", f"/challenge/{number}/{kind}"
    token = f"token-{number}-{kind}"
    return [f"POST {at}", f"show {kind} {NAMES[number]} {token}", f"POST {challenge}", f"POST {at}", "hide"]


def whole(*, without: Sequence[str] = (), kind: str = HTTP_01) -> List[str]:
    """The deeds of the ordinary course, less some."""
    deeds = [*ORDER, *proof(kind, 0), *proof(kind, 1), *FINISH]
    return [deed for deed in deeds if deed not in without]


# The ordinary course


@pytest.mark.parametrize("kind", CHALLENGES)
def test_two_names_by_each_challenge(kind: str) -> None:
    course = order(ModelCa(kind))
    assert course.deeds == whole(kind=kind)
    assert course.waits == []
    assert course.said == [
        "opened an account",
        f"{kind}: a.test is proved",
        f"{kind}: b.test is proved",
        "all names are proved: asking for the certificate",
    ]


def test_each_signed_request_is_signed_right_before_it_is_sent() -> None:
    steps = order(ModelCa()).steps
    assert [steps[at - 1] for at, step in enumerate(steps) if step.startswith("POST ")] == ["sign"] * 11
    assert steps.count("sign") == 11


def test_what_is_shown_is_the_token_with_the_thumbprint_of_the_key() -> None:
    """RFC 8555 8.1."""
    shown = [action for action in order(ModelCa(DNS_01)).actions if isinstance(action, Show)]
    assert shown[1] == Show(Challenge("dns-01", "b.test", "token-1-dns-01", f"token-1-dns-01.{THUMBPRINT}"))


def test_headers_and_payloads_of_all_requests() -> None:
    """RFC 8555 6.2 to 6.5: the key for a new account only, then its URL; POST-as-GET has an empty payload."""
    ca = ModelCa(HTTP_01, "a.test")
    order(ca, contact="me@a.test")
    account = {"termsOfServiceAgreed": True, "contact": ["mailto:me@a.test"]}
    payloads: List[Tuple[str, Any]] = [
        ("/new-account", account),
        ("/new-order", {"identifiers": [{"type": "dns", "value": "a.test"}]}),
        ("/authorization/0", None),
        ("/challenge/0/http-01", {}),
        ("/authorization/0", None),
        ("/order", None),
        ("/finalize", {"csr": encode64(REQUEST)}),
        ("/certificate", None),
    ]
    for number, (path, payload) in enumerate(payloads):
        header = {"alg": "ES256", "nonce": f"nonce-{number + 1}", "url": BASE + path}
        who = {"kid": f"{BASE}/account/1"} if number else {"jwk": dict(KEY.jwk)}
        assert ca.sent[number + 2] == Sent(f"POST {path}", {**header, **who}, payload)
    assert len(ca.sent) == 2 + len(payloads)


def test_how_a_signed_request_looks_on_the_wire() -> None:
    """RFC 8555 6.2, 6.3: the flattened form, and nothing but that."""
    posts = [action for action in order(ModelCa()).actions
             if isinstance(action, Fetch) and action.method == "POST"]
    assert {post.content_type for post in posts} == {"application/jose+json"}
    assert [json.loads(post.body)["payload"] for post in posts if "/authorization/" in post.url] == [""] * 4
    assert [json.loads(post.body)["payload"] for post in posts if "/challenge/" in post.url] == ["e30"] * 2
    assert {tuple(json.loads(post.body)) for post in posts} == {("protected", "payload", "signature")}


def test_an_rsa_key_signs_as_it_is() -> None:
    """Step by step, by hand."""
    key = PublicKey("RS256", {"e": "AQAB", "kty": "RSA", "n": "AQ"})
    directory = json.dumps({"newNonce": "n:", "newAccount": "a:"}).encode()
    steps = Order(Wanted("d:", ("a.test",), HTTP_01, key)).run()
    assert next(steps) == Fetch("GET", "d:")
    assert steps.send(Answer(200, Headers([]), directory)) == Fetch("HEAD", "n:")
    sign = steps.send(Answer(200, Headers([("Replay-Nonce", "AA")]), b""))
    assert isinstance(sign, Sign)
    header, payload = sign.data.decode().split(".")
    assert json.loads(decode64(header)) == {"alg": "RS256", "nonce": "AA", "url": "a:", "jwk": key.jwk}
    post = steps.send(b"\x30any bytes")
    jws = {"protected": header, "payload": payload, "signature": encode64(b"\x30any bytes")}
    assert isinstance(post, Fetch)
    assert (post.method, post.url, post.content_type) == ("POST", "a:", "application/jose+json")
    assert json.loads(post.body) == jws


# What needs not to be done


def test_what_is_proved_already_is_not_proved_again() -> None:
    ca = ModelCa()
    ca.authorizations[0]["status"] = "valid"
    assert order(ca).deeds == [*ORDER, "POST /authorization/0", *proof(HTTP_01, 1), *FINISH]
    ca = ModelCa()
    for each in ca.authorizations:
        each["status"] = "valid"
    pending = {"POST /new-order": [Altered({"status": "pending"})]}
    expected = [*ORDER, "POST /authorization/0", "POST /authorization/1", *FINISH]
    assert order(ca, pending).deeds == expected


def test_an_order_that_is_ready_at_once() -> None:
    ca = ModelCa()
    ca.order["status"] = "ready"
    assert order(ca).deeds == [*ORDER, *FINISH[1:]]


def test_a_wildcard_beside_its_base() -> None:
    """RFC 8555 7.1.4: both authorizations are for the same name, one after the other."""
    course = order(ModelCa(DNS_01, "*.w.test", "w.test"))
    assert course.shown == ["w.test", "w.test"]
    shows = [step.split(" ", 1)[0] for step in course.deeds if step.startswith(("show", "hide"))]
    assert shows == ["show", "hide", "show", "hide"]
    assert "request *.w.test w.test" in course.deeds
    assert order(ModelCa(DNS_01, "*.w.test")).shown == ["w.test"]


# Accounts


def test_an_account_that_is_there_already() -> None:
    course = order(ModelCa(), {"POST /new-account": [Altered(status=200)]})
    assert course.deeds == whole()
    assert course.said[0] == "http-01: a.test is proved"


@pytest.mark.parametrize(
    "meta, said",
    [
        (None, "opened an account"),
        ({}, "opened an account"),
        ("meta", "opened an account"),
        ({"termsOfService": 7, "externalAccountRequired": False}, "opened an account"),
        ({"termsOfService": f"{BASE}/terms"}, f"opened an account, which agrees to {BASE}/terms"),
        ({"termsOfService": "a\r\n\x1b[2Jb"}, "opened an account, which agrees to a ?[2Jb"),
        ({"termsOfService": "x" * 999}, f"opened an account, which agrees to {'x' * 300}..."),
    ],
)
def test_the_terms_are_said(meta: Any, said: str) -> None:
    ca = ModelCa()
    ca.directory["meta"] = meta
    assert order(ca).said[0] == said


@pytest.mark.parametrize("meta", [{"externalAccountRequired": True}, {}])
def test_an_external_account_is_bound(meta: Dict[str, Any]) -> None:
    """RFC 8555 7.3.4: the account key, signed with the key that the CA gave; jws.py says how."""
    ca = ModelCa()
    ca.directory["meta"] = meta
    order(ca, binding=("kid-1", b"secret"))
    binding = ca.of("POST /new-account")[0].payload["externalAccountBinding"]
    header = {"alg": "HS256", "kid": "kid-1", "url": f"{BASE}/new-account"}
    assert json.loads(decode64(binding["protected"])) == header
    assert json.loads(decode64(binding["payload"])) == KEY.jwk


# Which certificate is replaced (RFC 9773 5)


@pytest.mark.parametrize("replaces, known, sent", [("id", True, "id"), ("id", False, None), ("", True, None)])
def test_replaces_is_sent_to_those_who_know_it(replaces: str, known: bool, sent: Optional[str]) -> None:
    ca = ModelCa()
    if known:
        ca.directory["renewalInfo"] = RENEWAL_INFO
    assert order(ca, replaces=replaces).deeds == whole()
    assert [each.payload.get("replaces") for each in ca.of("POST /new-order")] == [sent]


@pytest.mark.parametrize("kind", ["alreadyReplaced", "malformed", "unauthorized"])
def test_replaces_is_dropped_once_it_is_refused(kind: str) -> None:
    ca = ModelCa()
    ca.directory["renewalInfo"] = RENEWAL_INFO
    course = order(ca, {"POST /new-order": [problem(kind, 409)]}, replaces="id")
    assert course.deeds == [*ORDER, *whole()[3:]]
    identifiers = [{"type": "dns", "value": name} for name in NAMES]
    assert [sent.payload for sent in ca.of("POST /new-order")] == [
        {"identifiers": identifiers, "replaces": "id"}, {"identifiers": identifiers},
    ]


# Nonces (RFC 8555 6.5)


def nonces_of(ca: ModelCa) -> List[str]:
    """The nonces of all signed requests."""
    return [sent.protected["nonce"] for sent in ca.sent if sent.protected]


def test_a_refused_nonce_is_replaced_by_the_one_that_comes_with_the_refusal() -> None:
    ca = ModelCa()
    fresh = problem("badNonce", headers={"Replay-Nonce": "fresh"})
    course = order(ca, {"POST /new-order": [fresh], "POST /finalize": [bad_nonce(), bad_nonce()]})
    assert course.deeds.count("HEAD /new-nonce") == 1
    assert [sent.what for sent in ca.sent].count("POST /finalize") == 3
    assert [sent.protected["nonce"] for sent in ca.of("POST /new-order")] == ["nonce-2", "fresh"]
    assert (course.waits, course.said[0]) == ([], "opened an account")
    assert len(set(nonces_of(ca))) == len(nonces_of(ca))


def test_a_refused_nonce_without_another_one() -> None:
    ca = ModelCa()
    course = order(ca, {"POST /new-order": [bad_nonce()._replace(nonce=False)]})
    assert course.deeds == [*ORDER, "HEAD /new-nonce", *whole()[3:]]
    assert len(set(nonces_of(ca))) == len(nonces_of(ca))


def test_an_answer_without_a_nonce() -> None:
    """RFC 8555 7.2."""
    course = order(ModelCa(), {"POST /new-account": [Altered(headers={"Replay-Nonce": ""})]})
    assert course.deeds == [*ACCOUNT, "HEAD /new-nonce", *whole()[3:]]


def test_a_nonce_may_come_with_the_directory() -> None:
    ca = ModelCa()
    ca.instead["GET /directory"] = [Altered(headers={"Replay-Nonce": "early"})]
    course = order(ca)
    assert course.deeds == whole(without=["HEAD /new-nonce"])
    assert nonces_of(ca)[0] == "early"


@pytest.mark.parametrize("nonce", ["no nonce", "a+b/", "\xe9", "n\"", "n1, n2"])
def test_a_malformed_nonce_is_ignored(nonce: str) -> None:
    """RFC 8555 6.5.1: base64url without padding; "Clients MUST ignore invalid Replay-Nonce values"."""
    ca = ModelCa()
    order(ca, {"POST /new-account": [Altered(headers={"Replay-Nonce": nonce})]})
    assert nonce not in nonces_of(ca)


def test_most_nonces_may_be_refused() -> None:
    course = order(ModelCa(), {"POST /new-order": [bad_nonce()] * (MAX_NONCES - 1)})
    assert course.deeds.count("POST /new-order") == MAX_NONCES


# Polling


@pytest.mark.parametrize(
    "what, deed",
    [("POST /authorization/1", "POST /authorization/1"), ("POST /order", "POST /order")],
)
def test_what_is_pending_is_asked_for_again(what: str, deed: str) -> None:
    pending = Altered({"status": "pending"})
    first = [Altered()] if "authorization" in what else []
    course = order(ModelCa(), {what: [*first, pending, pending, pending]})
    at = course.deeds.index("wait 1")
    assert course.deeds[at - 1 : at + 6] == [deed, "wait 1", deed, "wait 2", deed, "wait 4", deed]
    assert course.waits == [1, 2, 4]


def test_the_pause_between_polls_has_a_limit_and_obeys_the_server() -> None:
    pending = Altered({"status": "pending"})
    assert order(ModelCa(), {"POST /order": [pending] * 7}).waits == [1, 2, 4, 8, 15, 15, 15]
    asked = ("0", "30", "x", "100")
    patient = [Altered({"status": "pending"}, {"Retry-After": seconds}) for seconds in asked]
    assert order(ModelCa(), {"POST /order": patient}).waits == [1, 30, 4, 100]


def test_retry_after_may_be_a_date_by_the_clock_of_the_server() -> None:
    dates = {"Date": "Thu, 01 Jan 1970 00:00:10 GMT", "Retry-After": "Thu, 01 Jan 1970 00:00:32 GMT"}
    course = order(ModelCa(), {"POST /order": [Altered({"status": "pending"}, dates)]})
    assert course.waits == [22]


def test_a_finalized_order_that_is_processing() -> None:
    processing = Altered({"status": "processing", "certificate": None})
    instead = {"POST /finalize": [processing], "POST /order": [Altered(), processing, processing]}
    course = order(ModelCa(), instead)
    assert course.deeds == [*whole()[:-1], "POST /order", "wait 1", "POST /order", "wait 2", "POST /order",
                            "POST /certificate"]
    slow = Altered({"status": "processing", "certificate": None}, {"Retry-After": "7"})
    course = order(ModelCa(), {**instead, "POST /finalize": [slow]})
    assert course.waits == [7, 1, 2]


def test_a_finalized_order_that_is_still_ready() -> None:
    """Some say so until they have begun, and then that it is processing."""
    ready, processing = (Altered({"status": status}) for status in ("ready", "processing"))
    instead = {"POST /finalize": [ready], "POST /order": [Altered(), ready, processing, processing]}
    course = order(ModelCa(), instead)
    assert (course.deeds.count("POST /order"), course.waits) == (5, [1, 1])
    assert course.deeds.count("POST /finalize") == 1


# Renewal (RFC 9773)


def ask(ca: ModelCa) -> Course:
    """The course of asking when to renew."""
    return play(ask_renewal(f"{BASE}/directory", "aki.serial"), ca)


@pytest.mark.parametrize("base", [RENEWAL_INFO, RENEWAL_INFO + "/"])
def test_when_to_renew(base: str) -> None:
    ca = ModelCa()
    ca.directory["renewalInfo"] = base
    course = ask(ca)
    assert course.steps == ["GET /directory", "GET /renewal-info/aki.serial"]
    assert course.result == Renewal("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "", 21600)


@pytest.mark.parametrize(
    "more, headers, reason, seconds",
    [
        ({"explanationURL": "https://ca.test/why"}, {}, "https://ca.test/why", 0),
        ({"explanationURL": "a\nb\x1b" + "x" * 999}, {}, "a b?" + "x" * 296 + "...", 0),
        ({"explanationURL": 7}, {"Retry-After": "60"}, "", 60),
        ({}, {"Retry-After": "999999999"}, "", 604800),
    ],
)
def test_what_else_a_renewal_says(more: Any, headers: Dict[str, str], reason: str, seconds: float) -> None:
    ca = ModelCa()
    ca.directory["renewalInfo"] = RENEWAL_INFO
    answer = document({"suggestedWindow": {"start": "s", "end": "e"}, **more})
    ca.instead["GET /renewal-info/aki.serial"] = [answer._replace(headers=headers)]
    assert ask(ca).result == Renewal("s", "e", reason, seconds)


@pytest.mark.parametrize("renewal_info", [None, 7, {}])
def test_a_server_that_says_nothing_of_renewals(renewal_info: Any) -> None:
    ca = ModelCa()
    ca.directory["renewalInfo"] = renewal_info
    course = ask(ca)
    assert (course.steps, course.result, course.error) == (["GET /directory"], None, None)


@pytest.mark.parametrize(
    "answer, kind, seconds",
    [
        (problem("rateLimited", 429, headers={"Retry-After": "3600"}), "rateLimited", 3600),
        (problem("malformed", 404), "malformed", 0),
        (problem("serverInternal", 500), "serverInternal", 0),
        (Canned(204), "", 0),
        (Canned(200, body=b"nothing"), "", 0),
        (document([]), "", 0),
        (document({}), "", 0),
        (document({"suggestedWindow": []}), "", 0),
        (document({"suggestedWindow": {"start": "s"}}), "", 0),
        (document({"suggestedWindow": {"start": "s", "end": 7}}), "", 0),
        (Unreachable("gone"), "", 0),
    ],
)
def test_no_proper_answer_to_when_to_renew(answer: Outcome, kind: str, seconds: float) -> None:
    """It is no more than a hint, so it is asked for once."""
    ca = ModelCa()
    ca.directory["renewalInfo"] = RENEWAL_INFO
    ca.instead["GET /renewal-info/aki.serial"] = repeat(answer)
    course = ask(ca)
    assert course.steps == ["GET /directory", "GET /renewal-info/aki.serial"]
    assert isinstance(course.error, AcmeError)
    assert (course.error.kind, course.error.retry_after) == (kind, seconds)


def test_the_actions_are_what_their_names_say() -> None:
    """Whoever does them tells them apart by their class, and by nothing else."""
    course = order(ModelCa(), {"POST /order": [Altered({"status": "pending"})]})
    assert {type(action) for action in course.actions} == {Fetch, Sign, MakeRequest, Show, Hide, Wait, Say}
