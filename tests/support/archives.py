"""Archives as `make pyz` writes them, of whatever files a test wants, and a process that runs from one."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import pytest

from lwsws import archive
from lwsws.archive import Archive

# 1 Jan 2024 12:30:58 UTC, in the two ways that it is written.
DATE = (2024, 1, 1, 12, 30, 58)
SECONDS = 1704112258
HTTP_DATE = "Mon, 01 Jan 2024 12:30:58 GMT"


def write_archive(path: Path, files: Mapping[str, bytes], method: int = ZIP_STORED) -> Path:
    """An archive with `files`, behind the line that makes it a program."""
    path.write_bytes(b"#!/usr/bin/env python3\n")
    with ZipFile(path, "a", method) as file:
        for name, content in files.items():
            info = ZipInfo(name, DATE)
            info.compress_type = method
            file.writestr(info, content)
    return path


def run_from(monkeypatch: pytest.MonkeyPatch, path: Path) -> Archive:
    """From now on this process takes the archive at `path` for the one that it runs from."""
    opened = Archive(str(path))
    monkeypatch.setattr(archive, "running", lambda: opened)
    return opened
