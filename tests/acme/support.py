"""What the tests of ACME share: settings, files of one certificate, certificates of several ages."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

from lwsws.acme.settings import DAY, UPD, AcmeSettings, read_settings
from lwsws.acme.state import Shown, State
from lwsws.acme.store import Pair, Store
from lwsws.core.options import Options
from lwsws.wire.acme import HTTP_01, Challenge
from tests.support import certificates as made

DIRECTORY = "https://ca.test/dir"
NAME = "w.test"
# A moment long past the one before which a clock was never set.
NOW = 1_800_000_000.0
# Of an ordinary certificate, in seconds.
LIFE = 90 * 24 * 3600.0
AUTHORIZATION = "token_-1.thumbprint"

Value = Union[str, List[str]]


def options(home: Path, **changes: Optional[Value]) -> Options:
    """Sound options with files in `home`; `changes` are options with _ for -, None leaves one out, a list
    gives it several times."""
    wanted: Dict[str, Optional[Value]] = {
        "auth-path": f"{home}/account.pem", "cert-path": f"{home}/cert.pem", "key-path": f"{home}/key.pem",
        "directory-url": DIRECTORY, "common-name": NAME, "email": "admin@w.test"}
    wanted.update({name.replace("_", "-"): value for name, value in changes.items()})
    pairs: List[Tuple[str, str]] = []
    for name, value in wanted.items():
        if value is not None:
            pairs += [(name, each) for each in ([value] if isinstance(value, str) else value)]
    return Options(pairs)


def settings(home: Path, **changes: Optional[Value]) -> AcmeSettings:
    """The settings in options()."""
    return read_settings(options(home, **changes))


def challenge(kind: str = HTTP_01, name: str = NAME, token: str = "token_-1") -> Challenge:
    """One that a CA may have made."""
    return Challenge(kind, name, token, f"{token}.thumbprint")


def shown(kind: str = HTTP_01, name: str = NAME, token: str = "token_-1", pem: str = "") -> Shown:
    """The same while it is up."""
    return Shown(challenge(kind, name, token), pem)


def full_state() -> State:
    """One in which nothing is as at first."""
    up = shown(pem="-----BEGIN CERTIFICATE-----\nAAAA\n")
    state = State("0123456789abcdef", 3, 'a "fault" of b\u00fccher', 1.5, 2.25, 3.0, "https://old.test/dir",
                  2, True, "id.entifier", 4.0, 5.0, 6.0, up)
    assert not any(mine == first for mine, first in zip(state, State()))
    return state


def mode(path: Union[str, Path]) -> int:
    """The permissions of a file."""
    return os.stat(path).st_mode & 0o7777


def content(pair: made.Pair) -> Pair:
    """What is in the files of `pair`."""
    return Pair(pair.cert.read_bytes(), pair.key.read_bytes())


def put(store: Store, pair: made.Pair, seconds: Tuple[int, int] = (-10, -10)) -> None:
    """Make `pair` what is at the paths of the settings, as if that was done so many seconds from now."""
    for source, path, after in ((pair.cert, store.settings.cert_path, seconds[0]),
                                (pair.key, store.settings.key_path, seconds[1])):
        shutil.copy(source, path)
        os.chmod(path, 0o600)
        os.utime(path, (time.time() + after, time.time() + after))


def came(store: Store, seconds: float) -> None:
    """Let what waits in `store` have come so many seconds from now."""
    for path in updates(store):
        os.utime(path, (time.time() + seconds, time.time() + seconds))


def in_place(store: Store) -> Pair:
    """What is at the paths of the settings."""
    return Pair(Path(store.settings.cert_path).read_bytes(), Path(store.settings.key_path).read_bytes())


def updates(store: Store) -> Tuple[Path, Path]:
    """Where a new certificate, and its key, wait."""
    return Path(store.settings.cert_path + UPD), Path(store.settings.key_path + UPD)


class Ages(NamedTuple):
    """Certificates for NAME by the CA, each with a key of its own; the days are those before today."""

    old: made.Pair      # 40
    young: made.Pair    # 10
    younger: made.Pair  # 5


def make_ages(folder: Path, now: float, ca: made.Pair) -> Ages:
    """Those that hold from so many days before `now` on, for 90 days."""
    return Ages(*[made.make_certificate(folder, f"age{days}", [NAME], ca, days=90,
                                        not_before=int(now - days * DAY)) for days in (40, 10, 5)])
