"""`make bench`: measure lwsws and, where installed, other servers in one run.

Each row is measured in rounds, and in each round every server in turn, so that whatever else the
machine does spoils all of them alike.  Servers stand on one core, the load on another.  Only
loopback is used; everything that was started is ended, whatever happens.

    python3 -m bench.run [--quick] [--rows small,big] [--servers lwsws,nginx]
                         [--rounds N] [--seconds S] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import signal
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any, Dict, List, Optional, Sequence, Set

from bench import report
from bench.connections import TIMEOUT, make_certificate
from bench.dynamic_subjects import DYNAMIC_SERVERS, make_program, start_origin
from bench.processes import Cores, choose_cores, start
from bench.rows import ROWS, Options, Row, Sample, make_site
from bench.servers import Running
from bench.subjects import CGI, HOST, MIRROR, PROXY, SERVERS, TLS, WS, Given, Subject, find
from bench.ws_load import compile_client, compiler
from bench.ws_subjects import WS_SERVERS

ROUNDS, SECONDS = 5, 3.0
QUICK_ROUNDS, QUICK_SECONDS, QUICK_IDLE = 2, 1.0, 2000
SPARE_FILES = 500  # descriptors beyond those of the idle connections

ALL = (*SERVERS, *DYNAMIC_SERVERS, *WS_SERVERS)
WEBSOCKETS = {WS, MIRROR}
NAMES = list(dict.fromkeys(subject.name for subject in ALL))


class Bench:
    """One run: the servers that can be measured, and where they are started; `stack` ends them."""

    def __init__(self, subjects: Sequence[Subject], options: Options, rounds: int, stack: ExitStack) -> None:
        self.subjects = subjects
        self.options = options
        self.rounds = rounds
        self.cores: Cores = choose_cores()
        self.scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lwsws-bench-")))
        kinds = {subject.kind for subject in subjects}
        self.given = make_given(self.scratch, stack, kinds, self.cores)
        self._stack = stack
        self._running: Dict[Subject, Running] = {}

    def start(self, subject: Subject) -> Running:
        """Start a server; the caller ends it."""
        return Running(subject, self.given, self.scratch, self.cores)

    def running(self, subject: Subject) -> Running:
        """The server that is kept from one row to the next; RuntimeError if it does not come up."""
        if subject not in self._running:
            server = self._stack.enter_context(self.start(subject))
            server.wait_ready()
            self._running[subject] = server
        return self._running[subject]

    def sample(self, row: Row, subject: Subject) -> Sample:
        """One measurement."""
        if row.fresh:
            with self.start(subject) as server:
                return row.measure(server, self.options)
        return row.measure(self.running(subject), self.options)

    def measure(self, row: Row) -> Dict[str, List[Sample]]:
        """All rounds of `row`; a server that fails once is left out from then on, with a word on stderr."""
        subjects = [subject for subject in self.subjects if is_wanted(subject, row)]
        samples: Dict[str, List[Sample]] = {subject.name: [] for subject in subjects}
        for number in range(row.rounds or self.rounds):
            for subject in list(subjects):
                tell(f"{row.name}: round {number + 1}, {subject.name}")
                try:
                    samples[subject.name].append(self.sample(row, subject))
                except (OSError, RuntimeError) as error:
                    tell("")
                    sys.stderr.write(f"{row.name}: {subject.name} failed: {error}\n")
                    subjects.remove(subject)
        tell("")
        return {name: found for name, found in samples.items() if found}


def is_wanted(subject: Subject, row: Row) -> bool:
    """Whether `row` can be measured with this server."""
    return subject.kind == row.kind and (subject.keeps_connections or not row.needs_kept)


def make_given(scratch: Path, stack: ExitStack, kinds: Set[str], cores: Cores) -> Given:
    """Make what all servers of these kinds are given."""
    given = Given(scratch, stack.enter_context(socket.create_server((HOST, 0))))
    given.far_end.settimeout(TIMEOUT)
    make_site(given.site)
    if CGI in kinds:
        make_program(given.site)
    if PROXY in kinds:
        given = start_origin(given, scratch, cores, stack)
    if TLS in kinds:
        make_certificate(given.certificate, given.key)
    if kinds & WEBSOCKETS:
        compile_client(given.ws_client)
    return given


def tell(text: str) -> None:
    """Show on a terminal what is going on, on a line that is written over."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def parse_arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """The command line."""
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python3 -m bench.run", description=about)
    names = [row.name for row in ROWS]
    parser.add_argument("--quick", action="store_true", help="short and rough: to see that all works")
    parser.add_argument("--rows", default=",".join(names), help="some of: " + ",".join(names))
    parser.add_argument("--servers", default=",".join(NAMES), help="some of: " + ",".join(NAMES))
    parser.add_argument("--rounds", type=int, help=f"measurements of each row and server ({ROUNDS})")
    parser.add_argument("--seconds", type=float, help=f"length of each measurement ({SECONDS:g})")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all samples to FILE as well")
    arguments = parser.parse_args(argv)
    for option, known in (("rows", names), ("servers", NAMES)):
        setattr(arguments, option, getattr(arguments, option).split(","))
        unknown = [name for name in getattr(arguments, option) if name not in known]
        if unknown:
            parser.error(f"--{option}: no {', '.join(unknown)}: known are {', '.join(known)}")
    return arguments


def raise_file_limit() -> int:
    """Allow as many open files as this user may have; gives how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


def choose_subjects(names: Sequence[str], rows: Sequence[Row]) -> List[Subject]:
    """Those that `rows` need and that can be measured here; it is said of the others why not."""
    kinds = {row.kind for row in rows}
    wanted = [subject for subject in ALL if subject.name in names and subject.kind in kinds]
    reasons = {subject.name: subject.missing() for subject in wanted}
    for name, reason in reasons.items():
        if reason:
            print(f"without {name}: {reason}")
    return [subject for subject in wanted if not reasons[subject.name]]


def choose_rows(names: Sequence[str]) -> List[Row]:
    """The rows asked for, but those that need a program only where it can be had."""
    rows = [row for row in ROWS if row.name in names]
    if not find("wrk"):
        print("wrk is not installed: only the rows that need no wrk")
        rows = [row for row in rows if not row.needs_wrk]
    if not find("openssl"):
        print("openssl is not installed: only the rows without TLS")
        rows = [row for row in rows if row.kind != TLS]
    if not compiler():
        print("no C compiler is installed: only the rows without WebSockets")
        rows = [row for row in rows if row.kind not in WEBSOCKETS]
    if not find("nginx"):
        print("nginx is not installed: no origin, and only the rows without a proxy")
        rows = [row for row in rows if row.kind != PROXY]
    return rows


def run_rows(bench: Bench, rows: Sequence[Row]) -> List[Dict[str, Any]]:
    """Measure and print each row; gives all of it for the JSON file."""
    results = []
    unit = ""
    for row in rows:
        samples = bench.measure(row)
        if not samples:
            continue
        if row.unit != unit:
            unit = row.unit
            print("\n" + report.heading(row))
        print("\n".join(report.row_lines(row, samples)), flush=True)
        results.append(report.as_json(row, samples))
    return results


def interrupted(signum: int, frame: Optional[FrameType]) -> None:
    """SIGTERM ends the run as Ctrl-C does, so that nothing stays behind."""
    raise KeyboardInterrupt


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark; exit code 0 unless there was nothing to measure or it was interrupted."""
    arguments = parse_arguments(argv)
    signal.signal(signal.SIGTERM, interrupted)
    files = raise_file_limit()
    quick = arguments.quick
    options = Options(
        arguments.seconds or (QUICK_SECONDS if quick else SECONDS),
        min(QUICK_IDLE, files - SPARE_FILES) if quick else min(Options(0).idle, files - SPARE_FILES),
    )
    rows = choose_rows(arguments.rows)
    subjects = choose_subjects(arguments.servers, rows)
    if not subjects or not rows:
        return 1
    try:
        with ExitStack() as stack:
            rounds = arguments.rounds or (QUICK_ROUNDS if quick else ROUNDS)
            bench = Bench(subjects, options, rounds, stack)
            print_setting(bench)
            results = run_rows(bench, rows)
    except KeyboardInterrupt:
        tell("")
        return 130
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def bare_start(bench: Bench) -> float:
    """Seconds that Python itself needs to start and end: the median of a few times."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        start([sys.executable, "-c", ""], bench.cores.server, bench.scratch / "bare", bench.scratch).wait()
        took.append(time.perf_counter() - began)
    return median(took)


def print_setting(bench: Bench) -> None:
    """Say what the figures were taken on."""
    python = f"Python {platform.python_version()}"
    cores = f"servers on core {bench.cores.server}, load on core {bench.cores.load}"
    rounds = f"{bench.rounds} rounds of {bench.options.seconds:g} s, medians"
    print(f"{python}, {cores}, {rounds}; {bench.options.idle:,} idle connections")
    print(f"Python itself needs {bare_start(bench) * 1000:.0f} ms to start and end")
    if bench.cores.are_shared:
        print("only one core: server and load disturb each other, the figures say little")


if __name__ == "__main__":
    sys.exit(main())
