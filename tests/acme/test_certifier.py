"""The certifier over months, which take no time: when it orders, when it asks, when it lets the CA be."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from lwsws import log
from lwsws.acme.settings import DAY, HOUR
from lwsws.wire.acme import CHALLENGES, HTTP_01
from tests.acme.certifying import NAMES, NEW_ORDER, World
from tests.support.certificates import make_ca
from tests.support.false_ca_answers import problem, rate_limited, server_internal

MINUTE = 60.0
DIRECTORY = ("GET", "/dir")
RENEWAL_INFO = ("GET", "/renewal-info")
# Hours from one try to the next, and how much longer each may be.
DELAYS = (1, 2, 4, 8, 16, 24, 24)
JITTER = 1.1


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A CA without ARI."""
    with World(tmp_path) as world:
        yield world


def refuse(world: World, count: int = 100) -> None:
    """Have so many orders fail."""
    world.ca.answers[NEW_ORDER] = [problem("rejectedIdentifier", 403)] * count


# The first one.


@pytest.mark.parametrize("challenge", CHALLENGES)
def test_the_first_certificate(world: World, tmp_path: Path, challenge: str) -> None:
    """Until it comes there is a placeholder; then it is in its files, and served."""
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\necho "$1 $2" >> {tmp_path}/calls\n')
    hook.chmod(0o755)
    process = world.start(challenge=challenge, dns_hook=str(hook) if challenge == "dns-01" else None)
    assert process.served() is None
    world.until(process.served, "a placeholder")
    world.settle()
    assert world.orders() == 1 and world.ca.refusals == []
    issued = world.ca.issued[0]
    assert process.served() is not None and process.serves(issued.chain) and process.changes == 1
    assert Path(process.store.settings.cert_path).read_text() == issued.chain
    assert process.store.read_pair().certificate == b""
    state = process.state
    assert (state.failures, state.error, state.shown, state.renewed) == (0, "", None, world.wall())
    assert world.errors() == []
    world.look()
    assert world.orders() == 1
    if challenge == "dns-01":
        assert (tmp_path / "calls").read_text().split("\n") == [
            f"{verb} _acme-challenge.{name}." for name in NAMES for verb in ("present", "cleanup")] + [""]


def test_nothing_is_said_where_nothing_has_changed(world: World) -> None:
    """In the first minutes after a start, be there a certificate or not."""
    refuse(world)
    process = world.start()
    world.settle()
    assert len(world.lines(log.ERR)) == 1
    for _ in range(2):
        world.skip(61)      # the files are looked at once a minute
        world.settle()
    assert len(world.lines(log.ERR)) == 1, world.text()
    process.close()
    world.ca.answers.clear()
    world.wall.advance(2 * HOUR)
    process = world.first()
    process.close()
    process = world.start()
    said = len(world.lines(log.NOTICE))
    for _ in range(2):
        world.skip(61)
        world.settle()
    assert len(world.lines(log.NOTICE)) == said, world.text()


# Renewing.


@pytest.mark.parametrize("lifetime", [90, 6])
def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left(tmp_path: Path, lifetime: int) -> None:
    """A little earlier than that, at a time of its own; again and again."""
    with World(tmp_path, lifetime=lifetime) as world:
        process = world.first()
        for count in (1, 2, 3):
            begin, at = process.held().certificate.not_before, process.usual_time()
            assert lifetime * (2 / 3 - 1 / 30) <= (at - begin) / DAY <= lifetime * 2 / 3
            world.at(at - 10 * MINUTE)
            assert world.orders() == count
            world.at(at + 1)
            assert world.orders() == count + 1 and process.changes == count + 1
            assert process.serves(world.ca.issued[-1].chain)
        assert world.ca.replaced() == [None] * 4    # the CA has no ARI
        assert world.errors() == []


def test_renew_before(world: World) -> None:
    process = world.first(renew_before="10d")
    begin = process.held().certificate.not_before
    world.at(begin + (90 - 10 - 3) * DAY - 1)
    assert world.orders() == 1
    world.at(begin + (90 - 10) * DAY)
    assert world.orders() == 2


def test_a_system_that_was_off_for_long(world: World) -> None:
    """The certificate has ended meanwhile."""
    process = world.first()
    process.close()
    world.wall.advance(400 * DAY)
    again = world.start()
    world.look()
    assert world.orders() == 2 and again.serves(world.ca.issued[1].chain)
    assert any("it has ended" in line for line in world.lines(log.NOTICE, "asking"))


# When the CA wants it (RFC 9773).


def with_ari(tmp_path: Path, begin: float, end: float) -> World:
    """A CA that wants certificates renewed so many days from now."""
    world = World(tmp_path)
    world.ca.ari = world.wall() + begin * DAY, world.wall() + end * DAY
    return world


def test_the_window_of_the_ca(tmp_path: Path) -> None:
    """Long before the usual time; the order says what it replaces, so the CA can let it pass its limits."""
    with with_ari(tmp_path, 3, 4) as world:
        process = world.first()
        state = process.state
        assert (state.window_start, state.window_end) == world.ca.ari
        first = world.ca.issued[0].ari_id
        assert state.window_of == first
        for _ in range(11):
            world.hours(6.5)
        assert world.orders() == 1 and len(world.ca.of(*RENEWAL_INFO)) == 12
        world.at(state.window_start - MINUTE)
        assert world.orders() == 1
        world.ca.ari_later = state.window_end + 60 * DAY, state.window_end + 61 * DAY
        world.at(state.window_end)
        assert world.ca.replaced() == [None, first]
        assert process.state.window_of == world.ca.issued[1].ari_id
        assert process.state.window_start == world.ca.ari_later[0]
        assert world.ca.refusals == [] and world.errors() == []


def test_the_window_moves(tmp_path: Path) -> None:
    """As when certificates are to be revoked: the CA is asked again when it says, and renewing is at once."""
    with with_ari(tmp_path, 50, 51) as world:
        world.ca.ari_retry_after = str(int(5 * HOUR))
        world.first()
        world.days(2)
        asked = len(world.ca.of(*RENEWAL_INFO))
        begin = world.wall()
        world.ca.ari = begin + 1, begin + 2
        world.at(begin + 5 * HOUR - MINUTE)
        assert (world.orders(), len(world.ca.of(*RENEWAL_INFO))) == (1, asked)
        world.wall.advance(MINUTE)
        world.look(2)
        assert world.orders() == 2 and world.ca.replaced()[1] == world.ca.issued[0].ari_id


def test_ari_that_fails(tmp_path: Path) -> None:
    """It is renewed at the usual time, and the order says no less what it replaces."""
    with with_ari(tmp_path, 3, 4) as world:
        world.ca.answers[RENEWAL_INFO] = [server_internal()] * 1000
        process = world.first()
        at = process.usual_time()
        world.at(at - HOUR)
        assert world.orders() == 1 and process.state.failures == 0 and world.errors() == []
        world.at(at)
        assert world.ca.replaced() == [None, world.ca.issued[0].ari_id]


def test_a_window_that_makes_no_sense(tmp_path: Path) -> None:
    """Its end before its begin: as if the CA had said nothing."""
    with with_ari(tmp_path, 4, 3) as world:
        process = world.first()
        world.days(5)
        assert world.orders() == 1
        world.at(process.usual_time())
        assert world.orders() == 2


def test_a_ca_that_wants_each_certificate_renewed_at_once(tmp_path: Path) -> None:
    """By a fault of its own: it does not get an order every few seconds."""
    with with_ari(tmp_path, -2, -1) as world:
        world.first()
        for _ in range(5):
            world.hours(0.1)
        assert world.orders() <= 2


# After failures.


def test_the_time_between_tries_grows(world: World) -> None:
    """An hour, two, up to a day, while the CA hears nothing of us; success makes all as it was."""
    refuse(world)
    process = world.start()
    world.settle()
    for count, hours in enumerate(DELAYS, 1):
        assert world.orders() == count and process.state.failures == count
        asked, begin = len(world.ca.requests), process.state.tried
        delay = (process.state.next_try - begin) / HOUR
        assert hours <= delay <= hours * JITTER
        for part in (0.5, 0.99):
            world.at(begin + part * hours * HOUR)
            assert len(world.ca.requests) == asked
        world.at(begin + hours * JITTER * HOUR)
    assert len(world.errors()) == len(DELAYS) + 1
    assert "(8 times now)" in world.errors()[-1] and "rejectedIdentifier" in world.errors()[-1]
    del world.ca.answers[NEW_ORDER]
    world.days(1.1)
    assert process.state.failures == 0 and process.serves(world.ca.issued[0].chain)
    # The first failure after a success counts as the first.
    refuse(world, 1)
    world.at(process.usual_time())
    assert process.state.failures == 1
    assert process.state.next_try <= world.wall() + JITTER * HOUR
    assert process.serves(world.ca.issued[0].chain)


def test_a_ca_that_asks_to_be_left_alone(world: World) -> None:
    """For longer than the next try would be away."""
    world.ca.answers[NEW_ORDER] = [rate_limited(str(int(2 * DAY)))]
    process = world.start()
    world.settle()
    begin = world.wall()
    assert process.state.next_try == begin + 2 * DAY and process.state.failures == 1
    assert "rateLimited" in world.errors()[0]
    asked = len(world.ca.requests)
    for hours in (1, 24, 47.9):
        world.at(begin + hours * HOUR)
        assert len(world.ca.requests) == asked
    world.at(begin + 2 * DAY)
    assert process.state.failures == 0 and len(world.ca.issued) == 1


def test_a_ca_that_is_down(world: World) -> None:
    """It is tried a few times, then again in an hour; one that is back in between is not a failure."""
    world.ca.answers[DIRECTORY] = [server_internal()] * 4
    process = world.start()
    world.settle()
    assert process.state.failures == 1 and len(world.ca.of(*DIRECTORY)) == 4
    assert len(world.lines(log.NOTICE, "trying again in")) == 3 and len(world.errors()) == 1
    world.ca.answers[DIRECTORY] = [server_internal()] * 3
    world.hours(JITTER)
    assert process.state.failures == 0 and world.orders() == 1 and len(world.errors()) == 1


def test_a_restart_is_no_reason_to_try_again(world: World) -> None:
    refuse(world)
    process = world.start()
    world.settle()
    asked, state = len(world.ca.requests), process.state
    for _ in range(3):
        process.close()
        process = world.start()
        world.look()
        assert len(world.ca.requests) == asked
    assert process.state == state
    world.at(state.next_try)
    assert world.orders() == 2 and process.state.failures == 2


@pytest.mark.parametrize("change", ["alt_names", "email", "challenge"])
def test_other_settings_are_tried_at_once(world: World, change: str) -> None:
    """What failed with the old ones may do; and they begin to count anew."""
    refuse(world, 2)
    process = world.start()
    world.settle()
    process.close()
    value = {"alt_names": "c.test", "email": "another@a.test", "challenge": "tls-alpn-01"}[change]
    process = world.start(**{change: value})
    world.settle()
    assert world.orders() == 2 and process.state.failures == 1
    process.close()
    process = world.start()
    world.settle()
    assert world.orders() == 3 and process.serves(world.ca.issued[0].chain)


def test_renew_now(world: World) -> None:
    """What an administrator wants is done at once, in spite of what failed, and once."""
    refuse(world, 2)
    process = world.start()
    world.settle()
    process.store.write_state(process.state._replace(renew_now=True))
    world.look()
    state = process.state
    assert world.orders() == 2 and not state.renew_now and state.failures == 2
    process.store.write_state(state._replace(renew_now=True))
    world.look()
    assert world.orders() == 3 and process.serves(world.ca.issued[0].chain)
    process.store.write_state(process.state._replace(renew_now=True))
    world.wall.advance(MINUTE)
    world.look()
    assert world.orders() == 4 and process.serves(world.ca.issued[1].chain)
    assert not process.state.renew_now


# Certificates that are not what is wanted.


def test_a_certificate_for_other_names(world: World) -> None:
    """Of the administrator, or of settings of before: it is served until there is one for all names."""
    process = world.first()
    process.close()
    process = world.start(alt_names=["b.test", "c.test"])
    assert process.serves(world.ca.issued[0].chain)
    world.wall.advance(MINUTE)
    world.look()
    assert world.orders() == 2 and process.serves(world.ca.issued[1].chain)
    assert world.ca.issued[1].names == ("a.test", "b.test", "c.test")
    assert any("not for c.test" in line for line in world.lines(log.NOTICE, "asking"))


def test_fewer_names(world: World) -> None:
    """A certificate for more than is wanted does."""
    world.first().close()
    world.start(alt_names=None)
    world.look()
    assert world.orders() == 1


def test_another_directory(world: World) -> None:
    """As from staging to production: the certificate of the other one is replaced at once."""
    process = world.first()
    process.close()
    path = process.store.settings.directory_url
    world.wall.advance(MINUTE)
    process = world.start(directory_url=path.replace("127.0.0.1", "localhost"))
    world.look()
    assert world.orders() == 2 and process.serves(world.ca.issued[1].chain)


def test_a_certificate_of_an_administrator(world: World, tmp_path: Path) -> None:
    """It is renewed in its time; the CA, which does not know it, is not told what is replaced."""
    world.put(world.make("own", 50 * DAY, make_ca(tmp_path, "own-ca")))
    world.ca.ari = world.wall() + 60 * DAY, world.wall() + 61 * DAY
    process = world.start()
    world.look()
    assert world.orders() == 0
    at = process.usual_time()
    world.at(at - MINUTE)
    assert world.orders() == 0
    world.at(at)
    assert [replaces is None for replaces in world.ca.replaced()] == [False, True]
    assert process.serves(world.ca.issued[0].chain)
    assert process.store.settings.challenge == HTTP_01
