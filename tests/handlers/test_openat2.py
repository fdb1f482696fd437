"""The system call openat2: what goes to the kernel, what comes back, and where it cannot be had."""

from __future__ import annotations

import errno
import os
import struct
import sys
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

import pytest

from lwsws import log
from lwsws.handlers.beneath import FLAGS, Root, choose_opener, follow, walk
from lwsws.handlers.openat2 import (
    OPEN_HOW,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    TRIES,
    Openat2,
    kernel_openat2,
    make_opener,
    syscall_number,
    through_ctypes,
    try_out,
)

KERNEL = kernel_openat2()
needs_openat2 = pytest.mark.skipif(
    KERNEL is None, reason="this system has no openat2 (Linux 5.6) or no ctypes"
)


def test_the_struct_is_three_u64() -> None:
    assert OPEN_HOW.size == 24
    how = OPEN_HOW.pack(1, 2, 3)
    assert how == b"".join(struct.pack("=Q", n) for n in (1, 2, 3))


@needs_openat2
def test_the_kernel_reads_our_struct_as_we_mean_it(tmp_path: Path) -> None:
    assert KERNEL is not None
    call, get_errno = KERNEL
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "plain.txt").write_text("plain")
    os.symlink("plain.txt", tmp_path / "www" / "link.txt")
    (tmp_path / "secret.txt").write_text("SECRET")
    fd = os.open(tmp_path / "www", os.O_PATH)

    def attempt(name: bytes, resolve: int, flags: int = FLAGS, mode: int = 0) -> int:
        opened = call(fd, name, OPEN_HOW.pack(flags, mode, resolve))
        if opened >= 0:
            os.close(opened)
            return 0
        return get_errno()

    assert attempt(b"plain.txt", RESOLVE_BENEATH) == 0
    assert attempt(b"../secret.txt", RESOLVE_BENEATH) == errno.EXDEV
    assert attempt(b"../secret.txt", 0) == 0
    assert attempt(b"link.txt", RESOLVE_NO_SYMLINKS) == errno.ELOOP
    assert attempt(b"link.txt", RESOLVE_NO_MAGICLINKS) == 0
    # A field in the wrong place would be taken for these faults.
    assert attempt(b"plain.txt", 1 << 40) == errno.EINVAL
    assert attempt(b"plain.txt", 0, mode=0o644) == errno.EINVAL
    assert attempt(b"plain.txt", 0, flags=1 << 40) == errno.EINVAL
    os.close(fd)


@needs_openat2
def test_the_call_does_not_leak_memory(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    root = Root(str(tmp_path))

    def calls(count: int) -> int:
        """The blocks of memory in use after so many calls that succeed and that fail."""
        for _ in range(count):
            os.close(root.open("a.txt"))
            try:
                root.open("gone")
            except FileNotFoundError:
                pass
        return sys.getallocatedblocks()

    before = calls(1000)
    assert calls(20000) - before < 200
    root.close()


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EINTR])
def test_a_race_in_the_kernel_is_tried_again_but_not_for_ever(code: int) -> None:
    answers: List[int] = []
    calls: List[Tuple[int, bytes]] = []

    def call(root: int, name: bytes, how: bytes) -> int:
        calls.append((root, name))
        return answers.pop(0) if answers else -1

    def get_errno() -> int:
        return code

    opener = make_opener((call, get_errno), FLAGS, RESOLVE_BENEATH)
    answers[:] = [-1, -1, 42]
    assert opener(7, b"a") == 42
    assert calls == [(7, b"a")] * 3
    calls.clear()
    with pytest.raises(OSError) as caught:
        opener(7, b"a")
    assert caught.value.errno == code
    assert len(calls) == TRIES


@pytest.fixture
def fresh() -> Iterator[None]:
    """Lets a test ask for openat2 anew, and forgets what it found."""
    log.set_level(log.DEFAULT_MASK)
    kernel_openat2.cache_clear()
    yield
    kernel_openat2.cache_clear()


def test_a_kernel_without_the_call_is_recognised() -> None:
    with pytest.raises(OSError) as caught:
        try_out(through_ctypes(9999))   # no kernel has so many
    assert caught.value.errno == errno.ENOSYS


@pytest.mark.parametrize("code, usable", [(errno.EPERM, False), (errno.EINVAL, False), (errno.EACCES, True)])
def test_a_sandbox_that_refuses_the_call_is_recognised(code: int, usable: bool) -> None:
    kernel: Openat2 = (lambda root, name, how: -1, lambda: code)
    if usable:      # the current directory cannot be read, but the call is there
        try_out(kernel)
        return
    with pytest.raises(OSError) as caught:
        try_out(kernel)
    assert caught.value.errno == code


@pytest.mark.usefixtures("fresh")
def test_without_openat2_names_are_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    machine = os.uname()
    elsewhere = os.uname_result((machine.sysname, "", "", "", "unheard-of"))
    monkeypatch.setattr(os, "uname", lambda: elsewhere)
    for symlinks in ("inside", "no"):
        assert choose_opener(symlinks) is walk
    assert choose_opener("yes") is follow
    (tmp_path / "a.txt").write_text("a")
    root = Root(str(tmp_path))
    os.close(root.open("a.txt"))
    root.close()
    said = capfd.readouterr().err
    assert said.count("no openat2") == 1    # once, not for each mount
    assert "links" in said


@pytest.mark.usefixtures("fresh")
def test_without_ctypes_names_are_walked(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert choose_opener("inside") is walk
    assert "ctypes" in capfd.readouterr().err


@pytest.mark.parametrize(
    "platform, machine, is_64bit, number",
    [
        ("linux", "x86_64", True, 437), ("linux", "i686", False, 437), ("linux", "aarch64", True, 437),
        ("linux", "armv7l", False, 437), ("linux", "riscv64", True, 437), ("linux", "ppc64le", True, 437),
        ("linux", "s390x", True, 437), ("linux", "loongarch64", True, 437), ("linux", "mips", False, 4437),
        ("linux", "mips64", True, 5437), ("linux", "alpha", True, None), ("linux", "ia64", True, None),
        ("linux", "unheard-of", True, None), ("darwin", "arm64", True, None),
        ("freebsd14", "amd64", True, None),
    ],
)
def test_the_number_of_the_call(platform: str, machine: str, is_64bit: bool, number: Optional[int]) -> None:
    assert syscall_number(platform, machine, is_64bit) == number
