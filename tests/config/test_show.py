"""What -T prints: valid configuration text with everything in force and nothing secret."""

from __future__ import annotations

import json

import pytest

from lwsws.config import kinds
from lwsws.config.keys import KEYS
from lwsws.config.loader import parse_text
from lwsws.config.model import Config
from lwsws.config.show import as_object, is_secret, show

TEXT = r"""{ "global": { "server-string": "sörver", "uid": 33, "count-processes": "auto",
    "plugin-dir": ["/a", "/b"],
    "reject-service-keywords": [{"scumbot": "404 Not Found"}, {"teapot": "418"}] },
  "vhosts": [ { "name": "a.test", "port": 443, "ipv6only": "off", "ssl-option-set": [1, 2], "sts": true,
      "headers": [{"X": "ü", "Y": "1"}, {"x": "2", "X": "3"}], "host-ssl-cert": "/c", "host-ssl-key": "/k",
      "ws-protocols": [{"p": {"status": "ok", "password": "hunter2", "filespath": ["/a", "/b", "/c"]}}],
      "mounts": [ { "mountpoint": "/a/", "origin": "^http://h/x", "append-path": 1, "max-body": 5 },
        { "mountpoint": "/c", "origin": "cgi:///x", "cgi-env": [{"DB_PASSWORD": "hunter2", "A": "b"}] },
        { "mountpoint": "/p", "origin": "http://+/s:/x" }, { "mountpoint": "/cb", "origin": "callback://n" },
        { "mountpoint": "/", "origin": "file:///x", "extra-mimetypes": {".a": "b/c", "*": ""},
          "follow-symlinks": "no", "basic-auth": "/pw" } ] },
    { "unix-socket": 1, "interface": "/s", "name": "b" } ] }"""


def load(text: str) -> Config:
    loaded = parse_text(text)
    assert loaded.config is not None, loaded.faults
    return loaded.config


def test_shown_again_it_is_the_same() -> None:
    shown = show(load(TEXT))
    loaded = parse_text(shown)
    assert loaded.faults == []
    assert loaded.config is not None
    assert show(loaded.config) == shown


def test_what_is_shown_is_in_force() -> None:
    shown = json.loads(show(load(TEXT)))
    assert shown["global"]["server-string"] == "sörver"
    assert shown["global"]["count-processes"] == "auto"
    assert shown["global"]["reject-service-keywords"] == [{"scumbot": "404 Not Found"}, {"teapot": "418"}]
    first, second = shown["vhosts"]
    assert (first["port"], first["ipv6only"], first["ssl-option-set"]) == (443, False, 3)
    assert first["keepalive-timeout"] == 60
    assert first["headers"] == [{"X": "ü", "Y": "1", "x": "2"}, {"X": "3"}]
    assert [mount["origin"] for mount in first["mounts"]] == [">http://h/x", "cgi:///x", "http://+/s:/x",
                                                              "callback://n", "file:///x"]
    assert first["mounts"][0]["mountpoint"] == "/a"
    assert first["mounts"][4]["extra-mimetypes"] == [{".a": "b/c", "*": ""}]
    assert first["mounts"][4]["basic-auth"] == "/pw"
    assert first["ws-protocols"][0]["p"]["filespath"] == ["/a", "/b", "/c"]
    assert "port" not in second
    assert "ipv6only" not in second


def test_every_key_with_a_default_is_shown() -> None:
    shown = as_object(load('{"vhosts": [{"port": 1, "mounts": [{"mountpoint": "/", "origin": "file:///x"}]}]}'))
    for level, found in (("global", shown["global"]), ("vhost", shown["vhosts"][0]),
                         ("mount", shown["vhosts"][0]["mounts"][0])):
        expected = {key.name for key in KEYS[level].values() if key.served != kinds.NEVER
                    and (key.default is not None or key.default_text == "required")}
        assert set(found) == expected


def test_secrets_are_left_out() -> None:
    shown = show(load(TEXT))
    assert "hunter2" not in shown
    assert shown.count("(left out)") == 2


def test_a_password_in_a_redirect_is_left_out() -> None:
    shown = show(load('{"vhosts": [{"port": 1, "mounts": [{"mountpoint": "/", '
                      '"origin": ">http://u:hunter2@h/a@b"}]}]}'))
    assert "hunter2" not in shown
    assert "@h/a@b" in shown


@pytest.mark.parametrize("name", ["password", "DB_PASS", "eab-hmac", "api-key", "SECRET_KEY", "key",
                                  "github_token", "passphrase"])
def test_secret_names(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["key-path", "auth-path", "PASSWORD_FILE", "status", "keyboard",
                                  "basic-auth", "onward"])
def test_other_names(name: str) -> None:
    assert not is_secret(name)
