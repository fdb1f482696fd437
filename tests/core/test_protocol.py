"""What plugins are given: their options, and a base whose methods do nothing."""

from __future__ import annotations

from typing import Any, List, Tuple

import pytest

from lwsws import plugin
from lwsws.core.options import OptionError, Options
from lwsws.core.protocol import Protocol
from lwsws.core.session import RawSession
from lwsws.roles.raw import RawRole
from tests.support.raw import VHOST, raw_role

PAIRS = (("a", "1"), ("b", "x"), ("a", " 20 "), ("empty", ""), ("minus", "-5"))


def test_options_are_found_by_name() -> None:
    options = Options(PAIRS)
    assert options.get("b") == "x"
    assert options.all("a") == ("1", " 20 ")
    assert options.get("a") == " 20 "
    assert options.get("none") == "" and options.get("none", "default") == "default"
    assert options.get("empty", "default") == ""
    assert options.all("none") == ()


def test_numbers_are_read_within_their_bounds() -> None:
    options = Options(PAIRS)
    assert options.number("a", 5) == 20
    assert options.number("a", 5, 20, 20) == 20
    assert options.number("none", 5, 10, 20) == 5
    assert options.number("empty", 5) == 5
    assert options.number("minus", 0, -5) == -5


@pytest.mark.parametrize(
    "text", ["x", "1.5", "+1", "1_0", "0x10", "-", "--5", "4", "31", "-5", "\u0661", "9" * 5000, "1 2"]
)
def test_what_is_no_such_number_is_told(text: str) -> None:
    with pytest.raises(OptionError) as caught:
        Options([("size", text)]).number("size", 10, 5, 30)
    assert caught.value.name == "size"
    assert caught.value.why == f'"{text[:40]}" is no whole number from 5 to 30'
    assert str(caught.value) == f"size: {caught.value.why}"


def test_yes_and_no_are_read_as_in_the_configuration() -> None:
    for text, value in (("1", True), ("Yes", True), (" on ", True), ("20", True), ("0", False), ("00", False),
                        ("off", False), ("", True)):
        assert Options([("x", text)]).flag("x", True) is value
    assert Options().flag("x") is False
    with pytest.raises(OptionError, match='x: "maybe" is neither yes nor no'):
        Options([("x", "maybe")]).flag("x")


def test_options_do_not_change_with_what_they_were_made_of() -> None:
    pairs: List[Tuple[str, str]] = [("a", "1")]
    options = Options(pairs)
    pairs.append(("a", "2"))
    assert options.get("a") == "1"


def test_the_base_does_nothing_but_close_at_the_end_of_the_stream() -> None:
    base = Protocol()
    session = Session()
    base.init(VHOST, Options())
    base.raw_adopted(session)
    base.raw_receive(session, b"x")
    base.raw_writable(session)
    base.timer(session)
    base.raw_closed(session)
    base.destroy()
    assert session.calls == []
    base.raw_eof(session)
    assert session.calls == ["close"]


class Session(RawRole):
    """A session on which only close() may be called."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        super().__init__(Protocol())
        self.calls: List[str] = []

    def close(self) -> None:
        self.calls.append("close")


def test_the_role_is_a_session() -> None:
    session: RawSession = raw_role(Protocol())
    assert session.user is None and session.vhost == VHOST


def test_all_public_names_are_there() -> None:
    for name in plugin.__all__:
        assert vars(plugin)[name].__name__ == name


def test_every_method_of_the_base_can_be_left_out() -> None:
    base = Protocol()
    session: Any = None
    base.sessions = set()
    base.request_writable_all()
    assert base.filter_upgrade(session)
    base.established(session)
    base.receive(session, "x")
    base.receive_fragment(session, b"x", True, True)
    base.pong(session, b"")
    base.writable(session)
    base.closed(session, 1000, "")
    base.http_body(session, b"x")
    base.http_body_end(session)
    base.http_writable(session)
    base.http_closed(session)
    assert base.interpret(session, b"x", True) == b"x"
