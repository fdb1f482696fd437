"""A real request to a built site, inside this process."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from lwsws.net.reactor import Reactor
from lwsws.server.ask import Outcome, ask
from lwsws.server.build import build
from tests.support.docroot import BIG, file_mount, make_docroot
from tests.support.peer import load_config, write_config


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor()
    yield reactor
    reactor.close()


def asked(reactor: Reactor, directory: Path, head: str) -> Outcome:
    docroot = make_docroot(directory)
    vhost = {"name": "a.test", "port": "7681", "mounts": [file_mount("/", docroot)]}
    config = load_config(write_config(directory / "etc", [vhost]))
    site = build(config, reactor)
    request = head.replace("\n", "\r\n").encode() + b"\r\n\r\n"
    vhosts = site.listening[0].reception.met(False, "")
    assert vhosts is not None
    return ask(reactor, config.globals, vhosts, request)


def test_a_file(reactor: Reactor, tmp_path: Path) -> None:
    outcome = asked(reactor, tmp_path, "GET /plain.txt HTTP/1.1\nHost: a.test")
    assert (outcome.status, outcome.refusal) == (200, None)
    assert ("Content-Type", "text/plain") in outcome.fields
    assert outcome.exchange is not None
    assert outcome.exchange.vhost.name == "a.test"


def test_a_refusal_keeps_its_words(reactor: Reactor, tmp_path: Path) -> None:
    outcome = asked(reactor, tmp_path, "GET /weird.zzz HTTP/1.1\nHost: a.test")
    assert outcome.status == 415
    assert outcome.refusal is not None
    assert "extra-mimetypes" in outcome.refusal.why
    assert outcome.exchange is not None


def test_what_is_no_request_has_no_exchange(reactor: Reactor, tmp_path: Path) -> None:
    outcome = asked(reactor, tmp_path, "GET / HTTP/1.1\nHost: a.test\nHost: b.test")
    assert (outcome.status, outcome.exchange) == (400, None)
    assert outcome.refusal is not None
    assert "Host" in outcome.refusal.why


def test_of_a_large_file_only_the_beginning_is_taken(reactor: Reactor, tmp_path: Path) -> None:
    outcome = asked(reactor, tmp_path, "GET /big.txt HTTP/1.1\nHost: a.test")
    assert ("Content-Length", str(len(BIG))) in outcome.fields


def test_a_kept_alive_connection_does_not_keep_us(reactor: Reactor, tmp_path: Path) -> None:
    assert asked(reactor, tmp_path, "GET / HTTP/1.1\nHost: a.test").status == 200
