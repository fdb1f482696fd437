"""`-t`, `-T` and `--explain`: look at a configuration without binding or serving anything."""

from __future__ import annotations

import sys
from typing import List, Optional, Tuple

from lwsws.config.loader import load
from lwsws.config.model import Config, Fault
from lwsws.config.show import show
from lwsws.server.explain import explain
from lwsws.server.verify import verify


def _load(directory: str, data_dir: str) -> Tuple[Optional[Config], List[Fault]]:
    loaded = load(directory, data_dir)
    faults = list(loaded.faults)
    if loaded.config is not None:
        faults += verify(loaded.config)
    for line in loaded.notices:
        sys.stderr.write(f"{line}\n")
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    return loaded.config, faults


def check(directory: str, data_dir: str) -> int:
    """Check the configuration of `directory`, printing all faults; 0 if there is none, else 1."""
    _, faults = _load(directory, data_dir)
    if not faults:
        sys.stderr.write(f"{directory}: OK\n")
        return 0
    fatal = sum(fault.fatal for fault in faults)
    consequence = "the server will not start" if fatal else "the server starts all the same"
    plural = "s" if len(faults) != 1 else ""
    sys.stderr.write(f"{directory}: FAILED: {len(faults)} fault{plural}; {consequence}\n")
    return 1


def dump(directory: str, data_dir: str) -> int:
    """Print the effective configuration as JSON; 1 if it cannot be loaded."""
    config, _ = _load(directory, data_dir)
    if config is None:
        return 1
    sys.stdout.write(show(config))
    return 0


def explain_url(directory: str, data_dir: str, url: str) -> int:
    """Say what a request for `url` would meet; 0 if it would be served, else 1."""
    config, _ = _load(directory, data_dir)
    if config is None:
        return 1
    lines, served = explain(config, url)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0 if served else 1
