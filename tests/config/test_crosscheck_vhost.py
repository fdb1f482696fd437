"""Checks between the keys of one vhost: what has no effect with, or without, another one."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest

from lwsws.config.crosscheck_vhost import one_vhost
from lwsws.config.loader import parse_text
from lwsws.config.model import Fault, VhostConfig

PLAIN = VhostConfig(name="a", port=80, path="vhosts[0]")
TLS = PLAIN._replace(host_ssl_cert="/crt", host_ssl_key="/key")
OPEN = TLS._replace(allow_non_tls=True)


def check(vhost: VhostConfig) -> List[Fault]:
    faults = list(one_vhost(vhost))
    assert not any(fault.fatal for fault in faults)
    return faults


def keys(vhost: VhostConfig) -> List[str]:
    """The keys that are complained of."""
    return [fault.path.rpartition(".")[2] for fault in check(vhost)]


@pytest.mark.parametrize("key", ["client-cert-required", "host-ssl-key"])
def test_what_is_meant_for_tls_is_not_served_in_the_clear(key: str) -> None:
    loaded = parse_text(f'{{"vhosts": [{{"port": 1, "{key}": "1"}}]}}')
    assert loaded.config is None
    assert [fault.path for fault in loaded.faults] == [f"vhosts[0].{key}"]
    assert "served in the clear" in loaded.faults[0].reason


@pytest.mark.parametrize("key", ["allow-non-tls", "redirect-http", "allow-http-on-https"])
def test_tls_keys_without_tls(key: str) -> None:
    loaded = parse_text(f'{{"vhosts": [{{"port": 1, "{key}": "1"}}]}}')
    assert loaded.config is not None
    assert [fault.path for fault in loaded.faults] == [f"vhosts[0].{key}"]
    assert "host-ssl-cert" in loaded.faults[0].reason
    assert parse_text(f'{{"vhosts": [{{"port": 1, "{key}": ""}}]}}').faults[1:] == []


def test_a_certificate_alone_is_enough_for_tls() -> None:
    """The key may be in the same file."""
    assert check(TLS._replace(host_ssl_key="")) == []


@pytest.mark.parametrize("wrong", [
    TLS._replace(redirect_http=True), TLS._replace(allow_http_on_https=True),
    TLS._replace(fallback_listen_accept=True),
])
def test_clients_without_tls_on_a_tls_port_need_allow_non_tls(wrong: VhostConfig) -> None:
    fault, = check(wrong)
    assert 'without "allow-non-tls"' in fault.reason
    assert check(wrong._replace(allow_non_tls=True)) == []


def test_allow_non_tls_alone_has_no_effect() -> None:
    fault, = check(OPEN)
    assert fault.path == "vhosts[0].allow-non-tls"
    assert fault.reason == ("has no effect alone: add redirect-http, allow-http-on-https or "
                            "fallback-listen-accept")


def test_plain_http_is_no_way_around_client_certificates() -> None:
    certified = OPEN._replace(client_cert_required=True, host_ssl_ca="/ca", allow_http_on_https=True)
    fault, = check(certified)
    assert fault.path == "vhosts[0].allow-http-on-https"
    assert "client-cert-required" in fault.reason
    assert keys(certified._replace(redirect_http=True)) == ["allow-http-on-https"]
    assert keys(certified._replace(allow_http_on_https=False, redirect_http=True)) == []


def test_what_is_served_is_not_redirected() -> None:
    assert keys(OPEN._replace(allow_http_on_https=True, redirect_http=True)) == ["redirect-http"]


def test_client_certificates_need_an_authority() -> None:
    fault, = check(TLS._replace(client_cert_required=True))
    assert "host-ssl-ca" in fault.reason
    assert check(TLS._replace(client_cert_required=True, host_ssl_ca="/ca")) == []


@pytest.mark.parametrize("name, field", [(f"client-{end}", f"client_{end}".replace("-", "_")) for end in (
    "ssl-cert", "ssl-key", "ssl-ca", "ssl-ciphers", "tls13-ciphers", "ecdh-curve")])
def test_client_keys_without_client_tls(name: str, field: str) -> None:
    value: Dict[str, Any] = {field: "/x"}
    given = PLAIN._replace(**value)
    fault, = check(given)
    assert fault.path == f"vhosts[0].{name}"
    assert 'without "enable-client-ssl"' in fault.reason
    expected = ["client-ssl-key"] if name == "client-ssl-key" else []
    assert keys(given._replace(enable_client_ssl=True)) == expected


def test_client_options_without_client_tls() -> None:
    given = PLAIN._replace(ssl_client_option_set=1, ssl_client_option_clear=2)
    assert keys(given) == ["ssl-client-option-set", "ssl-client-option-clear"]
    assert keys(given._replace(enable_client_ssl=True)) == []


@pytest.mark.parametrize("mode", ["apply_listen_accept", "fallback_listen_accept"])
def test_a_role_for_connections_that_there_are_not(mode: str) -> None:
    given = PLAIN._replace(listen_accept_role="raw-proxy", listen_accept_protocol="raw-proxy")
    assert keys(given) == ["listen-accept-role", "listen-accept-protocol"]
    value: Dict[str, Any] = {mode: True}
    assert keys(given._replace(**value)) == []


def test_nothing_is_left_for_a_fallback_where_all_is_raw() -> None:
    both: Dict[str, Any] = {"apply_listen_accept": True, "fallback_listen_accept": True}
    assert keys(PLAIN._replace(**both)) == ["fallback-listen-accept"]
    # With TLS the one is for connections with it, the other for those without.
    assert keys(OPEN._replace(**both)) == []


def test_a_wait_for_a_fallback_that_there_is_not() -> None:
    assert keys(PLAIN._replace(fallback_wait=7)) == ["fallback-wait"]
    assert keys(PLAIN._replace(fallback_wait=7, fallback_listen_accept=True)) == []
