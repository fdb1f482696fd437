"""Does what the steps of wire/acme.py want done, one after the other, without ever waiting for it.

A Conversation owns one generator of steps: it starts what that yields, sends it the outcome, and tells `done`
once of the result.  Whatever is under way when it is cancelled is given up, and a challenge that is shown is
taken away in any case.
"""

from __future__ import annotations

from typing import Any, Callable, Generic, NamedTuple, Optional, TypeVar

from lwsws.acme.exhibit import Cancellable, Exhibit
from lwsws.net.fetch import Fetcher, Reply
from lwsws.net.openssl import Openssl
from lwsws.net.reactor import Reactor
from lwsws.wire.acme import Action, Fetch, Hide, MakeRequest, Say, Show, Sign, Steps, Wait
from lwsws.wire.acme_answer import AcmeError, Answer, Unreachable

T = TypeVar("T")


class Means(NamedTuple):
    """What it is done with: `account_key` in PEM, `say` writes a line to the log."""

    reactor: Reactor
    fetcher: Fetcher
    openssl: Openssl
    exhibit: Exhibit
    account_key: bytes
    say: Callable[[str], None]


class Conversation(Generic[T]):
    """One run of `steps`.  Calls `done(result, None)` or `done(None, error)`, never from within the
    constructor, nor after cancel()."""

    def __init__(self, steps: Steps[T], means: Means,
                 done: Callable[[Optional[T], Optional[AcmeError]], None]) -> None:
        self.site_key = b""     # in PEM, of the last certificate that was asked for
        self._steps = steps
        self._means = means
        self._done: Optional[Callable[[Optional[T], Optional[AcmeError]], None]] = done
        self._running: Optional[Cancellable] = means.reactor.call_later(0, lambda: self._go_on(None, None))

    def cancel(self) -> None:
        """Give up, and tell nobody.  No effect when it is over."""
        self._done = None
        if self._running is not None:
            self._running.cancel()
            self._running = None
        self._steps.close()
        self._means.exhibit.hide()

    def _go_on(self, value: Any, error: Optional[AcmeError]) -> None:
        """Tell the steps of the outcome, and start the next that takes time."""
        self._running = None
        try:
            while self._done is not None:
                action = self._steps.send(value) if error is None else self._steps.throw(error)
                value = error = None
                if not isinstance(action, Say):
                    self._begin(action)
                    return
                self._means.say(action.text)
        except StopIteration as end:
            self._finish(end.value, None)
        except AcmeError as fault:
            self._finish(None, fault)

    def _finish(self, result: Optional[T], error: Optional[AcmeError]) -> None:
        self._means.exhibit.hide(lambda: self._tell(result, error))

    def _tell(self, result: Optional[T], error: Optional[AcmeError]) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result, error)

    def _begin(self, action: Action) -> None:
        try:
            self._start(action)
        except ValueError as error:     # a name or a key that openssl is not asked with
            self._shown(str(error))

    def _start(self, action: Action) -> None:
        means = self._means
        if isinstance(action, Fetch):
            self._running = means.fetcher.fetch(action.method, action.url, action.body, action.content_type,
                                                self._fetched)
        elif isinstance(action, Sign):
            self._running = means.openssl.sign(means.account_key, action.data, self._made)
        elif isinstance(action, MakeRequest):
            names = action.names
            self._running = means.openssl.new_key(lambda key, why: self._request(key, why, names))
        elif isinstance(action, Wait):
            self._running = means.reactor.call_later(action.seconds, lambda: self._go_on(None, None))
        elif isinstance(action, Show):
            means.exhibit.show(action.challenge, self._shown)
        elif isinstance(action, Hide):
            means.exhibit.hide(lambda: self._shown(""))

    def _fetched(self, reply: Optional[Reply], reason: str) -> None:
        if reply is None:
            self._go_on(None, Unreachable(reason))
        else:
            self._go_on(Answer(reply.status, reply.headers, reply.body), None)

    def _made(self, output: Optional[bytes], reason: str) -> None:
        self._go_on(output, None if output is not None else AcmeError(reason))

    def _request(self, key: Optional[bytes], reason: str, names: Any) -> None:
        if key is None:
            self._made(None, reason)
            return
        self.site_key = key
        try:
            self._running = self._means.openssl.request(key, names, self._made)
        except ValueError as error:
            self._go_on(None, AcmeError(str(error)))

    def _shown(self, reason: str) -> None:
        """It is shown, or not any more; or `reason` says why not."""
        self._means.reactor.call_soon(lambda: self._go_on(None, AcmeError(reason) if reason else None))
