"""From a URL as it is typed to what a client would ask, and of whom."""

from __future__ import annotations

import socket

import pytest

from lwsws.config.model import VhostConfig
from lwsws.net.listening import Endpoint
from lwsws.server.question import Question, Unaskable, reaches, read_url

INET = VhostConfig(name="a.test", port=7681)
UNIX = VhostConfig(name="u.test", unix_socket=True, interface="/run/u.sock")
UNIX_TOO = VhostConfig(name="v.test", unix_socket=True, interface="/run/u.sock")
LONGER = VhostConfig(name="w.test", unix_socket=True, interface="/run/u.sock2")
VHOSTS = (INET, UNIX, UNIX_TOO, LONGER)


@pytest.mark.parametrize("url, host, port, target", [
    ("/", "a.test:7681", 7681, "/"),
    ("/b/c?d=e", "a.test:7681", 7681, "/b/c?d=e"),
    ("/b?u=http://else.test/", "a.test:7681", 7681, "/b?u=http://else.test/"),
    ("http://b.test:81/x", "b.test:81", 81, "/x"),
    ("http://b.test", "b.test", 80, "/"),
    ("http://b.test:80", "b.test", 80, "/"),
    ("http://b.test?q", "b.test", 80, "/?q"),
    ("HTTP://B.test/X", "b.test", 80, "/X"),
    ("b.test:81/x", "b.test:81", 81, "/x"),
    ("b.test", "b.test", 80, "/"),
    ("https://b.test/", "b.test", 443, "/"),
    ("https://b.test:80/", "b.test:80", 80, "/"),
    ("http://[::1]:81/", "[::1]:81", 81, "/"),
    ("/a b", "a.test:7681", 7681, "/a%20b"),
    ("/\u00e9#there", "a.test:7681", 7681, "/%C3%A9"),
    ("/\udcff", "a.test:7681", 7681, "/%FF"),
    ("/%20%zz", "a.test:7681", 7681, "/%20%zz"),
    ("/../a//b", "a.test:7681", 7681, "/../a//b"),
])
def test_a_url_becomes_the_request_of_a_browser(url: str, host: str, port: int, target: str) -> None:
    question = read_url(VHOSTS, url)
    assert (question.host, question.port, question.target) == (host, port, target)
    assert question.unix_path == ""
    assert question.head.startswith(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n".encode())
    assert question.head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("url, unix_path, host, target", [
    ("unix:/run/u.sock", "/run/u.sock", "u.test", "/"),
    ("unix:/run/u.sock:", "/run/u.sock", "u.test", "/"),
    ("unix:/run/u.sock:/a?b", "/run/u.sock", "u.test", "/a?b"),
    ("unix:/run/u.sock:http://v.test/a", "/run/u.sock", "v.test", "/a"),
    ("unix:/run/u.sock2:/a", "/run/u.sock2", "w.test", "/a"),
])
def test_a_unix_socket_is_asked_by_its_path(url: str, unix_path: str, host: str, target: str) -> None:
    question = read_url(VHOSTS, url)
    assert (question.unix_path, question.host, question.target) == (unix_path, host, target)


def test_a_path_is_for_the_first_vhost_even_on_a_unix_socket() -> None:
    question = read_url((UNIX, INET), "/a")
    assert (question.unix_path, question.host) == ("/run/u.sock", "u.test")
    assert question.place == "unix:/run/u.sock"
    assert read_url((UNIX, INET), "http://a.test:7681/").unix_path == ""


@pytest.mark.parametrize("url, why", [
    ("ftp://a.test/", "neither http:// nor https://"),
    ("http:///a", "has no host name"),
    ("", "has no host name"),
    ("http://a b/", "'a b' is no host; a URL is http://name:port/path"),
    ("http://joe:pw@a.test/", "is no host"),
    ("http://a.test:99999/", "is no host and port"),
    ("unix:/run/x.sock:/a", "unix:/run/x.sock:/a; there is unix:/run/u.sock, unix:/run/u.sock2"),
])
def test_what_no_client_could_ask(url: str, why: str) -> None:
    with pytest.raises(Unaskable) as caught:
        read_url(VHOSTS, url)
    assert why in str(caught.value)


def test_without_unix_sockets_none_is_named() -> None:
    with pytest.raises(Unaskable) as caught:
        read_url((INET,), "unix:/x")
    assert str(caught.value) == "no vhost listens on unix:/x"


def question(url: str) -> Question:
    return read_url(VHOSTS, url)


V4, V6 = Endpoint(socket.AF_INET, "0.0.0.0", 7681), Endpoint(socket.AF_INET6, "::", 7681)
V4_ONE, V6_ONE = Endpoint(socket.AF_INET, "127.0.0.1", 7681), Endpoint(socket.AF_INET6, "::1", 7681)
LOOPBACK = Endpoint(socket.AF_INET, "", 7681, interface="lo")
NO_INTERFACE = Endpoint(socket.AF_INET, "", 7681, interface="nope0")
SOCKET = Endpoint(socket.AF_UNIX, "", 0, path="/run/u.sock")


@pytest.mark.parametrize("url, endpoint, expected", [
    ("http://any.test:7681/", V4, True),
    ("http://any.test:7681/", V6, True),
    ("http://any.test:7681/", V4_ONE, True),        # a name may lead to any address
    ("http://any.test:7682/", V4, False),
    ("http://127.0.0.1:7681/", V4, True),
    ("http://127.0.0.1:7681/", V6, False),
    ("http://127.0.0.1:7681/", V4_ONE, True),
    ("http://127.0.0.2:7681/", V4_ONE, False),
    ("http://127.0.0.1:7681/", LOOPBACK, True),
    ("http://127.0.0.2:7681/", LOOPBACK, False),
    ("http://127.0.0.1:7681/", NO_INTERFACE, False),
    ("http://[::1]:7681/", V6, True),
    ("http://[0:0::1]:7681/", V6_ONE, True),
    ("http://[::2]:7681/", V6_ONE, False),
    ("http://[::1]:7681/", V4, False),
    ("unix:/run/u.sock:/", SOCKET, True),
    ("unix:/run/u.sock2:/", SOCKET, False),
    ("unix:/run/u.sock:/", V4, False),
    ("http://any.test:7681/", SOCKET, False),
])
def test_which_endpoints_a_question_may_reach(url: str, endpoint: Endpoint, expected: bool) -> None:
    assert reaches(question(url), endpoint) is expected


@pytest.mark.parametrize("url, expected", [
    ("http://any.test:81/", True), ("http://[::1]:81/", True), ("http://any.test:82/", False),
    ("unix:/run/u.sock:/", False)])
def test_a_passed_socket_is_known_by_the_ports_of_its_vhosts_only(url: str, expected: bool) -> None:
    endpoint = Endpoint(socket.AF_UNSPEC, "", 0, name="web")
    assert reaches(question(url), endpoint, [80, 81]) is expected


def test_link_local_addresses_are_compared_without_their_scope() -> None:
    endpoint = Endpoint(socket.AF_INET6, "fe80::1%lo", 7681)
    assert reaches(question("http://[fe80::1]:7681/"), endpoint)


def test_the_place_is_named_as_people_call_it() -> None:
    assert question("http://any.test:81/").place == "port 81"
    assert question("http://10.0.0.1:81/").place == "10.0.0.1 port 81"
    assert question("http://[::1]/").place == "::1 port 80"
