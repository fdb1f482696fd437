"""What an ACME CA is asked for and its right answers: accounts, orders, challenges, certificates (RFC 8555).

FalseCa in false_ca.py puts HTTP, nonces and wrong answers around it; by the time of Resources.post() a
request has been found to be a JWS for its URL.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple

from tests.support.certificates import DAY
from tests.support.false_ca_answers import (
    CHAIN,
    JSON,
    Canned,
    Seen,
    decode64,
    encode64,
    identifier,
    problem,
    problem_body,
)
from tests.support.false_ca_issuer import BadRequest, Issued, Issuer

# Kind, name, token, key authorization (None if it is not known): whether the challenge is fulfilled.
Validate = Callable[[str, str, str, Optional[str]], bool]

KINDS = ("http-01", "dns-01", "tls-alpn-01")
# Which members of a key count for its thumbprint.
MEMBERS = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}


class Refused(Exception):
    """The request is not right."""

    def __init__(self, kind: str, detail: str, status: int = 400) -> None:
        super().__init__(f"{kind}: {detail}")
        self.answer = problem(kind, status, detail)


class _Account:
    def __init__(self, url: str, jwk: Dict[str, str], contact: Sequence[str]) -> None:
        self.url = url
        self.thumbprint = thumbprint(jwk)
        self.contact = contact
        self.status = "valid"


class _Authorization:
    def __init__(self, number: int, account: _Account, name: str) -> None:
        self.number = number
        self.account = account
        self.name = name.removeprefix("*.")
        self.is_wildcard = name.startswith("*.")
        self.token = encode64(hashlib.sha256(f"{number} {name}".encode()).digest())
        self.status = "pending"
        self.kind = ""      # of the challenge that the client has chosen
        self.waiting = 0    # so many more looks at it find it pending
        self.error: Optional[Dict[str, Any]] = None

    @property
    def shown(self) -> str:
        return "pending" if self.waiting else self.status


class _Order:
    def __init__(
        self, number: int, account: _Account, names: Sequence[str], authorizations: Sequence[_Authorization]
    ) -> None:
        self.number = number
        self.account = account
        self.names = names
        self.authorizations = authorizations
        self.is_finalized = False
        self.waiting = 0
        self.chain = ""
        self.error: Optional[Dict[str, Any]] = None

    @property
    def shown(self) -> str:
        if self.is_finalized:
            done = "invalid" if self.error else "valid"
            return "processing" if self.waiting else done
        parts = {authorization.shown for authorization in self.authorizations}
        return next((state for state in ("invalid", "pending") if state in parts), "ready")


def thumbprint(jwk: Dict[str, str]) -> str:
    """RFC 7638."""
    members = {name: jwk[name] for name in MEMBERS[jwk["kty"]]}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return encode64(hashlib.sha256(text.encode()).digest())


def date(seconds: float) -> str:
    """Unix seconds as RFC 3339 writes them."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def said(value: Dict[str, Any], status: int = 200, location: str = "", retry_after: str = "") -> Canned:
    """An answer in JSON."""
    fields = {"Content-Type": JSON, "Location": location, "Retry-After": retry_after}
    headers = {name: field for name, field in fields.items() if field}
    return Canned(status, headers, json.dumps(value, indent=1).encode())


class Resources:
    """All of a CA but its HTTP; what has a comment may be changed at any time."""

    def __init__(self, folder: Path) -> None:
        self.lifetime: float = 90           # days of what is issued
        self.clock: Callable[[], float] = time.time
        self.validate: Optional[Validate] = None    # asked before the answer; None: all is fulfilled
        self.ari: Optional[Tuple[float, float]] = None      # the window for renewal; None: there is no ARI
        self.ari_later: Optional[Tuple[float, float]] = None    # for all certificates but the first; or None
        self.ari_retry_after = "21600"
        self.eab: Optional[Tuple[str, str]] = None  # key id and base64url key that an account needs
        self.terms = ""                     # the URL of terms of service that a client must agree to
        self.processing = 0                 # so many polls find that an order is not valid yet
        self.pending = 0                    # so many looks find that a challenge is not valid yet
        self.retry_after = "1"              # in what is pending or processing
        self.order_error: Optional[Dict[str, Any]] = None   # how an order ends that is finalized now
        self.reuse = False                  # a name that has been valid for an account is so again
        self.base = ""
        self.issued: List[Issued] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._issuer = Issuer(folder)
        self.issuer = self._issuer.pair
        self._numbers = itertools.count(1)
        self._accounts: Dict[str, _Account] = {}
        self._authorizations: Dict[int, _Authorization] = {}
        self._orders: Dict[int, _Order] = {}
        self._replaced: Set[str] = set()
        self._lock = threading.RLock()      # of these tables
        self._resources: Dict[str, Callable[[_Account, Seen], Canned]] = {
            "new-order": self._new_order,
            "account": self._change_account,
            "authz": self._authorization,
            "challenge": self._challenge,
            "order": self._order,
            "finalize": self._finalize,
            "certificate": self._certificate,
        }

    def root(self) -> str:
        """The root of what it issues, as PEM."""
        return self._issuer.root.cert.read_text()

    def get(self, path: str) -> Canned:
        """The answer to a GET."""
        if path == "/dir":
            return self._directory()
        if path.startswith("/renewal-info/") and self.ari is not None:
            name = path[len("/renewal-info/"):]
            self._check_ari_id(name)
            is_later = name in [issued.ari_id for issued in self.issued[1:]]
            start, end = self.ari_later if is_later and self.ari_later else self.ari
            window = {"start": date(start), "end": date(end)}
            return said({"suggestedWindow": window}, retry_after=self.ari_retry_after)
        raise Refused("malformed", "nothing that GET could have", 405)

    def post(self, seen: Seen, header: Dict[str, Any]) -> Canned:
        """The answer to a POST with this protected header."""
        is_new = seen.path == "/new-account"
        if ("jwk" in header, "kid" in header) != (is_new, not is_new):
            raise Refused("malformed", "jwk is for a new account only, and kid for all else")
        if is_new:
            return self._new_account(header["jwk"], seen.payload)
        account = self._accounts.get(header["kid"])
        if account is None or account.status != "valid":
            raise Refused("accountDoesNotExist", f"not {header['kid']!r}")
        resource = seen.path.split("/")[1]
        if resource not in self._resources:
            raise Refused("malformed", "no such resource", 404)
        if resource in ("authz", "order", "certificate") and seen.payload != "":
            raise Refused("malformed", "not POST-as-GET")
        if resource in ("new-order", "finalize", "challenge") and not isinstance(seen.payload, dict):
            raise Refused("malformed", "the payload is no object")
        return self._resources[resource](account, seen)

    def _directory(self) -> Canned:
        names = {"newNonce": "new-nonce", "newAccount": "new-account", "newOrder": "new-order",
                 "revokeCert": "revoke-cert", "keyChange": "key-change"}
        table: Dict[str, Any] = {name: f"{self.base}/{path}" for name, path in names.items()}
        if self.ari is not None:
            table["renewalInfo"] = self.base + "/renewal-info"
        table["meta"] = {"externalAccountRequired": self.eab is not None}
        if self.terms:
            table["meta"]["termsOfService"] = self.terms
        return said(table)

    def _check_ari_id(self, name: object) -> None:
        if not self._issuer.could_have(name):
            raise Refused("malformed", f"no certificate by {self._issuer.key_id}: {name!r}", 404)

    # Accounts.

    def _new_account(self, jwk: Dict[str, str], payload: Any) -> Canned:
        with self._lock:
            for account in self._accounts.values():
                if account.thumbprint == thumbprint(jwk):
                    return self._show_account(account, 200)
            if not isinstance(payload, dict) or payload.get("onlyReturnExisting"):
                raise Refused("accountDoesNotExist", "there is none with this key")
            if self.terms and payload.get("termsOfServiceAgreed") is not True:
                raise Refused("malformed", "the terms of service are not agreed to")
            if self.eab is not None:
                self._check_binding(payload.get("externalAccountBinding"), jwk, self.eab)
            url = f"{self.base}/account/{next(self._numbers)}"
            self._accounts[url] = _Account(url, jwk, payload.get("contact", []))
            return self._show_account(self._accounts[url], 201)

    def _check_binding(self, binding: Any, jwk: Dict[str, str], eab: Tuple[str, str]) -> None:
        if not isinstance(binding, dict):
            raise Refused("externalAccountRequired", "there is no externalAccountBinding", 403)
        try:
            header, inner = (json.loads(decode64(binding[name])) for name in ("protected", "payload"))
            data = f"{binding['protected']}.{binding['payload']}".encode()
            good = hmac.new(decode64(eab[1]), data, "sha256").digest() == decode64(binding["signature"])
        except (ValueError, KeyError, TypeError) as fault:
            raise Refused("malformed", f"externalAccountBinding: {fault!r}") from None
        wanted = {"alg": "HS256", "kid": eab[0], "url": self.base + "/new-account"}
        if header != wanted or inner != jwk or not good:
            raise Refused("unauthorized", f"externalAccountBinding: {header}, {inner}, {good}", 403)

    def _show_account(self, account: _Account, status: int = 200) -> Canned:
        body = {"status": account.status, "contact": account.contact, "orders": account.url + "/orders"}
        return said(body, status, account.url)

    def _change_account(self, account: _Account, seen: Seen) -> Canned:
        if self.base + seen.path != account.url:
            raise Refused("unauthorized", "another account", 403)
        changes = seen.payload or {}
        account.contact = changes.get("contact", account.contact)
        account.status = changes.get("status", account.status)
        return self._show_account(account)

    # Orders.

    def _new_order(self, account: _Account, seen: Seen) -> Canned:
        wanted = seen.payload.get("identifiers")
        if not wanted or any(set(each) != {"type", "value"} or each["type"] != "dns" for each in wanted):
            raise Refused("malformed", f"identifiers: {wanted!r}")
        replaces = seen.payload.get("replaces")
        names = [each["value"] for each in wanted]
        with self._lock:
            if replaces is not None:
                self._check_ari_id(replaces)
                if replaces in self._replaced:
                    raise Refused("alreadyReplaced", replaces, 409)
                self._replaced.add(replaces)
            parts = [self._new_authorization(account, name) for name in names]
            order = _Order(next(self._numbers), account, names, parts)
            self._orders[order.number] = order
        return self._show_order(order, 201)

    def _new_authorization(self, account: _Account, name: str) -> _Authorization:
        made = _Authorization(next(self._numbers), account, name)
        for known in self._authorizations.values():
            same = (known.account, known.name, known.is_wildcard) == (account, made.name, made.is_wildcard)
            if self.reuse and same and known.status == "valid":
                return known
        self._authorizations[made.number] = made
        return made

    def _find_order(self, account: _Account, path: str) -> _Order:
        order = self._orders.get(number_of(path))
        if order is None or order.account is not account:
            raise Refused("malformed", "no such order", 404)
        return order

    def _show_order(self, order: _Order, status: int = 200) -> Canned:
        shown = order.shown
        body: Dict[str, Any] = {
            "status": shown,
            "expires": date(self.clock() + 7 * DAY),
            "identifiers": [identifier(name) for name in order.names],
            "authorizations": [f"{self.base}/authz/{each.number}" for each in order.authorizations],
            "finalize": f"{self.base}/finalize/{order.number}",
        }
        if shown == "invalid":
            errors = [order.error, *(each.error for each in order.authorizations)]
            body["error"] = next(error for error in errors if error)
        if shown == "valid":
            body["certificate"] = f"{self.base}/certificate/{order.number}"
        url = f"{self.base}/order/{order.number}" if status == 201 else ""  # no other answer has to tell it
        return said(body, status, url, self.retry_after if shown == "processing" else "")

    def _order(self, account: _Account, seen: Seen) -> Canned:
        order = self._find_order(account, seen.path)
        answer = self._show_order(order)
        order.waiting = max(0, order.waiting - 1)
        return answer

    # Challenges.

    def _find_authorization(self, account: _Account, path: str) -> _Authorization:
        found = self._authorizations.get(number_of(path))
        if found is None or found.account is not account:
            raise Refused("malformed", "no such authorization", 404)
        return found

    def _authorization(self, account: _Account, seen: Seen) -> Canned:
        authorization = self._find_authorization(account, seen.path)
        kinds = ("dns-01",) if authorization.is_wildcard else KINDS
        body: Dict[str, Any] = {
            "status": authorization.shown,
            "expires": date(self.clock() + 7 * DAY),
            "identifier": identifier(authorization.name),
            "challenges": [self._show_challenge(authorization, kind) for kind in kinds],
        }
        if authorization.is_wildcard:
            body["wildcard"] = True
        later = self.retry_after if authorization.waiting else ""
        authorization.waiting = max(0, authorization.waiting - 1)
        return said(body, retry_after=later)

    def _show_challenge(self, authorization: _Authorization, kind: str) -> Dict[str, Any]:
        url = f"{self.base}/challenge/{authorization.number}/{kind}"
        shown = {"type": kind, "url": url, "token": authorization.token, "status": "pending"}
        if kind == authorization.kind:
            shown["status"] = "processing" if authorization.waiting else authorization.status
        if shown["status"] == "invalid":
            return {**shown, "error": authorization.error}
        if shown["status"] == "valid":
            return {**shown, "validated": date(self.clock())}
        return shown

    def _challenge(self, account: _Account, seen: Seen) -> Canned:
        authorization = self._find_authorization(account, seen.path)
        kind = seen.path.rpartition("/")[2]
        if seen.payload != {} or kind not in KINDS or (authorization.is_wildcard and kind != "dns-01"):
            raise Refused("malformed", "no such challenge, or one that is not {}")
        if not authorization.kind and authorization.status == "pending":
            authorization.kind = kind
            authorization.error = self._look(authorization, kind)
            authorization.waiting = self.pending
            authorization.status = "invalid" if authorization.error else "valid"
        answer = said(self._show_challenge(authorization, kind))
        up = f'<{self.base}/authz/{authorization.number}>;rel="up"'
        return answer._replace(headers={**answer.headers, "Link": up})

    def _look(self, authorization: _Authorization, kind: str) -> Optional[Dict[str, Any]]:
        """What is wrong with a challenge; None if it is fulfilled."""
        name, token = authorization.name, authorization.token
        proof = f"{token}.{authorization.account.thumbprint}"
        try:
            if self.validate is None or self.validate(kind, name, token, proof):
                return None
        except OSError as fault:
            return problem_body("connection", f"{kind} for {name}: {fault}", 400)
        return problem_body("unauthorized", f"{kind} for {name} is not fulfilled", 403)

    # Certificates.

    def _finalize(self, account: _Account, seen: Seen) -> Canned:
        order = self._find_order(account, seen.path)
        if order.shown != "ready":
            raise Refused("orderNotReady", f"the order is {order.shown}", 403)
        if self.order_error is not None:
            order.error = dict(self.order_error)
        else:
            order.chain = self._issue(order, seen.payload.get("csr"))
        order.waiting = self.processing
        order.is_finalized = True
        return self._show_order(order)

    def _issue(self, order: _Order, csr: Any) -> str:
        try:
            data = decode64(csr)
        except (ValueError, TypeError) as fault:
            raise Refused("malformed", f"csr: {fault!r}") from None
        try:
            with self._lock:
                made = self._issuer.issue(data, order.names, int(self.clock()), self.lifetime)
        except BadRequest as fault:
            raise Refused("badCSR", str(fault)) from None
        self.issued.append(made)
        return made.chain

    def _certificate(self, account: _Account, seen: Seen) -> Canned:
        order = self._find_order(account, seen.path)
        if order.shown != "valid":
            raise Refused("malformed", "there is no certificate", 404)
        return Canned(200, {"Content-Type": CHAIN}, order.chain.encode())


def number_of(path: str) -> int:
    """The number in a path, -1 if there is none."""
    number = path.split("/")[2:3]
    return int(number[0]) if number and number[0].isdigit() else -1
