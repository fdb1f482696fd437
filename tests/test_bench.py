"""The arithmetic of the benchmark: what is read from wrk, ratios, verdicts, and the table."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import Dict, Iterator, List

import pytest

from bench import processes, report, wrk
from bench.rows import ROWS, Row, Sample

BLOCK = 8 << 20

SPEED = ROWS[0]._replace(reference="nginx", target=0.9, floor=0.6)
MEMORY = SPEED._replace(reference="", target=16, floor=22, less_is_better=True)


def samples(ours: List[Sample], theirs: List[Sample]) -> Dict[str, List[Sample]]:
    return {"lwsws": ours, "nginx": theirs}


def test_a_report_of_wrk_is_read() -> None:
    text = """Running 3s test @ http://127.0.0.1:8000/
  Socket errors: connect 1, read 2, write 3, timeout 4
  365432 requests in 3.10s, 400.00MB read
  Non-2xx or 3xx responses: 5
Requests/sec: 117881.29
"""
    assert wrk.parse(text, 1.5) == wrk.Load(365432, 3.1, 1.5, 15)
    assert wrk.parse("  7 requests in 900.00ms, 1.00KB read\n", 0.0) == wrk.Load(7, 0.9, 0.0, 0)
    with pytest.raises(RuntimeError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused\n", 0.0)


def test_ratios_are_taken_round_by_round() -> None:
    """A round in which the machine was slow for both does not count against one of them."""
    ours = [Sample(80, 800), Sample(8, 80), Sample(90, 900)]
    found = samples(ours, [Sample(100, 1000), Sample(10, 100), Sample(100, 1000)])
    assert report.ratios(found, "lwsws", "nginx") == [0.8, 0.8]
    assert report.ratios(found, "lwsws", "lighttpd") == [None, None]


@pytest.mark.parametrize(
    "row, value, wanted",
    [
        (SPEED, 90, "target reached"),
        (SPEED, 89, "floor reached"),
        (SPEED, 59, "BELOW THE FLOOR"),
        (MEMORY, 16, "target reached"),
        (MEMORY, 17, "floor reached"),
        (MEMORY, 23, "BELOW THE FLOOR"),
    ],
)
def test_verdicts(row: Row, value: float, wanted: str) -> None:
    assert report.verdict(row, samples([Sample(value)], [Sample(100)])) == wanted


def test_the_figure_for_each_cpu_second_decides() -> None:
    assert report.verdict(SPEED, samples([Sample(10, 95)], [Sample(100, 100)])) == "target reached"


def test_without_ours_or_without_the_reference_there_is_no_verdict() -> None:
    assert report.verdict(SPEED, {"nginx": [Sample(1)]}) == ""
    assert report.verdict(SPEED, {"lwsws": [Sample(1)]}) == ""


def test_the_table_names_each_server_and_its_errors() -> None:
    first, ours, theirs = report.row_lines(SPEED, samples([Sample(1234, None, 3)], [Sample(2468)]))
    assert first == "static 1 KB, keep-alive (against nginx)  BELOW THE FLOOR"
    assert ours.split() == ["lwsws", "1,234", "-", "0.50", "-", "0.9", "0.6", "3", "errors"]
    assert theirs.split() == ["nginx", "2,468", "-", "1.00", "-"]


@contextmanager
def parent_and_child(first: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does `first` and then forks a child; both say so in a line, and wait."""
    script = f"import os, signal; {first}; os.fork(); os.write(1, b'there\\n'); signal.pause()"
    command = [sys.executable, "-S", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(2)] == [b"there\n"] * 2
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_memory_that_processes_share_counts_once() -> None:
    """A process with a block of memory, and its child, which has the same one."""
    with parent_and_child(f"block = b'x' * {BLOCK}") as process:
        both = processes.tree(process.pid)
        each = [processes.largest_bytes({pid}) for pid in both]
        assert len(both) == 2 and min(each) > BLOCK
        assert BLOCK < processes.memory_bytes(both) < sum(each) - BLOCK / 2
        assert processes.largest_bytes(both) == max(each)
        processes.stop(process)
        assert processes.memory_bytes({process.pid}) == processes.largest_bytes({process.pid}) == 0


def test_a_server_that_does_not_stop_is_killed_with_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.01)
    with parent_and_child("signal.signal(15, signal.SIG_IGN)") as process:
        processes.stop(process)
        assert process.returncode == -signal.SIGKILL
        assert process.stdout is not None
        assert process.stdout.read() == b""     # nobody holds the other end any more
