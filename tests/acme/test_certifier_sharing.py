"""Several certifiers over the same files, as with several processes or at a reload; and how each ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator, Tuple

import pytest

from lwsws import log
from lwsws.acme.settings import DAY, HOUR
from lwsws.acme.store import Store
from tests.acme.certifying import NEW_ORDER, Options, Process, World
from tests.support.false_ca_answers import Answer, never, problem, server_internal
from tests.support.procfs import children

MINUTE = 60.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A CA without ARI."""
    with World(tmp_path) as world:
        yield world


# One orders, all have it.


def test_two_processes(world: World) -> None:
    """Only one orders, the first time and each time."""
    both = [world.start(), world.start()]
    for count in (1, 2, 3):
        world.settle()
        world.look()
        assert world.orders() == count and len(world.ca.of("POST", "/new-account")) == count
        assert [process.changes for process in both] == [count, count]
        assert all(process.serves(world.ca.issued[-1].chain) for process in both)
        world.wall.time = both[0].usual_time()
        world.look(1)
    assert world.errors() == [] and world.ca.refusals == []


def test_two_processes_and_a_failure(world: World) -> None:
    """What one was told holds for the other."""
    world.ca.answers[NEW_ORDER] = [problem("rejectedIdentifier", 403)] * 2
    both = [world.start(), world.start()]
    world.settle()
    world.look(5)
    assert world.orders() == 1 and both[0].state == both[1].state and both[0].state.failures == 1
    world.at(both[0].state.next_try)
    assert world.orders() == 2 and len(world.errors()) == 2


def test_two_processes_that_may_not_replace_the_files(world: World) -> None:
    """They have given up their rights: the new certificate waits, both serve it, and the next start puts it
    in its place."""
    world.keep_waiting()
    both = [world.start(), world.start()]
    world.settle()
    world.look()
    chain = world.ca.issued[0].chain
    assert world.orders() == 1 and all(process.serves(chain) for process in both)
    settings = both[0].store.settings
    assert not os.path.exists(settings.cert_path) and both[0].store.read_pair().certificate == chain.encode()
    assert "until the next start" in world.lines(log.NOTICE, "there is a new certificate")[0]
    for process in both:
        process.close()
    for path in (settings.key_path, settings.cert_path):
        os.rmdir(path + ".new")
    process = world.start()
    assert world.lines(log.NOTICE, "is in its place now") and process.serves(chain)
    assert Path(settings.cert_path).read_text() == chain and process.store.read_pair().certificate == b""
    world.look()
    assert world.orders() == 1


def test_an_administrator_who_is_faster(world: World) -> None:
    """While a certificate waits, he puts a newer one in its place: that is served, renewed in its time, and
    stays where it is."""
    world.keep_waiting()
    process = world.first()
    world.wall.advance(DAY)
    own = world.make("own", ca=world.ca.issuer)
    world.put(own)
    world.skip(61)      # it is looked for once a minute
    world.settle()
    assert process.serves(own.cert.read_text())
    world.hours(1.1)
    assert process.held().certificate.not_before == int(world.wall() - 1.1 * HOUR)
    world.at(process.usual_time() - MINUTE)
    assert world.orders() == 1
    process.close()
    again = world.start()
    assert again.serves(own.cert.read_text()), world.text()
    world.at(again.usual_time())
    assert world.orders() == 2 and again.serves(world.ca.issued[1].chain)


def test_somebody_else_holds_the_lock(world: World) -> None:
    """Such as a process that hangs: wait for as long as it takes."""
    other = Store(world.settings())
    assert other.lock()
    process = world.start()
    world.look(5)
    world.hours(5)
    assert world.ca.requests == [] and process.state.failures == 0 and not process.certifier.busy
    assert world.errors() == [] and process.served() is not None
    other.unlock()
    world.look(1)
    assert process.serves(world.ca.issued[0].chain)
    # Between orders it is free.
    assert other.lock()
    other.close()


@pytest.mark.parametrize("is_one_process", [True, False])
def test_two_certificates_of_one_account(world: World, is_one_process: bool) -> None:
    """Never two orders at a time; neither waits for the other for ever."""
    other: Options = {"common_name": "c.test", "alt_names": None, "cert_path": f"{world.home}/c.pem",
                      "key_path": f"{world.home}/c.key"}
    if is_one_process:
        world.add({}, other)
    else:
        world.add({})
        world.add(other)
    world.settle()
    world.look()
    assert sorted(issued.names for issued in world.ca.issued) == [("a.test", "b.test"), ("c.test",)]
    assert len({str(seen.protected and seen.protected["kid"]) for seen in world.ca.of(*NEW_ORDER)}) == 1
    firsts = [number for number, seen in enumerate(world.ca.requests) if seen.path == "/dir"]
    last = [number for number, seen in enumerate(world.ca.requests) if seen.path.startswith("/certificate")]
    assert firsts[0] < last[0] < firsts[1] < last[-1]


# The end.


def test_a_reload_while_an_order_is_under_way(world: World) -> None:
    """Who has begun goes on to the end, and begins nothing more; who takes over finds what comes."""
    world.ca.pending = 2
    old = world.start()
    world.until(lambda: old.state.shown, "a challenge")
    new = world.start()
    old.watch.close()
    old.certifier.wind_down()
    assert old.certifier.busy
    world.hurry(lambda: not old.certifier.busy, "the end of the order")
    world.look()
    assert world.orders() == 1 and new.changes == 1 and new.serves(world.ca.issued[0].chain)
    old.close()
    # Without the new one, nobody would renew it.
    new.certifier.wind_down()
    asked = len(world.ca.requests)
    world.days(89)
    assert len(world.ca.requests) == asked and not new.certifier.busy


def hook(folder: Path, text: str) -> str:
    """A script that notes what it is asked for, and does `text`."""
    path = folder / "hook"
    path.write_text(f'#!/bin/sh\necho "$1 $3" >> {folder}/calls\n{text}\n')
    path.chmod(0o755)
    return str(path)


def calls(folder: Path) -> str:
    """What the hook was asked for."""
    path = folder / "calls"
    return path.read_text() if path.exists() else ""


def close_and_go_on(world: World, process: Process) -> None:
    """Close `process` in the midst of what it does; the next one does it."""
    assert process.certifier.busy, world.text()
    wanted = process.store.settings
    options: Options = {"challenge": wanted.challenge, "dns_hook": wanted.dns_hook or None}
    process.close()
    world.nothing_left()
    assert len(world.lines(log.NOTICE, "given up")) == 1 and world.errors() == []
    world.ca.answers.clear()
    world.ca.pending = world.ca.processing = 0
    again = world.start(**options)
    world.settle()
    world.look()
    assert again.state.failures == 0 and again.serves(world.ca.issued[-1].chain)


PLACES = [("GET", "/dir"), ("HEAD", "/new-nonce"), ("POST", "/new-account"), NEW_ORDER, ("POST", "/authz"),
          ("POST", "/challenge"), ("POST", "/finalize"), ("POST", "/certificate")]


@pytest.mark.parametrize("method, resource, answer", [
    *((*place, never()) for place in PLACES),
    *((*place, server_internal()) for place in (PLACES[0], PLACES[-1]))])
def test_closing_while_the_ca_is_asked(world: World, method: str, resource: str, answer: Answer) -> None:
    """Or waited for, before it is asked again."""
    world.ca.answers[method, resource] = [answer] * 4
    process = world.start()
    world.until(lambda: world.ca.of(method, resource), resource)
    if answer != never() and method != "HEAD":
        world.until(lambda: world.lines(log.NOTICE, "trying again"), "the pause")
    close_and_go_on(world, process)


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_closing_while_a_challenge_is_up(world: World, challenge: str) -> None:
    world.ca.pending = 1000
    process = world.start(challenge=challenge)
    world.until(lambda: world.ca.of("POST", "/challenge"), "a challenge")
    assert process.state.shown is not None
    close_and_go_on(world, process)


def test_closing_while_the_ca_signs(world: World) -> None:
    world.ca.processing = 1000
    process = world.start()
    world.until(lambda: world.ca.of("POST", "/order")[1:], "the wait")
    close_and_go_on(world, process)


def test_closing_at_once(world: World) -> None:
    process = world.start()
    world.until(lambda: process.certifier.busy, "the first step")
    close_and_go_on(world, process)


@pytest.mark.parametrize("count", range(1, 8))
def test_closing_while_a_program_runs(world: World, count: int) -> None:
    """The keys, the signatures, the request."""
    process = world.start()
    programs = process.context.programs
    world.until(lambda: programs.started >= count and programs.alive, "a program")
    close_and_go_on(world, process)


@pytest.mark.parametrize("verb", ["present", "cleanup"])
def test_closing_while_a_hook_runs(world: World, tmp_path: Path, verb: str) -> None:
    """It is ended with all that it has started.  What stands in the DNS, or may, is taken away in any case,
    if not now then by who comes next, and that before anything else is put there."""
    path = hook(tmp_path, f"[ $1 != {verb} ] || [ -e {tmp_path}/go-on ] || sleep 1000\n"
                          f"[ $1 = present ] || sleep 0.2\necho $1 $3 >> {tmp_path}/done")
    process = world.start(challenge="dns-01", dns_hook=path)
    world.until(lambda: verb in calls(tmp_path), "the hook")
    first = calls(tmp_path).split()[1]
    process.close()
    assert children(os.getpid()) == [] and world.links() == 0
    (tmp_path / "go-on").touch()
    process = world.start(challenge="dns-01", dns_hook=path)
    world.settle()
    world.look()
    assert process.serves(world.ca.issued[0].chain) and process.state.shown is None
    done = (tmp_path / "done").read_text().splitlines()
    assert f"cleanup {first}" in done
    presented = [line for line in done if line.startswith("present") and first not in line]
    assert len(presented) == 2 and done.index(f"cleanup {first}") < done.index(presented[0])
    assert {line.split()[1] for line in presented} <= {line.split()[1] for line in done if "cleanup" in line}


@pytest.mark.parametrize("answer", [never(), server_internal()], ids=["asking", "pausing"])
@pytest.mark.parametrize("where", [("GET", "/dir"), ("GET", "/renewal-info")], ids=["dir", "info"])
def test_closing_while_the_ca_is_asked_when_to_renew(world: World, where: Tuple[str, str],
                                                     answer: Answer) -> None:
    world.ca.ari = world.wall() + 50 * DAY, world.wall() + 51 * DAY
    world.ca.answers["GET", "/renewal-info"] = [problem("malformed", 404)]
    process = world.first()
    world.look()
    world.ca.answers[where] = [answer] * 4
    asked = len(world.ca.of(*where))
    world.wall.advance(7 * HOUR)
    world.skip(2)
    world.until(lambda: len(world.ca.of(*where)) > asked, "the question")
    if where == ("GET", "/dir") and answer != never():
        world.until(lambda: world.lines(log.INFO, "trying again"), "the pause")
    elif answer != never():
        world.settle()
        assert not process.certifier.busy and process.state.failures == 0
    process.close()
    world.nothing_left()
    assert world.errors() == []
