"""Checks between the keys of one mount, as the whole of a configuration shows them."""

from __future__ import annotations

from typing import List, Tuple

import pytest

from lwsws.config.loader import parse_text


def faults(mount: str, vhost: str = "") -> List[Tuple[str, str, bool]]:
    """Key, reason and weight of all that is wrong with a mount of these keys."""
    loaded = parse_text(f"""{{ "vhosts": [ {{ "port": 1, {vhost} "mounts": [
        {{ "mountpoint": "/m", {mount} }} ] }} ] }}""")
    return [(fault.path.rpartition(".")[2], fault.reason, fault.fatal) for fault in loaded.faults]


@pytest.mark.parametrize("key, origin, what", [
    ("cgi-timeout", "file:///x", "a program (cgi://)"),
    ("cgi-env", "http://a/", "a program (cgi://)"),
    ("proxy-timeout", "cgi:///x", "another server (http://, https://)"),
    ("proxy-keep-host", "callback://p", "another server (http://, https://)"),
    ("more-origins", "file:///x", "another server (http://, https://)"),
])
def test_keys_of_another_kind_of_mount(key: str, origin: str, what: str) -> None:
    value = {"cgi-env": '{"A": "b"}', "more-origins": '["http://b/"]'}.get(key, "7")
    assert faults(f'"origin": "{origin}", "{key}": {value}') == [
        (key, f"has no effect: the origin of this mount is not {what}", False)]


def test_keys_of_the_right_kind() -> None:
    assert faults('"origin": "cgi:///x", "cgi-timeout": 7, "cgi-limit": 2, "cgi-chdir": "/y"') == []
    assert faults('"origin": "http://a/", "proxy-timeout": 7, "proxy-rewrite-links": "no"') == []


def test_interpreters_have_full_paths() -> None:
    assert faults('"origin": "cgi:///x", "interpret": { ".php": "/usr/bin/php-cgi" }') == []
    (key, reason, fatal), = faults('"origin": "cgi:///x", "interpret": { ".php": "php-cgi" }')
    assert (key, fatal) == ("interpret", True)
    assert reason.startswith('"php-cgi" for .php is no full path of a program')


@pytest.mark.parametrize("key, mount", [
    ("origin", '"origin": "cgi://x", "cgi-chroot": "/j"'),
    ("cgi-chdir", '"origin": "cgi:///x", "cgi-chroot": "/j", "cgi-chdir": "d"'),
    ("cgi-chroot", '"origin": "cgi:///x", "cgi-chroot": "j"'),
])
def test_paths_with_a_chroot_are_full(key: str, mount: str) -> None:
    found = [(name, fatal) for name, reason, fatal in faults(mount) if "must be a full path" in reason]
    assert found == [(key, True)]


def test_further_origins() -> None:
    assert faults('"origin": "http://a/x", "more-origins": ["http://b:8/x", "http://+/s:/x"]') == []
    (key, reason, fatal), = faults('"origin": "http://a/x", "more-origins": ["http://b/y"]')
    assert (key, fatal) == ("more-origins", True)
    assert '"/x"' in reason
    (key, reason, fatal), = faults('"origin": "http://a/x", "more-origins": ["file:///x"]')
    assert (key, fatal) == ("more-origins", True)


@pytest.mark.parametrize("mount, key", [
    ('"origin": "https://a/"', "origin"),
    ('"origin": "http://a/", "more-origins": ["https://b/"]', "more-origins"),
])
def test_https_origins_need_client_tls(mount: str, key: str) -> None:
    (found, reason, fatal), = faults(mount)
    assert (found, fatal) == (key, False)
    assert "enable-client-ssl" in reason
    assert faults(mount, '"enable-client-ssl": "1",') == []


def test_redirects_to_https_need_none() -> None:
    assert faults('"origin": ">https://a/"') == []
