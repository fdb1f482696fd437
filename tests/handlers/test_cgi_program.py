"""Which program of a cgi:// mount a path is for, what is refused, and why one cannot be started."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, Optional, Tuple

import pytest

from lwsws.config.model import MountConfig
from lwsws.config.origin import Origin
from lwsws.core.exchange import HttpError
from lwsws.handlers.beneath import walk
from lwsws.handlers.cgi_program import MAX_DEPTH, Script, Scripts, explain
from tests.support.peer import Bench

PROGRAMS = ("tool.cgi", "sub/tool", "sub/deep/er", "app/index.php", "app/other.PHP", ".hidden",
            "sub/.git/x", "a b")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Programs, links and a FIFO below a directory, and one beside it."""
    root = tmp_path / "cgi"
    for name in PROGRAMS:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    (tmp_path / "outside").write_text("#!/bin/sh\n")
    (tmp_path / "outside").chmod(0o755)
    (root / "inside-link").symlink_to("sub/tool")
    (root / "outside-link").symlink_to("../outside")
    (root / "up").symlink_to("..")
    (root / "circle").symlink_to(".")
    os.mkfifo(root / "fifo")
    return root


def scripts(root: Path, **keys: Any) -> Scripts:
    return Scripts(MountConfig("/c", Origin("cgi", "cgi", str(root)), **keys))


def find(root: Path, rest: str, **keys: Any) -> Optional[Script]:
    return scripts(root, **keys).locate(rest)


@pytest.mark.parametrize("rest, path, info", [
    ("/tool.cgi", "/tool.cgi", ""),
    ("/tool.cgi/", "/tool.cgi", "/"),
    ("/tool.cgi/x/.y/z/", "/tool.cgi", "/x/.y/z/"),
    ("/sub/tool/sub/tool", "/sub/tool", "/sub/tool"),
    ("/sub/deep/er", "/sub/deep/er", ""),
    ("/a b/c", "/a b", "/c"),
    ("/inside-link/x", "/inside-link", "/x"),
    ("/circle/tool.cgi", "/circle/tool.cgi", ""),
])
def test_a_program_in_a_directory(tree: Path, rest: str, path: str, info: str) -> None:
    """LESSONS 3.22: the path is divided at the first thing that is a file."""
    assert find(tree, rest) == Script(f"{tree}{path}", f"/c{path}", info, (f"{tree}{path}",))


@pytest.mark.parametrize("rest", [
    "", "/", "/nothing", "/sub", "/sub/", "/sub/nothing/tool", "/.hidden", "/sub/.git/x", "/fifo",
    "/outside-link", "/up/outside",
    "/up/cgi/tool.cgi", "/fifo/", "/fifo/x", "/circle" * 41 + "/tool.cgi", "/" + "x" * 300, "/\ud800"])
def test_no_program_in_a_directory(tree: Path, rest: str) -> None:
    with pytest.raises(HttpError) as caught:
        find(tree, rest)
    assert caught.value.status == 404


@pytest.mark.parametrize("rest, why", [
    ("/nothing", "/nothing: No such file"),
    ("/sub", "/sub: a directory without index.html (default)"),
    ("/sub/.git/x", "/sub/.git: its name begins with a dot (dotfiles)"),
    ("/outside-link", "/outside-link: a link leads out of the directory, or in circles (follow-symlinks)"),
    ("/d" * (MAX_DEPTH + 1), f"/d: it is more than {MAX_DEPTH} directories deep"),
])
def test_why_there_is_no_program(tree: Path, rest: str, why: str) -> None:
    (tree / ("d/" * (MAX_DEPTH + 1))).mkdir(parents=True)
    with pytest.raises(HttpError) as caught:
        find(tree, rest)
    assert caught.value.why.startswith(str(tree)) and why in caught.value.why


@pytest.mark.parametrize("content, mode, why", [
    (b"#!/bin/sh\n", 0o755, ""),
    (b"#! /bin/sh -e\n", 0o755, ""),
    (b"\x7fELF", 0o755, ""),
    (b"#!/bin/sh\n", 0o644, "it is not executable (chmod a+x)"),
    (b"#!/bin/sh\r\n", 0o755,
     "the interpreter '/bin/sh\\r' of its first line is not there: its lines end in CR LF"),
    (b"#!/no/such\x1b -x\n", 0o755, "the interpreter '/no/such\\x1b' of its first line is not there"),
])
def test_obstacles(tree: Path, content: bytes, mode: int, why: str) -> None:
    path = tree / "tool.cgi"
    path.write_bytes(content)
    path.chmod(mode)
    assert scripts(tree).obstacle(Script(str(path), "/c", "", (str(path),))) == why
    assert scripts(tree).obstacle(Script(str(path), "/c", "", ("/bin/sh", str(path)))) == ""
    assert scripts(tree).obstacle(Script(str(path), "/c", "", ("/no/sh", str(path)))) == (
        "its interpreter /no/sh cannot be run")
    assert scripts(tree).obstacle(Script("/nothing", "/c", "", ("/nothing",))) == "it is not there"


def test_the_depth_is_bounded(tree: Path) -> None:
    deepest, beyond = "/d" * (MAX_DEPTH - 1), "/d" * MAX_DEPTH
    Path(f"{tree}{beyond}").mkdir(parents=True)
    for folder in (deepest, beyond):
        Path(f"{tree}{folder}/tool").touch()
    assert find(tree, f"{deepest}/tool/{beyond}") is not None
    with pytest.raises(HttpError):
        find(tree, f"{beyond}/tool")


def test_links_by_configuration(tree: Path) -> None:
    assert find(tree, "/outside-link", follow_symlinks="yes") is not None
    with pytest.raises(HttpError):
        find(tree, "/inside-link", follow_symlinks="no")
    found = find(tree, "/.hidden", dotfiles=True)
    assert found is not None and found.name == "/c/.hidden"


def test_without_openat2(tree: Path) -> None:
    """Then no link works at all."""
    found = scripts(tree)
    found._root._opener = walk
    tool = f"{tree}/sub/tool"
    assert found.locate("/sub/tool/x") == Script(tool, "/c/sub/tool", "/x", (tool,))
    for rest in ("/inside-link", "/outside-link", "/up/outside"):
        with pytest.raises(HttpError):
            found.locate(rest)


def test_a_program_that_may_not_be_read(tree: Path) -> None:
    (tree / "tool.cgi").chmod(0o111)
    assert find(tree, "/tool.cgi") is not None


@pytest.mark.parametrize("mountpoint, name", [("/c", "/c"), ("/", "")])
def test_one_program(tree: Path, mountpoint: str, name: str) -> None:
    path = f"{tree}/tool.cgi"
    found = Scripts(MountConfig(mountpoint, Origin("cgi", "cgi", path)))
    for rest in ("", "/", "/a/.b/../c"):
        assert found.locate(rest) == Script(path, name, rest, (path,))


def test_interpreters(tree: Path) -> None:
    """By suffix, in any case; the longest wins; and the program is their only argument (LESSONS 3.23)."""
    keys = {"interpret": ((".php", "/usr/bin/php-cgi"), ("*", "/bin/sh"), (".x.php", "/bin/x"))}
    for name, interpreter in (("app/other.PHP", "/usr/bin/php-cgi"), ("sub/tool", "/bin/sh")):
        found = find(tree, f"/{name}/info?", **keys)
        assert found is not None
        assert (found.argv, found.info) == ((interpreter, f"{tree}/{name}"), "/info?")
    assert scripts(tree, **keys).interpreter("/a.x.PHP") == "/bin/x"


def test_the_default_of_a_directory(tmp_path: Path, tree: Path) -> None:
    found = find(tree, "/app/", default="index.php")
    assert found == Script(f"{tree}/app/index.php", "/c/app/index.php", "", (f"{tree}/app/index.php",))
    bench = Bench(tmp_path / "etc", {"mounts": [
        {"mountpoint": "/c", "origin": f"cgi://{tree}", "default": "index.php"}]})
    answer = bench.connect().get("/c/app?a=b")
    assert (answer.status, answer.get("Location")) == (301, "http://localhost/c/app/?a=b")
    bench.close()


def test_inside_of_a_chroot(tree: Path) -> None:
    """Paths are those that the program sees."""
    keys = {"cgi_chroot": str(tree.parent)}
    assert find(Path("/cgi"), "/sub/tool/x", **keys) == Script("/cgi/sub/tool", "/c/sub/tool", "/x",
                                                              ("/cgi/sub/tool",))
    tool = Path("/cgi/tool.cgi")
    assert find(tool, "/x", **keys) == Script("/cgi/tool.cgi", "/c", "/x", ("/cgi/tool.cgi",))
    # An absolute link, perhaps: the start will tell.
    assert find(Path("/nothing"), "/x", **keys) == Script("/nothing", "/c", "/x", ("/nothing",))
    found = scripts(Path("/cgi"), **keys)
    assert found.exists("/cgi/tool.cgi") and not found.exists(f"{tree}/tool.cgi")


@pytest.mark.parametrize("code, file, wanted", [
    (errno.ENOENT, "{path}", (500, "its loader")),
    (errno.ENOENT, "{path}.missing", (404, "No such file")),
    (errno.EACCES, "{path}", (403, "chmod a+x")),
    (errno.ENOEXEC, "{path}", (500, "#!/bin/sh")),
    (errno.E2BIG, "{path}", (431, "too long")),
    (errno.EMFILE, None, (503, "open files")),
    (errno.EAGAIN, None, (503, "unavailable")),
    (errno.ETXTBSY, "{path}", (503, "busy")),
    (errno.EIO, "{path}", (500, "Input/output")),
    (errno.ENOENT, "/the/directory", (500, "/the/directory: No such file")),
    (errno.EPERM, None, (500, "not permitted")),
])
def test_why_it_cannot_be_started(tree: Path, code: int, file: Optional[str],
                                  wanted: Tuple[int, str]) -> None:
    path = f"{tree}/tool.cgi"
    name = None if file is None else file.format(path=path)
    if name == path + ".missing":
        path = name
    script = Script(path, "/c", "", (path,))
    error, why = explain(OSError(code, os.strerror(code), name), script, scripts(tree))
    assert error.status == wanted[0]
    assert wanted[1] in why
    assert str(tree) not in error.why
    assert bool(error.fields) == (error.status == 503)


def test_a_missing_interpreter(tree: Path) -> None:
    script = Script(f"{tree}/tool.cgi", "/c", "", ("/no/php", f"{tree}/tool.cgi"))
    error, why = explain(OSError(errno.ENOENT, "No such file", "/no/php"), script, scripts(tree))
    assert (error.status, why) == (500, "its interpreter /no/php: No such file")
