"""What is known of one certificate beside its files, across restarts: the file `<cert-path>.acme`.

One line of JSON, for administrators to read, too.  Whoever works at the certificate writes it, holding the
lock of the account; all other processes of the server read it: what is due when, and which challenge is up.
Times are in unix seconds.
"""

from __future__ import annotations

import json
from typing import Any, Dict, NamedTuple, Optional

from lwsws.wire.acme import Challenge

# A challenge by tls-alpn-01 brings a certificate and a key; nothing else in it is long.
MAX_BYTES = 64 * 1024
MAX_ERROR = 500
MAX_COUNT = 10 ** 6
# The year 5138: what is beyond is no time.
MAX_TIME = 1e11


class Shown(NamedTuple):
    """A challenge that is up; `pem` is the certificate and the key for it, with tls-alpn-01."""

    challenge: Challenge
    pem: str = ""


class State(NamedTuple):
    """`mark` is that of the settings that the next fields are about: `failures` in a row, the last with
    `error` at `tried`, and not before `next_try` again.  `renewed` is when the last certificate came, from
    `directory`; `renew_now` is what an administrator wants.  `window_of` identifies the certificate of which
    the CA says that it be renewed between `window_start` and `window_end` (0: it does not say), to be asked
    again at `ask_at`.  `turns` counts certificates that followed the last one too soon (schedule.py).
    """

    mark: str = ""
    failures: int = 0
    error: str = ""
    tried: float = 0.0
    next_try: float = 0.0
    renewed: float = 0.0
    directory: str = ""
    turns: int = 0
    renew_now: bool = False
    window_of: str = ""
    window_start: float = 0.0
    window_end: float = 0.0
    ask_at: float = 0.0
    shown: Optional[Shown] = None


_DEFAULT = State()


def encode(state: State) -> bytes:
    """`state` as the content of its file."""
    value: Dict[str, Any] = {name: each for name, each in state._asdict().items()
                             if each != getattr(_DEFAULT, name)}
    if state.shown is not None:
        value["shown"] = {**state.shown.challenge._asdict(), "pem": state.shown.pem}
    return json.dumps(value, indent=None).encode("ascii") + b"\n"


def decode(data: bytes) -> State:
    """The state of which `data` is the file; the first one if it is empty, damaged, or just being written."""
    line, end, _ = data.partition(b"\n")
    try:
        value = json.loads(line) if end else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return State()
    fields = {name: _field(value.get(name), default) for name, default in _DEFAULT._asdict().items()
              if name != "shown"}
    return State(**fields)._replace(shown=_shown(value.get("shown")))


def _field(value: Any, default: Any) -> Any:
    """`value`, if it is of the kind of `default`, which is taken else."""
    if isinstance(default, float):
        # Not a number is not between these.
        return float(value) if type(value) in (int, float) and 0 <= value < MAX_TIME else default
    if type(value) is not type(default) or (type(value) is int and not 0 <= value < MAX_COUNT):
        return default
    # Some are shown to root.
    return value if not isinstance(value, str) or value.isprintable() else default


def _shown(value: Any) -> Optional[Shown]:
    if not isinstance(value, dict):
        return None
    fields = [each for each in map(value.get, (*Challenge._fields, "pem"))
              if isinstance(each, str) and each.isascii()]
    if len(fields) <= len(Challenge._fields):
        return None
    *challenge, pem = fields
    if not all(field.isprintable() for field in challenge):
        return None
    return Shown(Challenge(*challenge), pem)
