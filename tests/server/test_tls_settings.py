"""From keys to settings."""

from __future__ import annotations

from typing import Tuple

import pytest

from lwsws.config.keys import SPOKEN_ALPN
from lwsws.config.model import GlobalConfig, VhostConfig
from lwsws.net.tls import ClientSettings, ServerSettings
from lwsws.server.tls_settings import client_settings, offered_alpn, server_settings

VHOST = VhostConfig(
    host_ssl_cert="/c", host_ssl_key="/k", host_ssl_ca="/a", ciphers="C", ecdh_curve="E", ssl_option_set=1,
    ssl_option_clear=2, client_cert_required=True, alpn="http/1.0", client_ssl_cert="/cc",
    client_ssl_key="/ck", client_ssl_ca="/ca", client_ssl_ciphers="CC", client_ecdh_curve="CE",
    ssl_client_option_set=3, ssl_client_option_clear=4)


def test_settings_of_a_server() -> None:
    assert server_settings(VHOST, GlobalConfig()) == ServerSettings(
        certificate="/c", key="/k", ca="/a", ciphers="C", curve="E", options_set=1, options_clear=2,
        alpn=("http/1.0",), client_certificates=True)
    plain = VhostConfig(host_ssl_cert="/c")
    assert server_settings(plain, GlobalConfig()) == ServerSettings("/c", "/c", alpn=SPOKEN_ALPN)
    assert server_settings(plain, GlobalConfig()).files == ["/c", "/c"]


def test_settings_of_a_client() -> None:
    assert client_settings(VHOST) == ClientSettings(
        ca="/ca", certificate="/cc", key="/ck", ciphers="CC", curve="CE", options_set=3, options_clear=4)
    assert client_settings(VhostConfig()) == ClientSettings()
    assert client_settings(VhostConfig(client_ssl_cert="/cc")) == ClientSettings("", "/cc", "/cc")


@pytest.mark.parametrize("own, default, offered", [
    ("", "http/1.1", ("http/1.1", "http/1.0")),     # the one implies the other
    ("", "h2, http/1.1", ("http/1.1", "http/1.0")),
    ("http/1.0 ,, http/1.1,", "h2", ("http/1.0", "http/1.1")),
    ("http/1.0", "http/1.1", ("http/1.0",)),
    ("h2", "http/1.1", ("http/1.1", "http/1.0")),   # something has to be
    ("", "", ("http/1.1", "http/1.0")),
])
def test_http_offers_what_is_spoken_here(own: str, default: str, offered: Tuple[str, ...]) -> None:
    assert offered_alpn(VhostConfig(alpn=own), GlobalConfig(default_alpn=default)) == offered


@pytest.mark.parametrize("own, offered", [("", ()), ("mqtt, h2", ("mqtt", "h2"))])
def test_raw_vhosts_offer_what_they_say(own: str, offered: Tuple[str, ...]) -> None:
    vhost = VhostConfig(alpn=own, apply_listen_accept=True)
    assert offered_alpn(vhost, GlobalConfig()) == offered
