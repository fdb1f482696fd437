"""Showing a challenge to the CA, and taking it away again (RFC 8555 8, RFC 8737).

    http-01        its answer goes to the file of state, where the board finds it
    tls-alpn-01    a certificate for it does, which is made first
    dns-01         the hook is told: HOOK present FQDN. VALUE, later HOOK cleanup FQDN. VALUE
"""

from __future__ import annotations

from typing import Callable, Optional, Protocol

from lwsws.acme.state import Shown
from lwsws.acme.store import Store, StoreError
from lwsws.net.openssl import DEFAULT_PATH, Openssl
from lwsws.net.programs import Programs, describe_exit
from lwsws.net.run import Finished, Run
from lwsws.wire.acme import DNS_01, TLS_ALPN_01, Challenge
from lwsws.wire.acme_answer import printable
from lwsws.wire.base64url import b64url
from lwsws.wire.jws import authorization_digest

# A hook waits until the record can be seen by all, which takes minutes with some providers.
HOOK_SECONDS = 600.0
# Of a certificate that nobody but the CA sees.
ALPN_DAYS = 7

PRESENT, CLEANUP = "present", "cleanup"

# Called with why something could not be done, "" if it was.
Then = Callable[[str], None]
Tell = Callable[[str], None]


class Cancellable(Protocol):
    """Something that is under way."""

    def cancel(self) -> None:
        """Let it be, and tell nobody."""


class Exhibit:
    """Shows the challenges of one certificate, one at a time."""

    def __init__(self, store: Store, openssl: Openssl, programs: Programs, tell: Tell) -> None:
        """`tell` is told what people may want to know."""
        self._store = store
        self._openssl = openssl
        self._programs = programs
        self._tell = tell
        self._challenge: Optional[Challenge] = None
        self._running: Optional[Cancellable] = None

    def show(self, challenge: Challenge, then: Then) -> None:
        """Begin to show `challenge`; `then` is called once it can be seen, or not, unless cancelled."""
        self._challenge = challenge
        if challenge.kind == DNS_01:
            # Known to who comes after us, if we do not come to the end.
            reason = self._put_up(Shown(challenge))
            if reason:
                then(reason)
                return
            self._tell(f"running dns-hook {PRESENT} for {challenge.name}")
            self._running = self._hook(PRESENT, challenge, then)
        elif challenge.kind == TLS_ALPN_01:
            self._running = self._openssl.new_key(lambda key, reason: self._certify(key, reason, then))
        else:
            then(self._put_up(Shown(challenge)))

    def hide(self, then: Optional[Callable[[], None]] = None) -> None:
        """Show nothing any more; `then` is called when that is done, which is at once if nothing is shown."""
        if self._running is not None:
            self._running.cancel()
            self._running = None
        challenge, self._challenge = self._challenge, None
        if challenge is not None and challenge.kind == DNS_01:
            self._hook(CLEANUP, challenge, lambda reason: self._cleaned_up(challenge, reason, then))
            return
        if challenge is not None:
            self._put_up(None)
        if then is not None:
            then()

    def take_down(self, shown: Optional[Shown], then: Callable[[], None]) -> None:
        """Take away what somebody has left who was killed, if that is not None; then call `then`, which is at
        once if there is nothing to do.  As with show(), hide() gives up."""
        challenge = None if shown is None else shown.challenge
        if challenge is not None and challenge.kind == DNS_01 and self._store.settings.dns_hook:
            self._running = self._hook(CLEANUP, challenge,
                                       lambda reason: self._cleaned_up(challenge, reason, then))
        else:
            then()

    def _cleaned_up(self, challenge: Optional[Challenge], reason: str,
                    then: Optional[Callable[[], None]]) -> None:
        self._running = None
        if reason:
            self._tell(reason)
        # Somebody else may be at it by now.
        shown = self._store.read_state().shown
        if shown is not None and shown.challenge == challenge:
            self._put_up(None)
        if then is not None:
            then()

    def _put_up(self, shown: Optional[Shown]) -> str:
        try:
            self._store.write_state(self._store.read_state()._replace(shown=shown))
        except StoreError as error:
            return str(error)
        return ""

    def _certify(self, key: Optional[bytes], reason: str, then: Then) -> None:
        """Make a certificate with the new `key` that shows the challenge."""
        challenge = self._challenge
        if key is None or challenge is None:
            then(reason)
            return
        pem = key

        def made(certificate: Optional[bytes], reason: str) -> None:
            if certificate is not None and challenge is not None:
                reason = self._put_up(Shown(challenge, (certificate + pem).decode("ascii")))
            then(reason)

        digest = authorization_digest(challenge.authorization)
        self._running = self._openssl.self_signed(pem, (challenge.name,), ALPN_DAYS, made, digest)

    def _hook(self, verb: str, challenge: Challenge, then: Then) -> Run:
        """Tell the hook."""
        hook = self._store.settings.dns_hook
        value = b64url(authorization_digest(challenge.authorization))
        name = f"_acme-challenge.{challenge.name}."

        def done(finished: Optional[Finished], reason: str) -> None:
            if finished is not None and finished.returncode:
                said = printable(finished.stderr.decode("utf-8", "replace"))
                reason = f"dns-hook {verb} {describe_exit(finished.returncode)}: {said or 'it says nothing'}"
            then(reason)

        environment = {b"PATH": DEFAULT_PATH.encode("ascii"), b"LC_ALL": b"C", b"HOME": b"/",
                       b"CERTBOT_DOMAIN": challenge.name.encode("ascii"),
                       b"CERTBOT_VALIDATION": value.encode("ascii")}
        return Run(self._programs, (hook, verb, name, value), done, label=f"dns-hook {hook}",
                   seconds=HOOK_SECONDS, environment=environment)
