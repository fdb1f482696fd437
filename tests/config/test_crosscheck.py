"""Checks between vhosts and keys: what cannot share a listener, and what has no effect."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest

from lwsws.config.crosscheck import address, crosscheck, pending
from lwsws.config.loader import parse_text
from lwsws.config.model import Config, Fault, GlobalConfig, MountConfig, ProtocolConfig, VhostConfig
from lwsws.config.origin import parse_origin


def check(*vhosts: VhostConfig) -> List[Fault]:
    placed = tuple(vhost._replace(path=f"vhosts[{index}]") for index, vhost in enumerate(vhosts))
    return crosscheck(Config(GlobalConfig(), placed))


def vhost(name: str = "a", port: int = 80, interface: str = "") -> VhostConfig:
    return VhostConfig(name=name, port=port, interface=interface)


def mount(mountpoint: str, origin: str = "file:///x") -> MountConfig:
    return MountConfig(mountpoint=mountpoint, origin=parse_origin(origin))


TLS = vhost("tls", 443)._replace(host_ssl_cert="/crt", host_ssl_key="/key")
SOCKET = VhostConfig(name="a", unix_socket=True, interface="/run/x.sock")


def test_vhosts_share_a_port_by_name() -> None:
    assert check(vhost("a"), vhost("b"), vhost("a", 81), vhost("a", 82, "lo"), vhost("a", 82, "eth0")) == []


@pytest.mark.parametrize("first, second", [
    (vhost(), vhost()),
    (vhost(interface="lo"), vhost(interface="lo")),
    (SOCKET, SOCKET),
    (vhost()._replace(noipv6=True), vhost()),
])
def test_a_name_given_twice_on_one_listener(first: VhostConfig, second: VhostConfig) -> None:
    fault, = check(first, second)
    assert not fault.fatal
    assert fault.path == "vhosts[1].name"
    assert '"a" is already the name of vhosts[0]' in fault.reason


def test_names_differ_by_more_than_case() -> None:
    """The original compared the case of names; a.test and A.test are one."""
    loaded = parse_text('{"vhosts": [{"name": "a.test", "port": 1}, {"name": "A.test", "port": 1}]}')
    assert loaded.config is not None
    assert [fault.path for fault in loaded.faults] == ["vhosts[1].name"]


def test_the_same_name_for_ipv4_and_for_ipv6() -> None:
    assert check(vhost()._replace(noipv6=True), vhost()._replace(ipv6only=True)) == []
    assert check(vhost()._replace(ipv6only=False), vhost()._replace(ipv6only=True)) == []
    assert check(vhost(interface="127.0.0.1"), vhost(interface="::1")) == []


def test_tls_and_plain_http_on_one_port() -> None:
    fault, = check(vhost("x", 443), TLS)
    assert fault.fatal
    assert fault.path == "vhosts[1].port"
    assert "on port 443, vhosts[1] has TLS" in fault.reason
    assert check(vhost("x", 443, "lo"), TLS._replace(interface="eth0")) == []
    assert check(vhost("x", 443)._replace(ipv6only=True), TLS._replace(noipv6=True)) == []


def test_tls_and_plain_http_on_one_unix_socket() -> None:
    fault, = check(SOCKET, SOCKET._replace(name="b", host_ssl_cert="/crt", host_ssl_key="/key"))
    assert fault.fatal
    assert "on unix socket /run/x.sock" in fault.reason


@pytest.mark.parametrize("first, second, shares", [
    (vhost("a"), vhost("b", interface="lo"), False),
    (vhost("a", interface="127.0.0.1"), vhost("b"), False),
    (vhost("a", interface="::1"), vhost("b", interface="::"), False),
    (vhost("a", interface="0.0.0.0"), vhost("b"), True),
    (vhost("a", interface="0.0.0.0"), vhost("b", interface="::1"), True),
    (vhost("a")._replace(noipv6=True), vhost("b", interface="::1"), True),
    (vhost("a")._replace(ipv6only=True), vhost("b", interface="127.0.0.1"), True),
    (vhost("a", interface="lo"), vhost("b", interface="eth0"), True),
    (vhost("a"), vhost("b", 81, "lo"), True),
    (SOCKET, SOCKET._replace(name="b", interface="/run/y.sock"), True),
])
def test_all_interfaces_and_one_of_them(first: VhostConfig, second: VhostConfig, shares: bool) -> None:
    expected = [] if shares else [("vhosts[1].interface", False)]
    assert [(fault.path, fault.fatal) for fault in check(first, second)] == expected


def test_a_unix_socket_needs_a_path() -> None:
    fault, = check(VhostConfig(unix_socket=True))
    assert fault.fatal
    assert fault.path == "vhosts[0].unix-socket"


def test_a_unix_socket_with_two_owners() -> None:
    first = SOCKET._replace(unix_socket_perms="a:b")
    assert check(first, SOCKET._replace(name="b")) == []
    fault, = check(first, SOCKET._replace(name="b", unix_socket_perms="c:d"))
    assert not fault.fatal
    assert fault.path == "vhosts[1].unix-socket-perms"


@pytest.mark.parametrize("broken", [
    vhost(interface="::1")._replace(noipv6=True),
    vhost(interface="127.0.0.1")._replace(ipv6only=True),
    vhost(interface="fe80::1")._replace(ipv6only=False),
])
def test_nothing_to_listen_on(broken: VhostConfig) -> None:
    fault, = check(broken)
    assert fault.fatal
    assert "nothing is left to listen on" in fault.reason


def test_two_mounts_with_one_mountpoint() -> None:
    first = mount("/dup")._replace(path="vhosts[0].mounts[0]")
    second = mount("/dup")._replace(path="vhosts[0].mounts[1]")
    fault, = check(vhost()._replace(mounts=(first, second)))
    assert not fault.fatal
    assert fault.path == "vhosts[0].mounts[1].mountpoint"
    assert "mountpoint of vhosts[0].mounts[0]" in fault.reason
    assert check(vhost()._replace(mounts=(first, second._replace(exact_match=True)))) == []


def test_a_slash_at_the_end_makes_no_other_mountpoint() -> None:
    loaded = parse_text('{"vhosts": [{"port": 1, "mounts": [{"mountpoint": "/a", "origin": "file:///a"}, '
                        '{"mountpoint": "/a/", "origin": "file:///b"}]}]}')
    assert [fault.path for fault in loaded.faults] == ["vhosts[0].mounts[1].mountpoint"]


def test_a_vhost_with_a_fatal_fault_causes_no_further_ones() -> None:
    """A certificate of the wrong type must not also look like plain http on a TLS port."""
    loaded = parse_text('{"vhosts": [{"port": 443, "host-ssl-cert": "/a"}, {"port": 443, "name": "b", '
                        '"host-ssl-cert": {}}]}')
    assert [fault.path for fault in loaded.faults] == ["vhosts[1].host-ssl-cert"]


def test_address_families() -> None:
    assert address(vhost()).families == {"IPv4", "IPv6"}
    assert address(vhost(interface="eth0")).families == {"IPv4", "IPv6"}
    assert address(vhost(interface="eth0:1")).families == {"IPv4", "IPv6"}
    assert address(vhost(interface="10.0.0.1")).families == {"IPv4"}
    assert address(vhost(interface="::")).families == {"IPv6"}
    assert address(vhost()._replace(noipv6=True)).families == {"IPv4"}
    assert address(vhost()._replace(ipv6only=False)).families == {"IPv4"}
    assert address(vhost()._replace(ipv6only=True)).families == {"IPv6"}


PASSED = VhostConfig(name="a", port=80, listen_fd="web")


def test_vhosts_share_a_socket_that_is_passed() -> None:
    assert check(PASSED, PASSED._replace(name="b"), vhost("a"), SOCKET,
                 PASSED._replace(listen_fd="secure", host_ssl_cert="/crt", host_ssl_key="/key")) == []
    fault, = check(PASSED, PASSED)
    assert '"a" is already the name of vhosts[0]' in fault.reason
    fault, = check(PASSED, PASSED._replace(name="b", host_ssl_cert="/crt", host_ssl_key="/key"))
    assert fault.fatal
    assert "on passed socket web, vhosts[1] has TLS" in fault.reason


@pytest.mark.parametrize("keys, path, fatal", [
    ({"interface": "lo"}, "interface", True),
    ({"interface": "/run/a.sock", "unix_socket": True}, "unix-socket", True),
    ({"listen_fd": "a:b"}, "listen-fd", True),
    ({"listen_fd": "w\u00e4b"}, "listen-fd", True),
    ({"listen_fd": "a" * 256}, "listen-fd", True),
    ({"listen_fd": "a\n"}, "listen-fd", True),
    ({"noipv6": True}, "noipv6", False),
    ({"ipv6only": False}, "ipv6only", False),
    ({"unix_socket_perms": "a:b"}, "unix-socket-perms", False),
    ({"fo_listen_queue": 5}, "fo-listen-queue", False),
])
def test_what_does_not_go_with_a_passed_socket(keys: Dict[str, Any], path: str, fatal: bool) -> None:
    fault, = check(PASSED._replace(**keys))
    assert (fault.path, fault.fatal) == (f"vhosts[0].{path}", fatal)


def test_pending_names_what_is_not_served() -> None:
    loaded = parse_text("""{ "global": { "sandbox": "1", "timeout-secs": 4, "init-ssl": "yes" },
      "vhosts": [ { "port": 443, "host-ssl-cert": "/c", "enable-client-ssl": "1", "mounts": [
        { "mountpoint": "/", "origin": "gzip:///x" },
        { "mountpoint": "/c", "origin": "cgi:///x" } ] } ] }""", "f")
    assert loaded.config is not None
    assert [str(remark) for remark in pending(loaded.config)] == [
        "f:3:40: vhosts[0].mounts[0].origin: gzip:// is not served by this version"]


def remarks(config: str) -> List[str]:
    """What is said of a configuration that is in order, without the places."""
    loaded = parse_text(config)
    assert loaded.config is not None
    assert loaded.faults == []
    return [f"{remark.path}: {remark.reason}" for remark in pending(loaded.config)]


def test_application_protocols_that_are_not_spoken_are_named_once() -> None:
    vhosts = """ "vhosts": [ { "port": 1, "name": "a", "host-ssl-cert": "/c", "alpn": "h2, http/1.1" },
        { "port": 1, "name": "b", "host-ssl-cert": "/c", "alpn": "h3,h2" } ] }"""
    assert remarks("{ " + vhosts) == ["vhosts[0].alpn: h2 is not spoken here and not offered"]
    assert remarks('{ "global": { "default-alpn": "h2,http/1.1" },' + vhosts) == [
        "global.default-alpn: h2 is not spoken here and not offered"]


@pytest.mark.parametrize("vhost", [
    '"host-ssl-cert": "/c", "alpn": "http/1.1,http/1.0"',
    '"alpn": "h2"',     # without TLS
    '"host-ssl-cert": "/c", "alpn": "mqtt", "apply-listen-accept": "1"',
])
def test_application_protocols_that_need_no_remark(vhost: str) -> None:
    assert remarks('{ "vhosts": [ { "port": 1, %s } ] }' % vhost) == []


def test_ciphers_of_tls_1_3_cannot_be_chosen_which_is_said_once() -> None:
    assert [remark[:40] for remark in remarks("""{ "vhosts": [
        { "port": 1, "name": "a", "host-ssl-cert": "/c", "tls13-ciphers": "TLS_AES_128_GCM_SHA256" },
        { "port": 1, "name": "b", "host-ssl-cert": "/c", "tls13-ciphers": "x" } ] }""")] == [
        "vhosts[0].tls13-ciphers: has no effect: "]


# What one vhost says for all connections of a listener.


RAW = vhost("raw")._replace(apply_listen_accept=True, listen_accept_protocol="raw-test")
FALLING = vhost("f")._replace(fallback_listen_accept=True, listen_accept_protocol="raw-test")


def paths(*vhosts: VhostConfig) -> List[str]:
    faults = check(*vhosts)
    assert not any(fault.fatal for fault in faults)
    return [fault.path for fault in faults]


def test_the_first_vhost_says_who_speaks_the_proxy_protocol() -> None:
    listed = vhost()._replace(proxy_protocol_from=("10.0.0.1",))
    assert paths(listed, vhost("b")) == []
    assert paths(listed, listed._replace(name="b")) == []
    assert paths(vhost("b"), listed) == ["vhosts[1].proxy-protocol-from"]
    assert paths(listed, vhost("b"), vhost("c")._replace(proxy_protocol_from=("unix",))) == [
        "vhosts[2].proxy-protocol-from"]
    assert paths(vhost("b"), listed._replace(port=81)) == []
    assert paths(vhost("b")._replace(ipv6only=True), listed._replace(noipv6=True)) == []


def test_a_raw_vhost_first_leaves_nothing_to_the_others() -> None:
    fault, = check(RAW, vhost("b"))
    assert fault.path == "vhosts[1].port"
    assert fault.reason.startswith("nothing reaches this vhost: vhosts[0] () is the first vhost of port 80")
    assert paths(RAW, vhost("b", 81)) == []


def test_a_raw_vhost_that_is_not_first_is_none() -> None:
    with_mounts = RAW._replace(mounts=(mount("/"),))
    assert paths(vhost("b"), with_mounts) == ["vhosts[1].apply-listen-accept"]


def test_with_tls_every_vhost_decides_for_itself() -> None:
    raw = TLS._replace(name="raw", apply_listen_accept=True)
    assert paths(TLS, raw) == []
    assert paths(raw, TLS) == []


def test_a_raw_vhost_has_no_use_for_mounts() -> None:
    assert paths(RAW._replace(mounts=(mount("/"),))) == ["vhosts[0].mounts"]
    raw = TLS._replace(name="raw", apply_listen_accept=True, mounts=(mount("/"),))
    assert paths(TLS._replace(mounts=(mount("/"),)), raw) == ["vhosts[1].mounts"]


def test_one_fallback_counts_for_a_listener() -> None:
    assert paths(vhost("b"), FALLING) == []
    assert paths(FALLING, FALLING._replace(name="g")) == []
    second = FALLING._replace(name="g")
    for other in (second._replace(fallback_wait=0), second._replace(listen_accept_role="x"),
                  second._replace(listen_accept_protocol="raw-proxy"),
                  second._replace(ws_protocols=(ProtocolConfig("raw-test", (("a", "b"),)),))):
        assert paths(vhost("b"), FALLING, other) == ["vhosts[2].fallback-listen-accept"]


def test_a_fallback_that_has_no_effect_is_not_the_one_that_counts() -> None:
    useless = TLS._replace(name="u", fallback_listen_accept=True)
    good = useless._replace(name="g", allow_non_tls=True, fallback_wait=5)
    assert paths(useless, good) == ["vhosts[0].fallback-listen-accept"]


def test_many_vhosts_are_checked_in_linear_time() -> None:
    many = [vhost(f"v{number}", 80) for number in range(5000)]
    assert check(*many) == []
