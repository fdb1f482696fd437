"""Seeded random answers against the reader of answers, and against the conversation with an ACME server.

Whatever the server says, the conversation ends after a bounded number of steps, with the chain or with an
AcmeError in words that are fit for a log; it waits for a bounded time, and shows a challenge only for names
that were asked for.
"""

from __future__ import annotations

import json
import random
from itertools import repeat
from typing import Any, Dict, Iterator

import pytest

from lwsws.wire.acme import (
    CHALLENGES,
    MAX_PATIENCE,
    POLL_SECONDS,
    MakeRequest,
    Order,
    Show,
    Sign,
    ask_renewal,
)
from lwsws.wire.acme_answer import MAX_RETRY_AFTER, AcmeError, Answer, Unreachable, problem, retry_after
from lwsws.wire.headers import Headers
from tests.support.acme_script import BASE, RENEWAL_INFO, Course, ModelCa, Outcome, play
from tests.support.false_ca_answers import ERROR, Altered, Canned
from tests.support.fuzzing import BATCHES, CASES, damage, seeds, told

STATUSES = ("pending", "processing", "ready", "valid", "invalid", "deactivated", "")
KINDS = ("badNonce", "rateLimited", "alreadyReplaced", "unauthorized", "caa", "", "x\ny\x1b")
NAMES = ("status", "error", "authorizations", "finalize", "certificate", "identifier", "challenges", "type",
         "detail", "subproblems", "newNonce", "newAccount", "newOrder", "meta", "wildcard", "token", "url")
HEADERS = ("Retry-After", "Date", "Location", "Replay-Nonce", "Content-Type")
TEXTS = ("", "x", "0", "5", "70", "99999999999", "-1", "one\r\ntwo\x1b", "\ud800", "a.test", f"{BASE}/order",
         f"{BASE}/authorization/0", f"{BASE}/authorization/1", "Sun, 06 Nov 1994 08:49:37 GMT", *STATUSES,
         "Sun, 06 Nov 1994 08:50:37 GMT", *CHALLENGES, *(ERROR + kind for kind in KINDS), "long " * 200)
NO_JSON = ("HEAD /new-nonce", "POST /certificate")  # what is answered by something else
BITS = (b"{", b"}", b"[", b'"', b"null", b"\xff", b"\\ud800", b"9" * 99, b'"status"', b"[" * 2000)


def random_value(rand: random.Random, depth: int = 0) -> Any:
    """Anything that JSON can say, often with the names and texts of ACME."""
    kind = rand.random()
    if kind < 0.5 or depth > 2:
        return rand.choice((*TEXTS, *TEXTS, None, True, 0, -7, 1.5, 10**30))
    if kind < 0.7:
        return [random_value(rand, depth + 1) for _ in range(rand.randrange(4))]
    return {rand.choice(NAMES): random_value(rand, depth + 1) for _ in range(rand.randrange(6))}


def random_headers(rand: random.Random) -> Dict[str, str]:
    """Header fields with values that may be right somewhere else; in latin-1 as on the wire."""
    texts = [text.replace("\ud800", "\xe4") for text in rand.choices(TEXTS, k=rand.choice((0, 0, 1, 3)))]
    return {rand.choice(HEADERS): text for text in texts}


def random_outcome(rand: random.Random, what: str) -> Outcome:
    """What comes instead of the right answer to `what`: often nearly right, seldom nonsense."""
    kind, headers, nonce = rand.random(), random_headers(rand), rand.random() < 0.8
    if kind < 0.4:
        name, value = rand.choice(NAMES), random_value(rand)
        if rand.random() < 0.6:
            name, value = "status", rand.choice(STATUSES)
        return Altered({} if what in NO_JSON else {name: value}, headers)
    if kind < 0.6:
        below = [random_value(rand) for _ in range(rand.randrange(3))]
        body = {"type": ERROR + rand.choice(KINDS), "detail": random_value(rand), "subproblems": below}
        status = rand.choice((400, 403, 404, 429, 500, 503))
        return Canned(status, headers, json.dumps(body).encode(), nonce=nonce)
    if kind < 0.8:
        return rand.choice((Unreachable("gone"), Unreachable("gone"), AcmeError("the answer is too long")))
    text = json.dumps(random_value(rand)).encode()
    text = damage(rand, text, BITS) if rand.random() < 0.5 else text
    return Canned(rand.choice((200, 200, 201, 204, 302, 400, 503)), headers, text, nonce=nonce)


def random_outcomes(rand: random.Random, what: str) -> Iterator[Outcome]:
    """Some in a row, sometimes for ever."""
    for _ in range(rand.choice((1, 1, 2, 5))):
        yield random_outcome(rand, what)
    if rand.random() < 0.1:
        yield from repeat(random_outcome(rand, what))


def random_ca(rand: random.Random) -> ModelCa:
    """A CA that is wrong somewhere."""
    ca = ModelCa(rand.choice(CHALLENGES), *rand.choice((("a.test",), ("a.test", "b.test"), ("*.a.test",))))
    ca.directory["renewalInfo"] = RENEWAL_INFO
    if rand.random() < 0.1:
        ca.directory[rand.choice(("meta", "newNonce", "renewalInfo"))] = random_value(rand)
    requests = ["GET /directory", "HEAD /new-nonce", "POST /new-account", "POST /new-order", "POST /order",
                "POST /authorization/0", "POST /authorization/1", "POST /finalize", "POST /certificate",
                "GET /renewal-info/id", *(f"POST /challenge/0/{kind}" for kind in CHALLENGES)]
    for what in rand.sample(requests, rand.choice((0, 1, 2, 4))):
        ca.instead[what] = random_outcomes(rand, what)
    if rand.random() < 0.1:
        ca.authorizations[0]["challenges"] = random_value(rand)
    return ca


def check_error(error: AcmeError) -> None:
    """What everybody above relies on."""
    assert error.text.isprintable()
    assert len(error.text) < 2500
    assert error.kind.isprintable()
    assert len(error.kind) < 70
    assert 0 <= error.retry_after <= MAX_RETRY_AFTER


def check_course(course: Course) -> None:
    """It has ended in one way, has waited only so long, and has shown nothing that it should not."""
    assert all(0 < seconds <= max(POLL_SECONDS, MAX_PATIENCE) for seconds in course.waits), course.waits
    assert set(course.shown) <= {"a.test", "b.test"}
    for text in course.said:
        assert text.isprintable()
        assert len(text) < 2600
    if course.error is not None:
        check_error(course.error)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_conversations(batch: int) -> None:
    outcomes = {"chain": 0, "error": 0}
    for seed in seeds(batch):
        rand = random.Random(seed)
        ca = random_ca(rand)
        # In one of a few something cannot be done here.
        failing: Dict[type, AcmeError] = {}
        if rand.random() < 0.05:
            failing[rand.choice((Sign, Show, MakeRequest))] = AcmeError("no")
        replaces = rand.choice(("", "id"))
        with told(f"seed {seed}"):
            course = play(Order(ca.wanted(replaces=replaces)).run(), ca, failing)
            check_course(course)
            assert (course.result is None) is (course.error is not None)
            assert course.result is None or b"-----BEGIN CERTIFICATE-----" in course.result
        outcomes["chain" if course.error is None else "error"] += 1
    # The generator must go on meeting both sides of the rules.
    assert min(outcomes.values()) > CASES // BATCHES // 8, outcomes


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_renewals(batch: int) -> None:
    for seed in seeds(batch):
        rand = random.Random(seed)
        ca = random_ca(rand)
        with told(f"seed {seed}"):
            course = play(ask_renewal(f"{BASE}/directory", "id"), ca)
            check_course(course)
            if course.result is not None:
                assert course.result.reason.isprintable()
                assert 0 <= course.result.seconds <= MAX_RETRY_AFTER


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_problems(batch: int) -> None:
    for seed in seeds(batch):
        rand = random.Random(seed)
        body = json.dumps(random_value(rand)).encode()
        if rand.random() < 0.5:
            body = damage(rand, body, BITS)
        answer = Answer(rand.choice((400, 503)), Headers(list(random_headers(rand).items())), body)
        with told(f"seed {seed}: {answer!r}"):
            check_error(problem(answer))
            assert 0 <= retry_after(answer) <= MAX_RETRY_AFTER
