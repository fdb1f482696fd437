"""`make autobahn`: the WebSocket conformance cases of the Autobahn|Testsuite against our lws-echo.

The suite is run as its authors made it: its fuzzing client, with what it needs at the versions they pin.
It wants Python 2.7, which pyenv can still install, and comes from the package index into .venv-autobahn,
which `make clean` takes away.  All of it takes half an hour, nearly all of that in sections 12 and 13.

    python3 -m bench.autobahn [--cases '1.*,7.5.1'] [--port PORT] [--write]

Printed is a table of the sections, and what the suite says of cases that failed.  --port tests what listens
there already.  --write puts the table into docs/autobahn.md.  The exit code is 1 if a case failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from bench.processes import choose_cores, on_core, stop
from bench.run import interrupted, tell
from bench.servers import Running
from bench.subjects import HOST, ROOT, Given
from bench.ws_subjects import LwswsEcho
from lwsws import __version__

SUITE = "autobahntestsuite==25.10.1"
ENVIRONMENT = ROOT / ".venv-autobahn"
INSTALL_SECONDS = 600
SUITE_SECONDS = 3600
DOCUMENT = ROOT / "docs" / "autobahn.md"
AGENT = "lwsws"
IS_27 = "import sys; sys.exit(sys.version_info[:2] != (2, 7))"

SECTIONS = {
    1: "frames of all sizes",
    2: "pings and pongs",
    3: "reserved bits",
    4: "reserved opcodes",
    5: "fragmented messages",
    6: "UTF-8",
    7: "closing",
    9: "large and many messages",
    10: "automatic fragmentation",
    12: "compression, kinds of data",
    13: "compression, parameters",
}
# What the suite may say of a case, and of how it ended; every other word is a fault.
FINE = ("OK", "NON-STRICT", "INFORMATIONAL")
FAILED = "failed"
COLUMNS = (*FINE, FAILED)


class Case(NamedTuple):
    """What the suite says of one case: `behavior` of the messages, `closing` of the end."""

    name: str
    behavior: str
    closing: str
    milliseconds: int

    @property
    def section(self) -> int:
        """The number that its name begins with."""
        return int(self.name.partition(".")[0])

    @property
    def verdict(self) -> str:
        """OK, NON-STRICT, INFORMATIONAL or failed."""
        if self.behavior not in FINE or self.closing not in FINE:
            return FAILED
        return self.behavior


def read_cases(folder: Path) -> List[Case]:
    """The cases of a report of the suite, in order."""
    (found,) = json.loads((folder / "index.json").read_text("utf-8")).values()
    cases = [
        Case(name, case["behavior"], case["behaviorClose"], case["duration"]) for name, case in found.items()
    ]
    return sorted(cases, key=lambda case: [int(part) for part in case.name.split(".")])


def describe(folder: Path, case: Case) -> str:
    """What the suite wants of a case and what it got, in one line."""
    (path,) = folder.glob(f"*_case_{case.name.replace('.', '_')}.json")
    details: Mapping[str, str] = json.loads(path.read_text("utf-8"))
    parts = [details["description"], details["expectation"], details["result"]]
    if case.closing not in FINE:
        parts.append(details["resultClose"])
    text = " ".join(part.strip() for part in parts if part)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text))


def table_rows(cases: Sequence[Case]) -> Iterator[List[str]]:
    """The lines of the table, titles first and sums last, as cells."""
    yield ["", "cases", *COLUMNS]
    for section in sorted({case.section for case in cases}):
        verdicts = Counter(case.verdict for case in cases if case.section == section)
        yield [f"{section}. {SECTIONS.get(section, '')}", *map(str, counts(verdicts))]
    yield ["together", *map(str, counts(Counter(case.verdict for case in cases)))]


def counts(verdicts: Mapping[str, int]) -> List[int]:
    """How many cases there are, and of each verdict."""
    return [sum(verdicts.values()), *(verdicts.get(column, 0) for column in COLUMNS)]


def as_text(cases: Sequence[Case]) -> str:
    """The table for a terminal."""
    lines = [f"{cells[0]:<32}" + "".join(f"{cell:>15}" for cell in cells[1:]) for cells in table_rows(cases)]
    return "\n".join(lines)


def as_markdown(cases: Sequence[Case]) -> str:
    """The table for the document."""
    rows = [f"| {' | '.join(cells)} |" for cells in table_rows(cases)]
    return "\n".join([rows[0], "|---|" + "---:|" * (len(COLUMNS) + 1), *rows[1:]])


def failures(cases: Sequence[Case], folder: Path) -> List[str]:
    """What the suite says of each case that failed."""
    failed = [case for case in cases if case.verdict == FAILED]
    return [f"{case.name} {case.behavior}/{case.closing}: {describe(folder, case)}" for case in failed]


def document(cases: Sequence[Case]) -> str:
    """The text of docs/autobahn.md."""
    return f"""# The Autobahn|Testsuite

Written by `make autobahn AUTOBAHN_ARGS=--write`: the fuzzing client of `{SUITE}` against the bundled
protocol `lws-echo` of lwsws {__version__}, on Python {platform.python_version()}, with these options:
`{json.dumps(LwswsEcho.options["lws-echo"])}`.

{as_markdown(cases)}

NON-STRICT is right, but later than the strictest reading of RFC 6455 wants it. INFORMATIONAL is what the RFC
leaves open.

{as_list(cases)}
"""


def as_list(cases: Sequence[Case]) -> str:
    """The names of the cases that are not OK, a line for each verdict."""
    lines = []
    for column in COLUMNS[1:]:
        names = [case.name for case in cases if case.verdict == column]
        lines.append(f"* {column}: {', '.join(names) if names else 'none'}")
    return "\n".join(lines)


def find_python2() -> str:
    """An interpreter of Python 2.7; RuntimeError if there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    named = [shutil.which("python2.7"), shutil.which("python2")]
    for candidate in [*filter(None, named), *map(str, pyenv.glob("versions/2.7*/bin/python"))]:
        # A shim of pyenv on the path may be for show only.
        if not subprocess.run([candidate, "-c", IS_27], capture_output=True, check=False).returncode:
            return candidate
    raise RuntimeError("the suite needs Python 2.7, and none is found: try `pyenv install 2.7.18`")


def environment() -> Dict[str, str]:
    """For Python 2.7: what it installs for "the user" lies in a folder of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONUSERBASE": str(ENVIRONMENT), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def install(python: str) -> None:
    """Have the suite in the environment; RuntimeError if that fails."""
    stamp = ENVIRONMENT / "installed"
    if stamp.exists() and stamp.read_text() == f"{python} {SUITE}":
        return
    print(f"installing {SUITE} into {ENVIRONMENT}", flush=True)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    command = [python, "-m", "pip", "install", "--quiet", "--user", "--ignore-installed", SUITE]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=INSTALL_SECONDS, env=environment(), check=False)
    if done.returncode:
        raise RuntimeError(f"the suite cannot be installed:\n{done.stdout}")
    stamp.write_text(f"{python} {SUITE}")


def run_suite(python: str, port: int, patterns: Sequence[str], folder: Path, core: int) -> None:
    """Run the cases that match against a server; the report goes to `folder`."""
    spec = {
        "outdir": str(folder),
        "servers": [{"agent": AGENT, "url": f"ws://{HOST}:{port}"}],
        "cases": list(patterns),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    folder.mkdir()
    file = folder / "spec.json"
    file.write_text(json.dumps(spec))
    command = [python, str(ENVIRONMENT / "bin" / "wstest"), "-m", "fuzzingclient", "-s", str(file)]
    with on_core(core):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, cwd=folder, env=environment())
    with process:
        try:
            said = follow(process)
            code = process.wait(SUITE_SECONDS)
        finally:
            stop(process)
    if code or not (folder / "index.json").exists():
        raise RuntimeError(f"the suite failed:\n{said}")


def follow(process: subprocess.Popen[bytes]) -> str:
    """Show which case is running; gives the last things said."""
    assert process.stdout is not None
    last: List[str] = []
    for line in map(bytes.decode, process.stdout):
        last = [*last[-20:], line]
        running = re.match(r"Running test case ID (\S+)", line)
        if running:
            tell(f"case {running[1]}")
    tell("")
    return "".join(last)


def start_server(scratch: Path, stack: ExitStack) -> Running:
    """Ours, ready; `stack` ends it."""
    given = Given(scratch, stack.enter_context(socket.create_server((HOST, 0))))
    given.site.mkdir()
    server = stack.enter_context(Running(LwswsEcho(), given, scratch, choose_cores()))
    server.wait_ready()
    return server


def parse_arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """The command line."""
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python3 -m bench.autobahn", description=about)
    parser.add_argument("--cases", default="*", help="patterns of names, separated by commas; all")
    parser.add_argument("--port", type=int, help=f"of the server on {HOST} to test; one of ours is started")
    parser.add_argument("--write", action="store_true", help=f"write {DOCUMENT.relative_to(ROOT)}")
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the suite; exit code 0 if no case failed."""
    arguments = parse_arguments(argv)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        python = find_python2()
        install(python)
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lwsws-autobahn-")))
            port = arguments.port or start_server(scratch, stack).port
            report = scratch / "report"
            run_suite(python, port, arguments.cases.split(","), report, choose_cores().load)
            cases = read_cases(report)
            print("\n".join([as_text(cases), as_list(cases), *failures(cases, report)]))
            if arguments.write:
                DOCUMENT.write_text(document(cases), "utf-8")
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        tell("")
        return 130
    return int(any(case.verdict == FAILED for case in cases))


if __name__ == "__main__":
    sys.exit(main())
