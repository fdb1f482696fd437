"""Vhosts by name, and the constant header fields of their answers."""

from __future__ import annotations

from typing import Optional

import pytest

from lwsws.core.answers import Answers
from lwsws.core.routing import Routes
from lwsws.core.vhost import HeaderSet, Vhost, VhostSet
from lwsws.net.reactor import Reactor
from lwsws.wire.errors import LocalProtocolError


def vhost(name: str) -> Vhost:
    return Vhost(name, Routes([]), HeaderSet(), 60, 0)


@pytest.fixture
def vhosts() -> VhostSet:
    reactor = Reactor()
    reactor.close()
    names = ("a.test", "b.test", "sub.b.test", "a.test")
    return VhostSet([vhost(name) for name in names], Answers(reactor))


@pytest.mark.parametrize("name, found", [
    ("a.test", "a.test"),
    ("b.test", "b.test"),
    ("www.b.test", "b.test"),
    ("x.sub.b.test", "sub.b.test"),
    ("xsub.b.test", "b.test"),
    ("b.te", None),
    ("xb.test", None),
    ("test", None),
    ("", None),
    ("h" * 300, None),
    ("a." * 5000 + "b.test", None),     # too long to be a name: not searched label by label
])
def test_name_or_parent_domain(vhosts: VhostSet, name: str, found: Optional[str]) -> None:
    result = vhosts.find(name)
    assert (result.name if result else None) == found


def test_first_of_two_equal_names_wins(vhosts: VhostSet) -> None:
    assert vhosts.find("a.test") is vhosts.vhosts[0] is vhosts.default


def test_header_groups_later_wins_by_name() -> None:
    headers = HeaderSet([("Server", "x")], [("X-A", "1"), ("X-A", "2")], [("server", "mine"), ("X-B", "3")])
    assert headers.fixed == b"X-A: 1\r\nX-A: 2\r\nserver: mine\r\nX-B: 3\r\n"


def test_configured_field_replaces_that_of_a_handler() -> None:
    assert HeaderSet([("Cache-Control", "no-cache"), ("X-Y", "z")]).replaces == {"cache-control"}


def test_framing_fields_cannot_be_configured() -> None:
    assert HeaderSet([("Content-Length", "5"), ("connection", "x"), ("Date", "now")]).fixed == b""


def test_control_characters_are_refused() -> None:
    """LESSONS 3.9: configuration values too."""
    with pytest.raises(LocalProtocolError):
        HeaderSet([("X-A", "a\r\nSet-Cookie: b")])
