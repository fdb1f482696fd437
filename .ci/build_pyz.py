#!/usr/bin/env python3
"""Builds lwsws.pyz, the whole server in one file that Python runs: `.ci/build_pyz.py build/lwsws.pyz`.

The same sources give the same bytes, on every machine and with every Python: members are sorted, stored and
not compressed (what deflate gives depends on the version of zlib), and all have one date: SOURCE_DATE_EPOCH,
else that of the last commit, else the first day of DOS.  Stored members are also what lwsws/archive.py
reads pages and the example configuration from.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, Tuple
from zipfile import ZIP_STORED, ZipFile, ZipInfo

ROOT = Path(__file__).resolve().parent.parent

SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = b'''\
"""What `python3 lwsws.pyz` runs."""

import sys

if sys.version_info < (3, 9):
    sys.exit("lwsws needs Python 3.9 or newer; this is %d.%d" % sys.version_info[:2])

from lwsws.cli import main

sys.exit(main())
'''

# The years that a member's date can have (APPNOTE 4.4.6); its seconds are even.
FIRST_YEAR, LAST_YEAR = 1980, 2107
# Regular file, readable by all, made on Unix.
MODE, UNIX = 0o100644, 3


def members() -> Iterator[Tuple[str, bytes]]:
    """Names and contents, sorted by name."""
    yield "LICENSE", (ROOT / "LICENSE").read_bytes()
    yield "__main__.py", MAIN
    found = [path for place in ("etc", "lwsws") for path in (ROOT / place).rglob("*") if path.is_file()]
    for name in sorted(path.relative_to(ROOT).as_posix() for path in found):
        is_source = name.endswith(".py") or name.startswith(("etc/", "lwsws/share/"))
        is_leftover = name.endswith(("~", ".pyc")) or "/." in name
        if is_source and not is_leftover:
            yield name, (ROOT / name).read_bytes()


def date() -> Tuple[int, int, int, int, int, int]:
    """The date of all members, in UTC."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "") or last_commit()
    moment = time.gmtime(int(text or 0))
    if moment.tm_year < FIRST_YEAR:
        return FIRST_YEAR, 1, 1, 0, 0, 0
    if moment.tm_year > LAST_YEAR:
        raise ValueError(f"SOURCE_DATE_EPOCH {text} is after the year {LAST_YEAR}")
    return moment.tm_year, moment.tm_mon, moment.tm_mday, moment.tm_hour, moment.tm_min, moment.tm_sec & ~1


def last_commit() -> str:
    """The seconds of the last commit; "" outside of a git checkout."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    try:
        return subprocess.run(command, capture_output=True, check=True).stdout.decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def build() -> bytes:
    """The archive."""
    file = io.BytesIO(SHEBANG)
    file.seek(0, io.SEEK_END)
    moment = date()
    with ZipFile(file, "w", ZIP_STORED) as archive:
        for name, content in members():
            info = ZipInfo(name, moment)
            info.create_system = UNIX
            info.external_attr = MODE << 16
            archive.writestr(info, content)
    return file.getvalue()


def main(target: Path) -> None:
    """Write the archive to `target`, whole or not at all."""
    data = build()
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(target.name + ".new")
    fresh.write_bytes(data)
    fresh.chmod(0o755)
    fresh.replace(target)
    print(f"{target}: {len(data)} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: .ci/build_pyz.py TARGET")
    main(Path(sys.argv[1]))
