"""raw-proxy: its option, and a session that is handed on."""

from __future__ import annotations

import pytest

from lwsws.builtin.raw_proxy import RawProxy
from lwsws.core.options import OptionError, Options
from lwsws.net.onward import parse_onward
from tests.support.raw import VHOST, RawBench, raw_role


def test_the_option_says_where_to() -> None:
    proxy = RawProxy()
    proxy.init(VHOST, Options([("status", "ok"), ("onward", "ipv4:127.0.0.1:22")]))
    assert proxy.onward == parse_onward("127.0.0.1:22")


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "is missing: where to connect to"),
        ("ipv4:127.0.0.1", "is no address to connect to: host and port"),
    ],
)
def test_an_option_that_says_nothing_useful_is_told(text: str, why: str) -> None:
    with pytest.raises(OptionError) as caught:
        RawProxy().init(VHOST, Options([("onward", text)]))
    assert caught.value.name == "onward"
    assert why in caught.value.why


def test_many_connections_at_once_are_handed_on_each_to_its_own(bench: RawBench) -> None:
    """The original forwards only some of several (BEHAVIOUR.md, "Raw and fallback")."""
    server, proxy = bench.listen(), RawProxy()
    proxy.init(VHOST, Options([("onward", str(server.onward))]))
    clients = [bench.connect(raw_role(proxy)) for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(b"from %d" % number)
    fars = [server.accept() for _ in clients]
    for far in fars:
        bench.until(far.receive)
        far.send(b"echo " + bytes(far.data))
    for number, client in enumerate(clients):
        bench.until(client.receive)
        assert client.data == b"echo from %d" % number


def test_a_half_close_is_passed_on_and_the_answer_still_arrives(bench: RawBench) -> None:
    server, proxy = bench.listen(), RawProxy()
    proxy.init(VHOST, Options([("onward", str(server.onward))]))
    client = bench.connect(raw_role(proxy))
    client.send(b"bye")
    client.half_close()
    far = server.accept()
    bench.until(lambda: far.over)
    far.send(bytes(far.data))
    far.close()
    bench.until(lambda: client.over)
    assert client.data == b"bye"
    assert not client.was_reset
