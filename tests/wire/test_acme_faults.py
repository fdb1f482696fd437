"""The conversation with an ACME server: what may pass and what may not, and what is not as it has to be."""

from __future__ import annotations

from itertools import repeat
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

import pytest

from lwsws.wire.acme import (
    HTTP_01,
    MAX_NONCES,
    MAX_PATIENCE,
    MAX_TRIES,
    POLL_SECONDS,
    Fetch,
    MakeRequest,
    Order,
    Show,
    Sign,
)
from lwsws.wire.acme_answer import AcmeError, Unreachable
from tests.support.acme_script import BASE, CHAIN, Course, ModelCa, Outcome, document, play
from tests.support.false_ca_answers import (
    Altered,
    Canned,
    bad_nonce,
    garbage,
    html_error,
    invalid_order,
    no_chain,
    problem,
    problem_body,
    rate_limited,
    rejected_identifier,
    server_internal,
)

# All kinds of requests in an ordinary course, in order.
REQUESTS = ("GET /directory", "POST /new-account", "POST /new-order", "POST /authorization/0",
            "POST /challenge/0/http-01", "POST /order", "POST /finalize", "POST /certificate")
NONCE = "HEAD /new-nonce"
GONE = Unreachable("the CA cannot be reached")
HOSTILE = "one\r\ntwo\x1b[2J\u2028\u202e\ud800" + "x" * 5000


def fail(ca: ModelCa, instead: Optional[Mapping[str, Sequence[Outcome]]] = None, **more: Any) -> AcmeError:
    """Why an order with these differences has failed."""
    return failed(ca, instead, **more)[1]


def failed(
    ca: ModelCa, instead: Any = None, failing: Any = None, **more: Any
) -> Tuple[Course, AcmeError]:
    """The same with the course."""
    ca.instead.update(instead or {})
    course = play(Order(ca.wanted(**more)).run(), ca, failing)
    assert course.result is None
    error = course.error
    assert error is not None
    for text in (error.text, error.kind, *course.said):
        assert text.isprintable()
        assert len(text) < 2500
    return course, error


def passes(instead: Mapping[str, Any]) -> Course:
    """The course of an order with these differences, which ends well."""
    ca = ModelCa(HTTP_01, "a.test")
    ca.instead.update(instead)
    course = play(Order(ca.wanted()).run(), ca)
    assert (course.error, course.result) == (None, CHAIN)
    return course


# What may pass by itself


@pytest.mark.parametrize("what", REQUESTS)
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_fault_that_passes(what: str, status: int) -> None:
    busy = problem("serverInternal", status, "busy")
    course = passes({what: [busy] * (MAX_TRIES - 1)})
    assert (course.waits, course.deeds.count(what)) == ([5, 10, 15], 4 + ("authorization" in what))
    said = [text for text in course.said if "busy" in text]
    why = f"the CA says serverInternal: busy (status {status})"
    assert said == [f"{why}: trying again in {seconds} s" for seconds in (5, 10, 15)]


@pytest.mark.parametrize("what", [*REQUESTS, NONCE])
def test_a_ca_that_is_out_of_reach_for_a_while(what: str) -> None:
    """After a POST nobody knows whether its nonce was used, so another one is asked for."""
    course = passes({what: [GONE] * (MAX_TRIES - 1)})
    assert course.waits == [5, 10, 15]
    assert course.deeds.count("HEAD /new-nonce") == {"G": 1, "H": 4, "P": 4}[what[0]]
    assert "the CA cannot be reached: trying again in 5 s" in course.said


@pytest.mark.parametrize("what", REQUESTS)
def test_a_fault_that_persists(what: str) -> None:
    course, error = failed(ModelCa(HTTP_01, "a.test"), {what: repeat(html_error(503))})
    assert error.text.startswith("the CA answers with status 503 and no JSON object: '<html><head>")
    assert (course.waits, course.deeds[-1]) == ([5, 10, 15], what)


@pytest.mark.parametrize("what", [*REQUESTS, NONCE])
def test_a_ca_that_is_out_of_reach_for_ever(what: str) -> None:
    course, error = failed(ModelCa(HTTP_01, "a.test"), {what: repeat(GONE)})
    assert error is GONE
    assert (course.waits, course.deeds[-1]) == ([5, 10, 15], what)


@pytest.mark.parametrize("what", REQUESTS)
def test_a_ca_that_asks_for_a_little_patience_gets_it(what: str) -> None:
    course = passes({what: [rate_limited("3"), rate_limited("60"), server_internal("20")]})
    assert course.waits == [5, MAX_PATIENCE, 20]


@pytest.mark.parametrize("what", REQUESTS)
def test_a_ca_that_asks_for_much_patience_is_left_alone(what: str) -> None:
    course, error = failed(ModelCa(HTTP_01, "a.test"), {what: [rate_limited("3600")]})
    assert (error.kind, error.retry_after) == ("rateLimited", 3600)
    assert (course.waits, course.deeds[-1]) == ([], what)


def test_retry_after_may_be_a_date_by_the_clock_of_the_server() -> None:
    dates = {"Date": "Sun, 06 Nov 1994 08:49:37 GMT", "Retry-After": "Sun, 06 Nov 1994 09:50:37 GMT"}
    error = fail(ModelCa(), {"POST /new-order": [problem("rateLimited", 429, headers=dates)]})
    assert error.retry_after == 3660
    dates["Retry-After"] = "Sun, 06 Nov 1994 08:50:07 GMT"
    assert passes({"POST /new-order": [problem("rateLimited", 429, headers=dates)]}).waits == [30]


@pytest.mark.parametrize("what", [each for each in REQUESTS if each.startswith("POST")])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 302])
def test_what_does_not_pass_ends_at_once(what: str, status: int) -> None:
    course, error = failed(ModelCa(HTTP_01, "a.test"), {what: [problem("caa", status, "not by us")]})
    assert str(error) == f"the CA says caa: not by us (status {status})"
    assert (error.kind, course.deeds[-1], course.waits) == ("caa", what, [])


@pytest.mark.parametrize("answer", [Canned(204), Canned(301), problem("x", 404), document({}, 203)])
def test_no_directory(answer: Canned) -> None:
    assert f"status {answer.status}" in str(fail(ModelCa(), {"GET /directory": [answer]}))


def test_nonces_that_are_refused_for_ever() -> None:
    course, error = failed(ModelCa(), {"POST /new-order": repeat(bad_nonce())})
    assert error.kind == "badNonce"
    assert course.deeds.count("POST /new-order") == MAX_NONCES
    assert (course.waits, course.deeds.count("HEAD /new-nonce")) == ([], 1)


def test_refused_nonces_and_other_faults_are_counted_apart() -> None:
    mixed = [bad_nonce(), server_internal(), bad_nonce(), GONE, bad_nonce(), server_internal(), bad_nonce()]
    assert passes({"POST /finalize": mixed}).waits == [5, 10, 15]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_fault_where_nonces_come_from(status: int) -> None:
    """The answer to HEAD has no body, but a CA that is busy says here too for how long."""
    busy = Canned(status, {"Retry-After": "20"}, nonce=False)
    course = passes({NONCE: [busy]})
    assert (course.waits, course.deeds.count(NONCE)) == ([20], 2)
    course, error = failed(ModelCa(), {NONCE: [busy._replace(headers={"Retry-After": "3600"})]})
    assert (error.retry_after, course.waits, course.deeds[-1]) == (3600, [], NONCE)
    course, error = failed(ModelCa(), {NONCE: repeat(busy)})
    assert (course.waits, course.deeds[-1]) == ([20, 20, 20], NONCE)


def test_no_nonce() -> None:
    assert str(fail(ModelCa(), {"HEAD /new-nonce": [Canned(nonce=False)]})) == "the CA gives no nonce"


@pytest.mark.parametrize("kind", [Sign, MakeRequest, Show])
def test_what_cannot_be_done_here_ends_at_once(kind: type) -> None:
    fault = AcmeError("openssl is not installed")
    course, error = failed(ModelCa(), failing={kind: fault})
    assert error is fault
    assert course.waits == []
    assert [type(action) for action in course.actions].count(kind) == 1
    assert isinstance(course.actions[-1], kind)


def test_replaces_is_not_to_blame_for_what_cannot_be_done_here() -> None:
    ca = ModelCa()
    ca.directory["renewalInfo"] = BASE
    fault = AcmeError("the disk is full")
    ca.instead["POST /new-order"] = [fault]
    course, error = failed(ca, replaces="id")
    assert (error, course.deeds.count("POST /new-order")) == (fault, 1)
    ca = ModelCa()
    ca.directory["renewalInfo"] = BASE
    course, error = failed(ca, {"POST /new-order": [problem("rejectedIdentifier")]}, replaces="id")
    assert (error.kind, course.deeds.count("POST /new-order")) == ("rejectedIdentifier", 1)
    assert fail(ModelCa(), {"POST /new-order": [problem("malformed")]}, replaces="id").kind == "malformed"


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"\x30\x06\2\1\1\2\1", b"\x30\x03\2\1\1"])
def test_a_signature_that_is_none(signature: bytes) -> None:
    steps, ca, outcome = Order(ModelCa().wanted()).run(), ModelCa(), None
    action: Any = next(steps)
    while isinstance(action, Fetch):
        outcome = ca.answer(action)
        action = steps.send(outcome)
    assert isinstance(action, Sign)
    with pytest.raises(AcmeError, match=r"^the signature cannot be used: "):
        steps.send(signature)


# Accounts


@pytest.mark.parametrize("status, what", [("deactivated", "deactivated"), ("revoked", "revoked")])
def test_an_account_that_is_none_any_more(status: str, what: str) -> None:
    """RFC 8555 7.3.6."""
    course, error = failed(ModelCa(), {"POST /new-account": [Altered({"status": status}, status=200)]})
    assert str(error) == f"our account is {what}: another key makes another one"
    assert course.deeds[-1] == "POST /new-account"


def test_an_external_account_that_is_wanted_but_not_there() -> None:
    ca = ModelCa()
    ca.directory["meta"] = {"externalAccountRequired": True}
    course, error = failed(ca)
    assert '"eab-kid" and "eab-hmac"' in str(error)
    assert course.deeds == ["GET /directory"]


# Orders


@pytest.mark.parametrize("status", ["valid", "invalid", "processing", "x\ny" + "z" * 99])
def test_an_order_that_is_not_open(status: str) -> None:
    course, error = failed(ModelCa(), {"POST /new-order": [Altered({"status": status})]})
    assert str(error).startswith(f"the order is {' '.join(status.split())[:40]}")
    assert str(error).endswith(", and not ready for a certificate request")
    assert course.deeds[-1] == "POST /new-order"


def test_an_order_that_becomes_invalid() -> None:
    course, error = failed(ModelCa(), {"POST /order": [invalid_order("caa")]})
    why = "the order is invalid: caa: as the test wants it: this order is invalid"
    assert str(error) == f"{why}, and not ready for a certificate request"
    for instead in (
        {"POST /finalize": [invalid_order("caa")]},
        {"POST /finalize": [Altered({"status": "processing"})],
         "POST /order": [Altered(), invalid_order("caa")]},
    ):
        course, error = failed(ModelCa(), instead)
        assert str(error) == why
        assert "POST /certificate" not in course.deeds


@pytest.mark.parametrize("status", ["pending", "expired", ""])
def test_a_finalized_order_with_another_status(status: str) -> None:
    assert str(fail(ModelCa(), {"POST /finalize": [Altered({"status": status})]})) == f"the order is {status}"


def test_names_that_are_refused() -> None:
    error = fail(ModelCa(), {"POST /new-order": [rejected_identifier("a.test", "b.test")]})
    assert error.kind == "rejectedIdentifier"
    assert "a.test: rejectedIdentifier: not for a.test" in str(error)
    assert "b.test: rejectedIdentifier: not for b.test" in str(error)


@pytest.mark.parametrize(
    "what, first, status, name",
    [
        ("POST /authorization/0", 1, "pending", "the proof for a.test"),
        ("POST /order", 0, "pending", "the order"),
        ("POST /order", 1, "processing", "the certificate"),
    ],
)
@pytest.mark.parametrize("retry_after", ["", "100", "3600", "99999999"])
def test_what_takes_too_long(what: str, first: int, status: str, name: str, retry_after: str) -> None:
    slow = Altered({"status": status}, {"Retry-After": retry_after})
    finalized = [slow] if status == "processing" else []
    instead = {what: [*[Altered()] * first, *[slow] * 999], "POST /finalize": finalized}
    course, error = failed(ModelCa(), instead)
    assert str(error) == f"{name} is still {status} after {sum(course.waits):.0f} s"
    assert POLL_SECONDS <= sum(course.waits) < 2 * POLL_SECONDS
    assert max(course.waits) <= POLL_SECONDS


@pytest.mark.parametrize("chain", [no_chain(), Canned(), Canned(body=CHAIN.lower()), garbage()])
def test_a_chain_that_is_no_pem(chain: Canned) -> None:
    assert str(fail(ModelCa(), {"POST /certificate": [chain]})).endswith("is none in PEM")


# Proofs


def proof_failed(changes: Dict[str, Any], kind: str = HTTP_01, name: str = "a.test") -> str:
    """What becomes of an authorization with these changes, before anything was shown."""
    ca = ModelCa(kind, name)
    ca.authorizations[0].update(changes)
    course, error = failed(ca)
    assert course.shown == []
    return str(error)


def test_a_challenge_that_is_not_offered() -> None:
    offers = [{"type": "dns-01"}, 7, {"type": "x\ny"}, {}]
    assert proof_failed({"challenges": offers}) == "the CA does not offer http-01, only dns-01, x y, None"
    assert proof_failed({"challenges": []}) == "the CA does not offer http-01, only nothing"
    many = [{"type": "t" * 999}] * 999
    assert len(proof_failed({"challenges": many})) < 300


def test_a_wildcard_needs_dns_01() -> None:
    expected = "the CA does not offer http-01, only dns-01. A name with a wildcard needs dns-01"
    assert proof_failed({}, HTTP_01, "*.w.test") == expected


@pytest.mark.parametrize("name", ["c.test", "*.a.test", "", "A.TEST\n", HOSTILE])
def test_a_name_that_nobody_has_asked_for(name: str) -> None:
    error = proof_failed({"identifier": {"type": "dns", "value": name}})
    assert error.endswith(", which nobody has asked for")


@pytest.mark.parametrize("identifier", [None, 7, [], {}, {"value": 7}, {"value": None}])
def test_a_name_that_is_none(identifier: Any) -> None:
    assert proof_failed({"identifier": identifier}) == "the proof for a name is pending"


@pytest.mark.parametrize("status", ["invalid", "deactivated", "expired", "revoked", HOSTILE])
def test_an_authorization_that_is_not_open(status: str) -> None:
    assert proof_failed({"status": status}).startswith("the proof for a.test is ")


@pytest.mark.parametrize("token", ["", "a b", "a.b", "../../x", "a\n", "\xe4", "a" * 513, HOSTILE])
def test_a_malformed_token(token: str) -> None:
    """RFC 8555 8.3: characters of base64url only; it becomes part of a path, or of what a hook is given."""
    offer = {"type": "http-01", "url": f"{BASE}/challenge/0/http-01", "token": token}
    error = proof_failed({"challenges": [offer]})
    assert error.startswith("the CA's token is malformed: '")
    assert len(error) < 1000


ERROR = problem_body("connection", "10.0.0.1: refused\n\x1b", 400, subproblems=[
    {"type": "urn:ietf:params:acme:error:dns", "detail": "no address", "identifier": {"value": "a.test"}},
])


@pytest.mark.parametrize(
    "challenges, why",
    [
        ([{"type": "http-01", "error": ERROR}], "connection: 10.0.0.1: refused ?; a.test: dns: no address"),
        ([7, {"error": None}, {"error": {"detail": "x"}}], "an unnamed problem: x"),
        ([{"error": "text"}], "nothing more about it"),
        ([], "and does not say why"),
    ],
)
def test_a_proof_that_fails(challenges: Any, why: str) -> None:
    bad = Altered({"status": "invalid", "challenges": challenges})
    course, error = failed(ModelCa(), {"POST /authorization/0": [Altered(), bad]})
    assert str(error) == f"http-01 has failed for a.test: {why}"
    assert (course.deeds[-1], course.shown) == ("hide", ["a.test"])


def test_a_ca_that_changes_its_mind_while_a_challenge_is_shown() -> None:
    """Whoever drives takes away what is shown."""
    gone = problem("malformed", 404)
    for what in ("POST /challenge/0/http-01", "POST /authorization/0"):
        instead = {what: [*([Altered()] if "authorization" in what else []), gone]}
        course, error = failed(ModelCa(), instead)
        assert (error.kind, course.deeds[-1]) == ("malformed", what)


# Documents that are not what they have to be

WITHOUT = [
    ("GET /directory", ("newNonce", "newAccount", "newOrder"), 0),
    ("POST /new-account", ("status",), 0),
    ("POST /new-order", ("status", "authorizations"), 0),
    ("POST /authorization/0", ("status", "challenges"), 0),
    ("POST /authorization/0", ("status",), 1),
    ("POST /order", ("status", "finalize"), 0),
    ("POST /finalize", ("status", "certificate"), 0),
]


@pytest.mark.parametrize("value", [None, 7, True, {}, [], [7], ["x", 7]], ids=repr)
@pytest.mark.parametrize("what, names, first", WITHOUT)
def test_a_member_that_is_missing_or_of_another_type(
    what: str, names: Sequence[str], first: int, value: Any
) -> None:
    for name in names:
        if name == "challenges" and isinstance(value, list):
            continue    # a list it has to be: see above
        wrong = Altered({name: value}, status=200)
        error = fail(ModelCa(), {what: [*[Altered()] * first, wrong]})
        assert str(error) == f"the CA's answer has no proper {name!r}"


@pytest.mark.parametrize("value", [None, 7, [], {}])
@pytest.mark.parametrize("name", ["url", "token"])
def test_a_challenge_without_what_it_needs(name: str, value: Any) -> None:
    ca = ModelCa()
    ca.authorizations[0]["challenges"][0][name] = value
    assert str(fail(ca)) == f"the CA's answer has no proper {name!r}"


@pytest.mark.parametrize("what, whose", [("POST /new-account", "account"), ("POST /new-order", "order")])
@pytest.mark.parametrize("location", [None, ""])
def test_no_location(what: str, whose: str, location: Optional[str]) -> None:
    error = fail(ModelCa(), {what: [Altered(headers={"Location": location})]})
    assert str(error) == f"the CA does not say where our {whose} is"


@pytest.mark.parametrize("what", ["GET /directory", "POST /new-order", "POST /authorization/0", "POST /order",
                                  "POST /finalize"])
@pytest.mark.parametrize("body", [b"", b"<html>\x1b\xff", b"[]", b"null", b'"x"', b"7", b"[" * 100_000])
def test_what_is_no_json_object(what: str, body: bytes) -> None:
    where = {"Location": f"{BASE}/order"}
    error = fail(ModelCa(), {what: [Canned(200, where, body)]})
    assert str(error).startswith("the CA answers with status 200 and no JSON object: ")


def test_an_account_that_is_no_json_object() -> None:
    """A new one is not looked at."""
    where = {"Location": f"{BASE}/account/1"}
    error = fail(ModelCa(), {"POST /new-account": [Canned(200, where, b"ok")]})
    assert str(error) == "the CA answers with status 200 and no JSON object: 'ok'"


# What strangers say


@pytest.mark.parametrize(
    "instead",
    [
        {"POST /new-account": [problem(HOSTILE, detail=HOSTILE, title=HOSTILE)]},
        {"POST /new-order": [problem("x", subproblems=[{"type": HOSTILE, "detail": HOSTILE,
                                                        "identifier": {"value": HOSTILE}}] * 99)]},
        {"POST /new-order": [Altered({"status": "invalid", "error": {"type": HOSTILE, "detail": HOSTILE}})]},
        {"POST /new-account": [Altered({"status": HOSTILE}, status=200)]},
        {"POST /order": [Altered({"status": HOSTILE, "error": {"detail": [HOSTILE] * 9}})]},
        {"POST /new-order": [document({"detail": {"a": HOSTILE}, "type": [HOSTILE]}, 400)]},
        {"POST /new-order": [Canned(400, {}, b"\x1b\xff\n" * 999)]},
        {"POST /authorization/0": [Altered({"challenges": [{"type": HOSTILE}] * 99, "wildcard": HOSTILE})]},
        {"POST /new-order": repeat(document({"detail": HOSTILE}, 503))},
    ],
    ids=range(9),
)
def test_a_message_is_one_line_that_is_fit_for_a_log(instead: Any) -> None:
    """LESSONS 3.36; fail() looks at it."""
    fail(ModelCa(), instead)
