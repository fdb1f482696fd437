"""A document root with everything a file mount can meet, and a site of mounts that serve it."""

from __future__ import annotations

import gc
import gzip
import os
from pathlib import Path
from typing import Any, Dict, List

from lwsws.handlers.openfile import SMALL_FILE
from lwsws.wire.dates import format_date

MTIME = 1600000000
DATE = format_date(MTIME)
BIG = bytes(range(256)) * 2000

FILES: Dict[str, bytes] = {
    "index.html": b"<h1>home</h1>",
    "plain.txt": b"hello world\n",
    "ten.txt": b"0123456789",
    "empty.txt": b"",
    "UPPER.TXT": b"upper\n",
    "a b.txt": b"blank\n",
    "per%cent.txt": b"percent\n",
    "semi;x.txt": b"semi\n",
    "plus+.txt": b"plus\n",
    "u\u00e9.txt": b"accent\n",
    "noext": b"SECRET",
    "weird.zzz": b"SECRET",
    ".hidden.txt": b"SECRET",
    ".git/config.txt": b"SECRET",
    "sub/.env.txt": b"SECRET",
    ".well-known/note.txt": b"known\n",
    ".well-known/.x/y.txt": b"SECRET",
    "sub/.well-known/y.txt": b"SECRET",
    ".well-knownx/y.txt": b"SECRET",
    "sub/index.html": b"<p>sub</p>",
    "sub/a.txt": b"sub a\n",
    "nodefault/x.txt": b"x\n",
    "just.txt": b"j" * SMALL_FILE,
    "above.txt": b"a" * (SMALL_FILE + 1),
    "big.txt": BIG,
    "pre.js": b"plain version " * 10,
    "pre.js.gz": gzip.compress(b"plain version " * 10),
    "pre.js.br": b"not really brotli",
    "big.css": b"x" * 300010,
    "big.css.gz": b"y" * 300000,
}


def make_docroot(parent: Path) -> Path:
    """FILES, links and a FIFO below `parent`/www, and a secret beside it."""
    root = parent / "www"
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (MTIME, MTIME))
    (parent / "secret.txt").write_text("SECRET")
    links = {"link.txt": "plain.txt", "out.txt": "../secret.txt", "loop.txt": "loop.txt", "dirlink": "sub"}
    for name, target in links.items():
        os.symlink(target, root / name)
    os.mkfifo(root / "fifo.txt")
    return root


def file_mount(mountpoint: str, docroot: Path, **keys: Any) -> Dict[str, Any]:
    """A mount of the files in `docroot`; `keys` are configured with `_` for `-`."""
    named = {key.replace("_", "-"): value for key, value in keys.items()}
    return {"mountpoint": mountpoint, "origin": f"file://{docroot}", **named}


def file_vhost(docroot: Path) -> Dict[str, Any]:
    """A vhost with a mount of `docroot` for each option that file mounts have."""
    return {
        "error-document-404": "/own/404.html",
        "mounts": [
            file_mount("/", docroot, default="/"),
            file_mount("/txt", docroot, default="plain.txt"),
            file_mount("/exact", docroot, default="ten.txt", exact_match="1"),
            file_mount("/cached", docroot, cache_max_age="60", cache_reuse="1", cache_revalidate="1"),
            file_mount("/all", docroot, dotfiles="1", extra_mimetypes={"*": ""}),
            file_mount("/zzz", docroot, extra_mimetypes={".zzz": "text/evil", "txt": "text/mine"}),
            file_mount("/any", docroot, extra_mimetypes={"*": "x/any"}),
            file_mount("/follow", docroot, follow_symlinks="yes"),
            file_mount("/nolinks", docroot, follow_symlinks="no"),
            file_mount("/gone", docroot.parent / "nowhere"),
            file_mount("/afile", docroot / "plain.txt"),
        ],
    }


def private_directory(path: Path) -> Path:
    """A new directory that nobody else can change, whatever the umask is."""
    path.mkdir()
    path.chmod(0o700)
    return path


def open_fds() -> List[str]:
    """The numbers of the open file descriptors of this process."""
    gc.collect()    # those of earlier tests are closed with their owners, now and not in between
    return sorted(os.listdir("/proc/self/fd"))
