"""An ACME CA in a thread that does what a test says: it is right by itself, and wrong where it is told to be.

    with FalseCa(tmp_path / "ca") as ca:
        ca.answers[("POST", "/new-order")] = [rate_limited("3600")]     # once each, then what is right again
        ca.processing = 2                   # so many polls find that an order is not valid yet
        ...                                 a client of ca.directory_url, checked with ca.ca_file
        ca.of("POST", "/new-order")         its requests, decoded
        assert ca.refusals == []            it has made no mistake

Signatures are not verified, but all else is looked at: nonces, URLs, who asks, what a CSR is for.  A
challenge is valid as soon as the client says that it is ready, unless `validate` says no.  What it issues is
signed by an intermediate, `issuer`, from `clock()` on, for `lifetime` days.  What else there is to change
stands in Resources.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Callable, List, Optional, Sequence, Set, Tuple, Type

from tests.support.false_ca_answers import Altered, Canned, HttpsServer, Seen, Table
from tests.support.false_ca_issuer import for_https
from tests.support.false_ca_resources import Refused, Resources, Validate
from tests.support.waiting import wait_until

ALGORITHMS = ("ES256", "ES384", "ES512", "RS256", "EdDSA")


class FalseCa(Resources):
    """One CA, with its files in `folder`; `host_names` are those in the certificate of its HTTPS."""

    def __init__(
        self,
        folder: Path,
        *,
        lifetime: float = 90,
        validate: Optional[Validate] = None,
        ari: Optional[Tuple[float, float]] = None,
        eab: Optional[Tuple[str, str]] = None,
        terms: str = "",
        clock: Callable[[], float] = time.time,
        host_names: Sequence[str] = ("localhost", "127.0.0.1"),
    ) -> None:
        super().__init__(folder)
        self.lifetime = lifetime
        self.validate = validate
        self.ari = ari
        self.eab = eab
        self.terms = terms
        self.clock = clock
        self.answers: Table = {}
        self.requests: List[Seen] = []
        self.refusals: List[str] = []   # what was not right about requests
        self._nonces: Set[str] = set()
        https, own = for_https(tuple(host_names))
        self.ca_file = https.cert
        self._server = HttpsServer(own, self._respond)
        self.base = f"https://127.0.0.1:{self._server.server_port}"
        self.directory_url = self.base + "/dir"

    # What a test asks of it.

    def of(self, method: str, resource: str) -> List[Seen]:
        """The requests so far with this method and path, or with a path that begins with this part."""
        return [seen for seen in list(self.requests)
                if seen.method == method and resource in resources_of(seen)]

    def wait_for(self, method: str, resource: str, count: int = 1, seconds: float = 10.0) -> List[Seen]:
        """The same, as soon as there are `count`."""
        wait_until(lambda: len(self.of(method, resource)) >= count, f"{method} {resource}", seconds)
        return self.of(method, resource)

    def replaced(self) -> List[Optional[str]]:
        """For each request for an order, which certificate it said that it replaces."""
        return [seen.payload.get("replaces") for seen in self.of("POST", "/new-order")]

    # Requests, in the threads of their connections.

    def _respond(self, seen: Seen) -> Canned:
        with self._lock:
            self.requests.append(seen)
            scripted = self._scripted(seen)
        if isinstance(scripted, Canned):
            if seen.protected is not None:
                self._nonces.discard(str(seen.protected.get("nonce")))
            return self._completed(seen, scripted)
        try:
            answer = self._right_answer(seen)
        except Refused as refused:
            self.refusals.append(f"{seen.method} {seen.path}: {refused}")
            answer = refused.answer
        answer = self._completed(seen, answer)
        return scripted.of(answer) if isinstance(scripted, Altered) else answer

    def _scripted(self, seen: Seen) -> object:
        for resource in resources_of(seen):
            left = self.answers.get((seen.method, resource))
            if left:
                self.answers[seen.method, resource] = left[1:]
                return left[0]
        return None

    def _completed(self, seen: Seen, answer: Canned) -> Canned:
        """`answer` with the header fields that most have."""
        headers = dict(answer.headers)
        headers.setdefault("Link", f'<{self.directory_url}>;rel="index"')
        if answer.nonce and (seen.method == "POST" or seen.path == "/new-nonce"):
            nonce = f"nonce-{next(self._numbers)}_"
            self._nonces.add(nonce)
            headers.setdefault("Replay-Nonce", nonce)
        return answer._replace(headers=headers)

    def _right_answer(self, seen: Seen) -> Canned:
        if seen.path == "/new-nonce" and seen.method in ("GET", "HEAD"):
            return Canned(204 if seen.method == "GET" else 200, {"Cache-Control": "no-store"})
        if seen.method == "GET":
            return self.get(seen.path)
        header = seen.protected
        if seen.method != "POST" or header is None:
            raise Refused("malformed", "not a POST of a JWS")
        if seen.values("Content-Type") != ["application/jose+json"]:
            raise Refused("malformed", f"Content-Type: {seen.values('Content-Type')}", 415)
        if header.get("alg") not in ALGORITHMS:
            raise Refused("badSignatureAlgorithm", f"not {header.get('alg')!r}")
        if header.get("url") != self.base + seen.path:
            raise Refused("unauthorized", f"signed for {header.get('url')!r}", 403)
        with self._lock:
            if header.get("nonce") not in self._nonces:
                raise Refused("badNonce", f"not {header.get('nonce')!r}")
            self._nonces.remove(header["nonce"])
        return self.post(seen, header)

    # Its life.

    def __enter__(self) -> FalseCa:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        fault: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._server.stop()
        assert kind is not None or self._server.faults == [], "".join(self._server.faults)


def resources_of(seen: Seen) -> Tuple[str, str]:
    """The path of a request, and its first part, which tells the kind of resource."""
    return seen.path, "/" + seen.path.split("/")[1]
