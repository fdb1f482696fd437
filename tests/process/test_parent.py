"""The parent: real forks, whose children do what a test says instead of serving."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

from lwsws.net.memory_file import fill
from lwsws.net.outcome import OutcomeListener
from lwsws.process import children as children_module
from lwsws.process import parent as parent_module
from lwsws.process.children import describe_end
from lwsws.process.generation import DEPRECATED, Place
from lwsws.server.scoreboard import SERVING as ROW_SERVING
from lwsws.server.scoreboard import Row
from tests.process.asking import listen_fields, local
from tests.process.nest import Line, Nest, broken, clinging, deaf, never_ready, obedient, pair
from tests.support.procfs import open_files


@pytest.fixture
def nest(tmp_path: Path) -> Iterator[Nest]:
    """A parent that has not started."""
    made = Nest(tmp_path)
    yield made
    made.close()


def outcomes(nest: Nest, listener: OutcomeListener, count: int) -> List[Tuple[str, str]]:
    """The next outcomes that the parent announces."""
    found: List[Tuple[str, str]] = []

    def enough() -> bool:
        outcome = listener.wait(0.01)
        if outcome is not None:
            found.append(outcome)
        return len(found) == count

    nest.until(enough)
    return found


@pytest.fixture
def listener() -> Iterator[OutcomeListener]:
    """Who asked for a reload of this process."""
    made = OutcomeListener(os.getpid())
    yield made
    made.close()


class TestStart:
    """The first generation."""

    def test_systemd_hears_when_it_serves(self, nest: Nest) -> None:
        nest.start()
        assert nest.told().splitlines() == [
            "READY=1", f"MAINPID={os.getpid()}", "STATUS=generation 1: serving 1 vhost"]

    def test_a_first_generation_that_cannot_serve_ends_it_all(self, nest: Nest) -> None:
        nest.default = broken
        assert nest.parent.run() == 1
        assert "READY" not in nest.told()

    def test_so_does_a_configuration_at_fault_and_says_so(self, nest: Nest) -> None:
        nest.default = lambda place, line: os.EX_CONFIG
        assert nest.parent.run() == os.EX_CONFIG

    def test_what_does_not_get_ready_is_not_waited_for(
            self, nest: Nest, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(children_module, "START_SECONDS", 0.05)
        nest.default = never_ready
        assert nest.parent.run() == 1
        assert "did not get ready in time" in capfd.readouterr().err

    def test_all_processes_of_a_generation(self, nest: Nest) -> None:
        nest.default = pair
        nest.start()
        assert sorted(child.number for child in nest.processes()) == [0, 1]
        assert "STATUS=generation 1: serving 1 vhost, 2 processes" in nest.told()

    def test_a_child_has_nothing_of_its_parent_and_siblings(self, nest: Nest, tmp_path: Path) -> None:
        def tell(place: Place, line: Line) -> int:
            (tmp_path / f"fds{place.number}").write_text("\n".join(open_files(os.getpid())))
            return pair(place, line)

        before = open_files(os.getpid())
        nest.default = tell
        nest.start()
        for index in (0, 1):
            fds = (tmp_path / f"fds{index}").read_text().splitlines()
            new = [fd for fd in fds if fd not in before and fd.startswith("socket:")]
            assert len(new) == 2, "its channels"
            assert len([fd for fd in fds if fd not in before and fd.startswith("pipe:")]) == 2

    def test_others_get_the_configuration_of_the_first(self, nest: Nest, tmp_path: Path) -> None:
        def hand_up(place: Place, line: Line) -> int:
            if place.is_first:
                fill(place.config, b"the configuration")
            else:
                (tmp_path / f"got{place.number}").write_bytes(os.pread(place.config, 100, 0))
            return pair(place, line)

        nest.default = hand_up
        nest.start()
        assert (tmp_path / "got1").read_bytes() == b"the configuration"
        # And so do those who come instead of a dead one, the first process too.
        first = next(child for child in nest.processes() if child.number == 0)
        os.kill(first.pid, signal.SIGKILL)
        nest.until((tmp_path / "got0").exists)


class TestReload:
    """SIGHUP."""

    def test_the_old_one_goes_when_the_new_one_serves(self, nest: Nest, listener: OutcomeListener) -> None:
        nest.start()
        (old,) = nest.processes()
        nest.told()
        os.kill(os.getpid(), signal.SIGHUP)
        assert outcomes(nest, listener, 1) == [("done", "generation 2 is serving 1 vhost")]
        nest.until(lambda: [child.pid for child in nest.processes()] not in ([old.pid], []))
        nest.until(lambda: len(nest.parent._generations) == 1)
        first, second, *rest = nest.told().splitlines()
        assert first == "RELOADING=1"
        assert abs(int(second.partition("MONOTONIC_USEC=")[2]) / 1e6 - time.monotonic()) < 10
        assert "READY=1" in rest and "STATUS=generation 2: serving 1 vhost" in rest

    def test_connections_keep_an_old_one(self, nest: Nest) -> None:
        nest.behaviours[1] = nest.behaviours[2] = clinging
        nest.start()
        for number in (2, 3):
            nest.parent.reload()
            nest.until(lambda number=number: nest.serving() == number)  # type: ignore[misc]
        assert len(nest.processes(DEPRECATED)) == 2
        assert "2 older processes with open connections" in nest.parent.summary()

    def test_a_broken_configuration_changes_nothing(
            self, nest: Nest, listener: OutcomeListener, capfd: pytest.CaptureFixture[str]) -> None:
        nest.behaviours[2] = broken
        nest.start()
        before = nest.processes()
        nest.parent.reload()
        ((word, text),) = outcomes(nest, listener, 1)
        assert word == "failed" and "has ended with exit code 1" in text
        assert nest.processes() == before and nest.serving() == 1
        assert "reload failed: process " in capfd.readouterr().err
        assert "READY=1" in nest.told().partition("RELOADING=1")[2]
        # And the next one does.
        nest.parent.reload()
        nest.until(lambda: nest.serving() == 3)

    def test_what_one_that_failed_asks_for_is_not_answered(self, nest: Nest, tmp_path: Path) -> None:
        def late(place: Place, line: Line) -> int:
            if place.number == 1:
                return 1
            line.ready(2)
            while line.order() != "stop":
                pass
            try:
                line.requests.set_timeout(5)
                answer = line.ask(*listen_fields(local()))
                (tmp_path / "answer").write_text(str(answer))
            except (OSError, AssertionError) as error:
                (tmp_path / "answer").write_text(repr(error))
            return 0

        nest.behaviours[2] = late
        nest.start()
        nest.parent.reload()
        nest.until(lambda: (tmp_path / "answer").exists() and len(nest.parent._generations) == 1)
        assert "BrokenPipe" in (tmp_path / "answer").read_text()

    def test_why_it_failed_is_told(self, nest: Nest, listener: OutcomeListener) -> None:
        def complaining(place: Place, line: Line) -> int:
            line.ask("fault", "conf:1:2: a slip of the pen")
            return os.EX_CONFIG

        nest.behaviours[2] = complaining
        nest.start()
        nest.parent.reload()
        ((word, text),) = outcomes(nest, listener, 1)
        assert word == "failed"
        assert text == "conf:1:2: a slip of the pen; the old configuration stays in force, the log says more"
        assert "STATUS=RELOAD FAILED: conf:1:2: a slip of the pen; the old" in nest.told()

    def test_a_second_process_that_fails_takes_the_first_with_it(self, nest: Nest) -> None:
        def half(place: Place, line: Line) -> int:
            return pair(place, line) if place.number == 0 else 1

        nest.behaviours[2] = half
        nest.start()
        before = nest.processes()
        nest.parent.reload()
        nest.until(lambda: len(nest.parent._generations) == 1 and nest.processes() == before)

    def test_one_while_another_is_under_way_follows(self, nest: Nest, listener: OutcomeListener) -> None:
        nest.start()
        for _ in range(3):
            nest.parent.reload()
        assert [word for word, _ in outcomes(nest, listener, 2)] == ["again", "done"]
        nest.until(lambda: nest.serving() == 3)

    def test_one_without_descriptors_fails(self, nest: Nest, monkeypatch: pytest.MonkeyPatch) -> None:
        nest.start()

        def no_more() -> None:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(children_module, "channel_pair", no_more)
        nest.parent.reload()
        assert nest.serving() == 1 and len(nest.parent._generations) == 1


class TestDeaths:
    """Processes that end unasked."""

    def test_another_one_is_started(self, nest: Nest, capfd: pytest.CaptureFixture[str]) -> None:
        nest.start()
        (child,) = nest.processes()
        os.kill(child.pid, signal.SIGKILL)
        nest.until(lambda: any(each.is_ready and each.pid != child.pid for each in nest.processes()))
        assert (f"serving process {child.pid} (lwsws-1.0) was ended by SIGKILL, after 0 s: starting another "
                "one in 0.1 s" in capfd.readouterr().err)

    def test_at_once_if_it_had_served_for_long(self, nest: Nest, capfd: pytest.CaptureFixture[str]) -> None:
        nest.start()
        (child,) = nest.processes()
        child.started -= 61
        os.kill(child.pid, signal.SIGKILL)
        nest.until(lambda: any(each.is_ready and each.pid != child.pid for each in nest.processes()))
        assert "after 61 s: starting another one at once" in capfd.readouterr().err

    def test_ten_in_a_row_end_it(self, nest: Nest, monkeypatch: pytest.MonkeyPatch,
                                 capfd: pytest.CaptureFixture[str]) -> None:
        def short(place: Place, line: Line) -> int:
            line.ready()
            return 7

        monkeypatch.setattr(parent_module, "FIRST_DELAY", 0.0001)
        nest.default = short
        assert nest.parent.run() == 1
        said = capfd.readouterr().err
        assert said.count("starting another one") == 9
        assert "10 in a row have ended within 60 s of their start; giving up" in said

    def test_not_while_others_serve(self, nest: Nest, monkeypatch: pytest.MonkeyPatch,
                                    capfd: pytest.CaptureFixture[str]) -> None:
        def one_of_two(place: Place, line: Line) -> int:
            return pair(place, line) if place.number == 0 or place.is_first else 7

        def both_at_first(place: Place, line: Line) -> int:
            return pair(place, line) if not deaths else one_of_two(place, line)

        deaths: List[int] = []
        monkeypatch.setattr(parent_module, "FIRST_DELAY", 0.0001)
        nest.default = both_at_first
        nest.start()
        deaths.append(1)
        second = next(child for child in nest.processes() if child.number == 1)
        os.kill(second.pid, signal.SIGKILL)
        nest.until(lambda: nest.parent._generations[0].deaths.get(1, 0) > 10)
        assert [child.number for child in nest.processes() if child.is_ready] == [0]
        assert "giving up" not in capfd.readouterr().err

    def test_a_reload_replaces_what_waits_to_be_started(self, nest: Nest) -> None:
        nest.start()
        (child,) = nest.processes()
        os.kill(child.pid, signal.SIGKILL)
        nest.until(lambda: not nest.processes())
        nest.parent.reload()
        nest.until(lambda: nest.serving() == 2)
        # It may have been started before the next generation served.
        nest.until(lambda: [each.number for each in nest.parent._generations] == [2])

    @pytest.mark.parametrize("message", [
        ["nonsense"], ["ready"], ["ready", "x"], ["alive", "x"], ["\n"]])
    def test_who_breaks_the_rules_is_killed(self, nest: Nest, message: List[str],
                                            capfd: pytest.CaptureFixture[str]) -> None:
        def rebel(place: Place, line: Line) -> int:
            line.ready()
            line.control.tell(message)
            return deaf(place, line)

        nest.behaviours[1] = rebel
        nest.default = rebel
        nest.parent.start()
        nest.until(lambda: "was ended by SIGKILL" in capfd.readouterr().err)


class TestStop:
    """SIGTERM and SIGINT."""

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
    def test_all_end_in_order(self, nest: Nest, signum: int) -> None:
        nest.default = pair
        nest.behaviours[2] = clinging
        nest.start()
        nest.told()
        os.kill(os.getpid(), signum)
        nest.reactor.run()
        assert nest.parent.exit_code == 0 and nest.processes() == []
        assert nest.told().startswith("STOPPING=1")

    def test_who_does_not_end_is_killed(self, nest: Nest, monkeypatch: pytest.MonkeyPatch,
                                        capfd: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(parent_module, "END_SECONDS", 0.05)
        nest.default = deaf
        nest.start()
        nest.parent.stop()
        nest.reactor.run()
        assert nest.processes() == []
        assert "did not end in time, and is killed" in capfd.readouterr().err

    def test_again_is_at_once(self, nest: Nest, tmp_path: Path) -> None:
        def slow(place: Place, line: Line) -> int:
            line.ready(1, 1000)
            words: List[str] = []
            while len(words) < 2:
                words.append(line.order())
            (tmp_path / "words").write_text(" ".join(words))
            return 0

        nest.default = slow
        nest.start()
        nest.parent.stop()
        nest.parent.stop()
        nest.reactor.run()
        assert (tmp_path / "words").read_text() == "stop quit"

    def test_while_it_starts(self, nest: Nest) -> None:
        nest.default = never_ready
        nest.parent.start()
        nest.parent.stop()
        nest.reactor.run()
        assert nest.processes() == []

    def test_deprecated_ones_end_too(self, nest: Nest) -> None:
        nest.behaviours[1] = clinging
        nest.start()
        nest.parent.reload()
        nest.until(lambda: nest.serving() == 2)
        nest.parent.stop()
        nest.reactor.run()
        assert nest.processes() == []


class TestOthers:
    """USR1, USR2 and the watchdog."""

    def test_usr1_is_handed_on(self, nest: Nest, tmp_path: Path) -> None:
        def note(place: Place, line: Line) -> int:
            line.ready()
            (tmp_path / "order").write_text(line.order())
            return obedient(place, line)

        nest.default = note
        nest.start()
        os.kill(os.getpid(), signal.SIGUSR1)
        nest.until(lambda: (tmp_path / "order").exists() and (tmp_path / "order").read_text() != "")
        assert (tmp_path / "order").read_text() == "reopen"

    def test_usr2_tells_the_table(self, nest: Nest, capfd: pytest.CaptureFixture[str]) -> None:
        nest.start()
        row = Row(4711, 1, 0, int(time.time()) - 5, ROW_SERVING, 7, 3, 20, 1, 2, 1)
        nest.parent._children.scoreboard.slot(0).write(row)
        capfd.readouterr()
        os.kill(os.getpid(), signal.SIGUSR2)
        nest.until(lambda: True)
        nest.reactor.run_once(0.01)
        said = capfd.readouterr().err
        assert "N: generation 1: serving 1 vhost\n" in said
        assert "N: process 4711 (lwsws-1.0), serving, started " in said
        assert "connections: 7 (WebSockets: 3), accepted: 20, refused: 1, workers: 2 (busy: 1)" in said

    def test_the_watchdog_is_fed_and_who_is_stuck_replaced(
            self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        def stuck_at_first(place: Place, line: Line) -> int:
            """The second one gives signs of life."""
            if not (tmp_path / "again").exists():
                (tmp_path / "again").touch()
                return deaf(place, line)
            line.ready()
            while not select.select([line.control], [], [], 0.01)[0]:
                line.control.tell(["alive"])
            return 0

        nest = Nest(tmp_path, watchdog=0.2)
        try:
            nest.default = stuck_at_first
            nest.start()
            assert "WATCHDOG=1" in nest.told()
            (first,) = nest.processes()
            nest.until(lambda: first.is_stuck)
            nest.told()
            nest.until(lambda: any(child.is_ready and child is not first for child in nest.processes()))
            nest.until(lambda: "WATCHDOG=1" in nest.told())
        finally:
            nest.close()
        said = capfd.readouterr().err
        assert f"process {first.pid} (lwsws-1.0) gives no sign of life: ending it" in said
        assert "was ended by SIGABRT" in said


def test_how_processes_end() -> None:
    assert describe_end(0) == "has ended"
    assert describe_end(3 << 8) == "has ended with exit code 3"
    assert describe_end(9) == "was ended by SIGKILL"
    assert describe_end(126) == "was ended by signal 126"
