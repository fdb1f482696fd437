"""docs/configuration.md is what the table of keys says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lwsws.config import kinds
from lwsws.config.document import document
from lwsws.config.keys import LEVELS
from lwsws.config.loader import parse_text

ROOT = Path(__file__).resolve().parents[2]


def test_the_file_is_up_to_date() -> None:
    """`make docs` writes it."""
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == document()


def test_the_module_prints_it() -> None:
    done = subprocess.run([sys.executable, "-m", "lwsws.config.document"], cwd=ROOT, check=True,
                          stdout=subprocess.PIPE)
    assert done.stdout.decode("utf-8") == document()


def test_every_key_is_in_it_with_all_its_spellings() -> None:
    text = document()
    for topics in LEVELS.values():
        for _, keys in topics:
            for key in keys:
                assert f"`{key.name}`" in text
                assert key.doc in text
                for alias in key.aliases:
                    assert f"`{alias}`" in text
                if key.served == kinds.NOW:
                    assert f'`"{key.name}": {key.example}`' in text


def test_its_example_loads_and_its_fault_is_real() -> None:
    conf, vhost = document().split("```")[1].split("# /etc/lwsws/conf.d")
    assert [fault.reason[:22] for fault in parse_text(conf).faults] == ["Need at least one vhost"[:22]]
    site = "# /etc/lwsws/conf.d" + vhost
    assert parse_text(site).faults == []
    wrong = site.replace("file:///var/www/example.com", "/var/www")
    fault, = parse_text(wrong, "/etc/lwsws/conf.d/example.com").faults
    assert f"```\n{fault}\n```" in document()
