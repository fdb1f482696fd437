"""Opening beneath a root: real directories, hostile names, links, and a tree that changes meanwhile.

LESSONS 3.15.  Every verdict is asked of both ways of opening, the kernel's openat2 and the walk.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Callable, List, Optional

import pytest

from lwsws.handlers.beneath import Opener, Root, choose_opener, follow, walk
from lwsws.handlers.openat2 import kernel_openat2
from tests.support.docroot import open_fds

needs_openat2 = pytest.mark.skipif(
    kernel_openat2() is None, reason="this system has no openat2 (Linux 5.6) or no ctypes"
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with files, directories, a FIFO and links of every kind, and a secret beside it."""
    root = tmp_path / "www"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "plain.txt").write_text("plain")
    (root / "sub" / "a.txt").write_text("sub a")
    (root / "sub" / "deep" / "b.txt").write_text("deep b")
    (root / "\u00e9 \U0001f600.txt").write_text("name beyond ASCII")
    (root / "a..b.txt").write_text("dots inside")
    (root / "..txt").write_text("dots in front")
    (tmp_path / "secret.txt").write_text("SECRET")
    (tmp_path / "wwwx").mkdir()
    (tmp_path / "wwwx" / "evil.txt").write_text("SECRET")
    os.mkfifo(root / "fifo.txt")
    links = {
        "link.txt": "plain.txt", "sub/up.txt": "../plain.txt", "dirlink": "sub", "loop.txt": "loop.txt",
        "ring1": "ring2", "ring2": "ring1", "dangling.txt": "gone",
        "out.txt": "../secret.txt", "outdir": "..", "sub/deep/far": "../../../secret.txt",
        "absolute.txt": str(tmp_path / "secret.txt"), "absolute-in.txt": str(root / "plain.txt"),
        "etc": "/etc", "proc": "/proc/self/root",
    }
    for name, target in links.items():
        os.symlink(target, root / name)
    return root


def content(root: Root, name: str) -> str:
    """What opening `name` gives: the text, "(directory)" or the like, or the name of the error."""
    try:
        fd = root.open(name)
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode):
            return os.read(fd, 100).decode()
        return "(directory)" if stat.S_ISDIR(mode) else "(fifo)" if stat.S_ISFIFO(mode) else "(other)"
    finally:
        os.close(fd)


def reachable(root: Root, name: str) -> str:
    """Like `content`, with all errors that mean "not here" as one."""
    found = content(root, name)
    return "(absent)" if found in ("ENOENT", "ENOTDIR", "ELOOP", "EXDEV", "ENAMETOOLONG") else found


ORDINARY = [
    ("plain.txt", "plain"),
    ("sub/a.txt", "sub a"),
    ("sub/deep/b.txt", "deep b"),
    ("sub//deep/./b.txt", "deep b"),
    ("\u00e9 \U0001f600.txt", "name beyond ASCII"),
    ("a..b.txt", "dots inside"),
    ("..txt", "dots in front"),
    ("", "(directory)"),
    (".", "(directory)"),
    ("sub", "(directory)"),
    ("sub/", "(directory)"),
    ("fifo.txt", "(fifo)"),
    ("gone", "(absent)"),
    ("gone/x", "(absent)"),
    ("plain.txt/", "(absent)"),
    ("plain.txt/x", "(absent)"),
    ("PLAIN.TXT", "(absent)"),
    ("x" * 300, "(absent)"),
    ("x/" * 3000, "(absent)"),
]
HOSTILE = [
    "..", "../secret.txt", "../wwwx/evil.txt", "sub/../../secret.txt", "sub/..", "sub/../plain.txt",
    "./../secret.txt", "/plain.txt", "/etc/passwd", "//etc/passwd", "/", "..\\secret.txt",
    "plain.txt\0", "plain.txt\0.png", "\0", "\ud800",
    "loop.txt", "ring1", "dangling.txt", "out.txt", "outdir", "outdir/secret.txt", "absolute.txt",
    "absolute-in.txt", "etc/passwd", "etc", "proc/etc/passwd", "proc", "sub/deep/far",
    "dirlink/../../secret.txt",
]
INNER_LINKS = [
    ("link.txt", "plain"), ("sub/up.txt", "plain"), ("dirlink/a.txt", "sub a"), ("dirlink", "(directory)"),
]

WAYS = [
    pytest.param("inside", None, id="openat2", marks=needs_openat2),
    pytest.param("no", None, id="openat2 without links", marks=needs_openat2),
    pytest.param("inside", walk, id="walk"),
]


@pytest.mark.parametrize("symlinks, opener", WAYS)
def test_both_ways_give_the_same_verdicts(tree: Path, symlinks: str, opener: Optional[Opener]) -> None:
    root = Root(str(tree), symlinks, opener=opener)
    assert [(name, reachable(root, name)) for name, _ in ORDINARY] == ORDINARY
    assert [(name, reachable(root, name)) for name in HOSTILE] == [(name, "(absent)") for name in HOSTILE]
    root.close()


@needs_openat2
def test_links_that_stay_inside_are_followed(tree: Path) -> None:
    root = Root(str(tree))
    assert [(name, content(root, name)) for name, _ in INNER_LINKS] == INNER_LINKS
    root.close()


@pytest.mark.parametrize("symlinks, opener", [WAYS[1], WAYS[2]])
def test_elsewhere_no_link_is_followed(tree: Path, symlinks: str, opener: Optional[Opener]) -> None:
    root = Root(str(tree), symlinks, opener=opener)
    assert {reachable(root, name) for name, _ in INNER_LINKS} == {"(absent)"}
    root.close()


def test_links_may_lead_out_where_the_mount_wants_it(tree: Path) -> None:
    root = Root(str(tree), "yes")
    for name in ("out.txt", "absolute.txt", "outdir/secret.txt"):
        assert content(root, name) == "SECRET"
    assert content(root, "link.txt") == "plain"
    # The names of requests stay beneath the root all the same.
    for name in ("..", "../secret.txt", "sub/../../secret.txt", "/etc/passwd", "plain.txt\0"):
        assert reachable(root, name) == "(absent)"
    root.close()


def test_bytes_that_are_no_utf8_name_their_file(tree: Path) -> None:
    name = b"latin-\xe9.txt"
    with open(os.path.join(os.fsencode(str(tree)), name), "w") as file:
        file.write("latin")
    root = Root(str(tree))
    assert content(root, name.decode("utf-8", "surrogateescape")) == "latin"
    root.close()


def test_a_fifo_does_not_block(tree: Path) -> None:
    for opener in (None, walk, follow):
        root = Root(str(tree), opener=opener)
        assert content(root, "fifo.txt") == "(fifo)"
        root.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything: run as another user")
def test_what_may_not_be_read_says_so(tree: Path) -> None:
    (tree / "plain.txt").chmod(0)
    (tree / "sub").chmod(0)
    try:
        for opener in (None, walk):
            root = Root(str(tree), opener=opener)
            assert content(root, "plain.txt") == "EACCES"
            assert content(root, "sub/a.txt") == "EACCES"
            root.close()
    finally:
        (tree / "sub").chmod(0o755)


# A tree that changes during lookups.


def swap_for_ever(turns: List[Callable[[], None]], ended: threading.Event) -> None:
    while not ended.is_set():
        for turn in turns:
            turn()


def link(target: str, place: Path, spare: Path) -> Callable[[], None]:
    """A function that puts a link to `target` at `place` in one step."""
    def turn() -> None:
        os.symlink(target, spare)
        os.rename(spare, place)
    return turn


@pytest.mark.parametrize("symlinks, opener", WAYS)
def test_a_link_race_never_leads_out(tree: Path, symlinks: str, opener: Optional[Opener]) -> None:
    """A directory that turns from real to a link outside and back, while files in it are opened."""
    (tree.parent / "out").mkdir()
    (tree.parent / "out" / "x.txt").write_text("SECRET")
    (tree / "real").mkdir()
    (tree / "real" / "x.txt").write_text("fine")
    place, spare, away = tree / "place", tree / "spare", tree / "away"
    os.rename(tree / "real", place)

    def out() -> None:
        os.rename(place, away)
        os.symlink("../out", place)

    def back() -> None:
        os.unlink(place)
        os.rename(away, place)

    file = tree / "f.txt"
    turns = [out, back, link("../secret.txt", file, spare), link("plain.txt", file, spare)]
    ended = threading.Event()
    swapper = threading.Thread(target=swap_for_ever, args=(turns, ended))
    swapper.start()
    root = Root(str(tree), symlinks, opener=opener)
    try:
        seen = set()
        for _ in range(3000):
            seen.add(reachable(root, "place/x.txt"))
            seen.add(reachable(root, "f.txt"))
    finally:
        ended.set()
        swapper.join()
        root.close()
    assert "SECRET" not in seen
    assert seen <= {"fine", "plain", "(absent)", "EAGAIN"}
    assert "fine" in seen


# The directory itself.


class Clock:
    """Time that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_root_that_appears_later(tmp_path: Path, clock: Clock) -> None:
    root = Root(str(tmp_path / "later"), clock=clock)
    assert content(root, "a.txt") == "ENOENT"
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "a.txt").write_text("here")
    assert content(root, "a.txt") == "here"
    root.close()


def test_a_root_that_is_no_directory(tree: Path) -> None:
    root = Root(str(tree / "plain.txt"))
    assert content(root, "a.txt") == "ENOTDIR"
    assert content(root, "") == "ENOTDIR"
    root.close()


@pytest.mark.parametrize("by_link", [True, False], ids=["link switched", "renamed"])
def test_a_root_that_is_replaced(tmp_path: Path, clock: Clock, by_link: bool) -> None:
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "a.txt").write_text(release)
    current = tmp_path / "current"
    if by_link:
        os.symlink("one", current)
    else:
        os.rename(tmp_path / "one", current)
    root = Root(str(current), clock=clock)
    assert content(root, "a.txt") == "one"
    if by_link:
        link("two", current, tmp_path / "spare")()
    else:
        os.rename(current, tmp_path / "old")
        os.rename(tmp_path / "two", current)
    assert content(root, "a.txt") == "one"      # looked at again after a second, not each time
    clock.now += 0.9
    assert content(root, "a.txt") == "one"
    clock.now += 0.2
    assert content(root, "a.txt") == "two"
    root.close()


def test_a_root_that_goes_and_comes_back(tree: Path, clock: Clock) -> None:
    root = Root(str(tree), clock=clock)
    assert content(root, "plain.txt") == "plain"
    os.rename(tree, tree.parent / "moved")
    clock.now += 2
    assert content(root, "plain.txt") == "ENOENT"
    os.rename(tree.parent / "moved", tree)
    assert content(root, "plain.txt") == "plain"
    root.close()


def test_close_lets_go_and_open_takes_again(tree: Path) -> None:
    before = open_fds()
    root = Root(str(tree))
    assert content(root, "plain.txt") == "plain"
    assert len(open_fds()) == len(before) + 1
    root.close()
    root.close()
    assert open_fds() == before
    assert content(root, "plain.txt") == "plain"
    root.close()


@pytest.mark.parametrize("symlinks, opener", [*WAYS, pytest.param("yes", None, id="follow")])
def test_no_verdict_leaks_an_fd(tree: Path, symlinks: str, opener: Optional[Opener]) -> None:
    root = Root(str(tree), symlinks, opener=opener)
    content(root, "plain.txt")
    before = open_fds()
    for name in [*HOSTILE, *(name for name, _ in ORDINARY), *(name for name, _ in INNER_LINKS)]:
        content(root, name)
    assert open_fds() == before
    root.close()


def test_what_is_opened_is_not_inherited_by_programs(tree: Path) -> None:
    for opener in (None, walk, follow):
        root = Root(str(tree), opener=opener)
        fd = root.open("plain.txt")
        assert not os.get_inheritable(fd)
        os.close(fd)
        root.close()


@needs_openat2
def test_which_way_is_chosen() -> None:
    assert choose_opener("yes") is follow
    assert choose_opener("inside") not in (follow, walk)
    assert choose_opener("no") not in (follow, walk)
