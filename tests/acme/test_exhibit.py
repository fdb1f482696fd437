"""Challenges by dns-01 in the file of state: who comes after one that was killed knows what it has left."""

from __future__ import annotations

from pathlib import Path
from typing import List

import pytest

from lwsws.acme.board import Board
from lwsws.acme.exhibit import HOOK_SECONDS, Exhibit
from lwsws.acme.settings import STATE
from lwsws.acme.state import Shown, State
from lwsws.wire.acme import DNS_01, HTTP_01, TLS_ALPN_01
from tests.acme.support import NAME, challenge, shown
from tests.acme.talking import Hook, Talk
from tests.support.docroot import open_fds

UP = shown(DNS_01)


class Bench:
    """An exhibit over a hook, and what is told of what it does."""

    def __init__(self, talk: Talk, hook: Hook) -> None:
        self.talk = talk
        self.hook = hook
        self.told: List[str] = []
        self.exhibit = self.another()

    def another(self) -> Exhibit:
        """One more, as another process has it."""
        return Exhibit(self.talk.store, self.talk.openssl, self.talk.programs, self.talk.tell)

    @property
    def up(self) -> object:
        """The challenge in the state."""
        return self.talk.store.read_state().shown

    def show(self) -> None:
        """Begin to show it."""
        self.exhibit.show(UP.challenge, lambda reason: self.told.append(f"shown {reason}"))

    def hide(self) -> None:
        """Begin to take it away."""
        self.exhibit.hide(lambda: self.told.append("hidden"))

    def take_down(self, what: object) -> None:
        """Begin to take away what somebody else has left."""
        assert what is None or isinstance(what, Shown)
        self.exhibit.take_down(what, lambda: self.told.append("down"))

    def wait(self, count: int) -> None:
        """Until so much was told."""
        self.talk.spin_until(lambda: len(self.told) >= count)

    def wait_said(self, count: int) -> None:
        """Until the hook has been called so often."""
        self.talk.spin_until(lambda: len(self.hook.said) >= count)

    def verbs(self) -> List[str]:
        """What the hook was told, in short."""
        return [line.split()[0] for line in self.hook.said]

    def gate(self, verb: str) -> None:
        """Let the hook wait, with `verb`, for open()."""
        self.hook.write(**{verb: f"while [ ! -e {self.hook.path.parent}/gate ]; do sleep 0.01; done"})

    def open(self) -> None:
        """Let it go on."""
        (self.hook.path.parent / "gate").touch()


@pytest.fixture
def bench(dns_talk: Talk, hook: Hook) -> Bench:
    """One with a hook."""
    return Bench(dns_talk, hook)


# While it is shown.


def test_known_before_the_hook_is_called(bench: Bench) -> None:
    """Whoever is killed while it runs has left something, perhaps."""
    bench.talk.store.write_state(State(mark="m", failures=2))
    known, found = (Path(bench.talk.store.settings.cert_path + STATE), bench.hook.path.parent / "found")
    bench.hook.write(present=f"cp {known} {found}")
    bench.show()
    bench.wait(1)
    assert (bench.told, bench.verbs()) == (["shown "], ["present"])
    assert found.read_bytes() == known.read_bytes()
    assert bench.talk.store.read_state() == State(mark="m", failures=2, shown=UP)
    bench.hide()
    bench.wait(2)
    assert bench.talk.store.read_state() == State(mark="m", failures=2)


def test_known_until_the_hook_has_cleaned_up(bench: Bench) -> None:
    bench.show()
    bench.wait(1)
    bench.gate("cleanup")
    bench.hide()
    bench.wait_said(2)
    assert (bench.told, bench.up) == (["shown "], UP)
    bench.open()
    bench.wait(2)
    assert (bench.told, bench.up) == (["shown ", "hidden"], None)


def test_known_until_then_though_nobody_waits_for_it(bench: Bench) -> None:
    """As when the process ends."""
    bench.show()
    bench.wait(1)
    bench.gate("cleanup")
    bench.exhibit.hide()
    bench.wait_said(2)
    assert bench.up == UP
    bench.open()
    bench.talk.spin_until(lambda: bench.up is None)
    assert bench.told == ["shown "]
    assert bench.verbs() == ["present", "cleanup"]


def test_it_stays_known_if_the_hook_is_killed(bench: Bench) -> None:
    """With all programs, at the end of the process: nobody hears of it any more."""
    bench.show()
    bench.wait(1)
    before = open_fds()
    bench.gate("cleanup")
    bench.hide()
    bench.wait_said(2)
    bench.talk.programs.close()
    assert (bench.told, bench.up) == (["shown "], UP)
    # What the hook had started in turn may end a little later: its outputs are open until then.
    bench.talk.spin_until(lambda: open_fds() == before)


def test_a_cleanup_that_fails_is_not_tried_for_ever(bench: Bench) -> None:
    bench.show()
    bench.wait(1)
    bench.hook.write(cleanup="exit 4")
    bench.hide()
    bench.wait(2)
    assert bench.talk.warned == ["dns-hook cleanup exited with status 4: it says nothing"]
    assert bench.up is None


def test_no_process_answers_by_it(bench: Bench) -> None:
    """It is for a name server to show."""
    bench.talk.store.write_state(State(shown=UP))
    board = Board([bench.talk.store])
    assert board.authorization("token_-1") == ""
    assert board.context(NAME) is None


# What somebody else has left.


def test_what_was_left_is_taken_away(bench: Bench) -> None:
    left = shown(DNS_01, "b.test", "older")
    bench.talk.store.write_state(State(mark="m", shown=left))
    bench.gate("cleanup")
    bench.take_down(left)
    bench.wait_said(1)
    assert (bench.told, bench.up) == ([], left)     # if it is killed as well, the next one does it
    bench.open()
    bench.wait(1)
    (line,) = bench.hook.said
    assert line.split()[:2] + line.split()[3:4] == ["cleanup", "_acme-challenge.b.test.", "b.test"]
    assert bench.talk.store.read_state() == State(mark="m")
    assert bench.told == ["down"]


def test_what_cannot_be_taken_away_holds_nothing_up(bench: Bench) -> None:
    bench.talk.store.write_state(State(shown=UP))
    bench.hook.write(cleanup="echo no >&2; exit 1")
    bench.take_down(UP)
    bench.wait(1)
    assert bench.talk.warned == ["dns-hook cleanup exited with status 1: no"]
    assert bench.up is None
    bench.hook.path.unlink()
    bench.take_down(UP)
    bench.wait(2)
    assert "cannot be started" in bench.talk.warned[1]


def test_one_that_hangs_holds_nothing_up_for_ever(bench: Bench) -> None:
    bench.hook.write(cleanup="exec sleep 1000")
    bench.take_down(UP)
    bench.wait_said(1)
    bench.talk.clock.advance(HOOK_SECONDS - 1)
    bench.talk.settle()
    assert bench.told == []
    bench.talk.clock.advance(1)
    bench.wait(1)
    assert bench.talk.warned == [f"dns-hook {bench.hook.path} did not end within 600 s"]
    bench.talk.reap()


def test_given_up_meanwhile(bench: Bench) -> None:
    bench.hook.write(cleanup="exec sleep 1000")
    bench.take_down(UP)
    bench.wait_said(1)
    bench.exhibit.hide()
    bench.talk.reap()
    bench.talk.settle()
    assert bench.told == []


@pytest.mark.parametrize("what", [None, shown(HTTP_01), shown(TLS_ALPN_01, pem="x")])
def test_nothing_to_take_away(bench: Bench, what: object) -> None:
    bench.take_down(what)
    assert bench.told == ["down"]
    assert bench.talk.programs.started == 0


def test_the_hook_is_not_wanted_any_more(talk: Talk, hook: Hook) -> None:
    """The settings are those of today."""
    bench = Bench(talk, hook)
    bench.take_down(UP)
    assert bench.told == ["down"]
    assert talk.programs.started == 0


def test_shown_after_what_was_left_is_gone(bench: Bench) -> None:
    """Both may be the same record: it must not be taken away again."""
    bench.talk.store.write_state(State(shown=UP))
    bench.take_down(UP)
    bench.wait(1)
    bench.show()
    bench.wait(2)
    assert bench.verbs() == ["cleanup", "present"]
    assert bench.up == Shown(challenge(DNS_01))
    bench.hide()
    bench.wait(3)
