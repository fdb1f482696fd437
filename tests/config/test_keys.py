"""The table of keys is consistent in itself, with the records, with the specification and the original."""

from __future__ import annotations

import json
from typing import Dict, Iterator, Set, Tuple

import pytest

from lwsws.config import kinds, values
from lwsws.config.jsonc import parse
from lwsws.config.keys import KEYS, LEVELS
from lwsws.config.kinds import Key
from lwsws.config.loader import parse_text
from lwsws.config.model import GlobalConfig, MountConfig, VhostConfig
from lwsws.config.report import Report

# For each level the fields of its record, and the defaults of those that have one.
RECORDS: Dict[str, Tuple[Tuple[str, ...], Dict[str, object]]] = {
    "global": (GlobalConfig._fields, GlobalConfig._field_defaults),
    "vhost": (VhostConfig._fields, VhostConfig._field_defaults),
    "mount": (MountConfig._fields, MountConfig._field_defaults),
}
BOOKKEEPING = {"where", "path", "positions"}

# Every key of spec/README.lwsws.md and of the tables in spec/BEHAVIOUR.md.
KNOWN: Dict[str, str] = {
    "global": """
        uid gid username groupname count-threads count-async-threads init-ssl server-string plugin-dir
        ws-pingpong-secs timeout-secs reject-service-keywords default-alpn ip-limit-ah ip-limit-wsi
        rlimit-nofile cpd-bypass quic-pad-crypto allow-early-data quic-only-latest quic-early-key-update
    """,
    "vhost": """
        name port interface unix-socket unix-socket-perms sts host-ssl-key host-ssl-cert host-ssl-ca
        access-log mounts ws-protocols keepalive_timeout keeplive-timeout keepalive-timeout
        enable-client-ssl ciphers tls13-ciphers ecdh-curve client-ssl-ciphers client-tls13-ciphers
        client-ecdh-curve client-ssl-key client-ssl-cert client-ssl-ca noipv6 ipv6only ssl-option-set
        ssl-option-clear ssl-client-option-set ssl-client-option-clear client-ssl-option-set
        client-ssl-option-clear headers onlyraw client-cert-required ignore-missing-cert
        error-document-404 alpn fo-listen-queue strict-host-check listen-accept-role
        listen-accept-protocol apply-listen-accept fallback-listen-accept allow-non-tls redirect-http
        allow-http-on-https disable-no-protocol-ws-upgrades h2-half-closed-long-poll quic-mtu
        quic-preferred-addresses dht
    """,
    "mount": """
        mountpoint origin default protocol auth-mask basic-auth cgi-timeout cgi-env cgi-chroot cgi-chdir
        pmo cache-max-age cache-reuse cache-revalidate cache-intermediaries cache-no exact-match
        append-path no-ws-upgrades extra-mimetypes interpret headers keepalive-timeout keeplive-timeout
        keepalive_timeout interceptor-path
    """,
    "ws-protocols": "status default raw basic-auth",
}


def all_keys() -> Iterator[Tuple[str, Key]]:
    for level, topics in LEVELS.items():
        for _, keys in topics:
            for key in keys:
                yield level, key


EACH = [pytest.param(level, key, id=f"{level}-{key.name}") for level, key in all_keys()]


@pytest.mark.parametrize("level", KNOWN)
def test_every_key_of_the_specification_and_of_the_original_is_known(level: str) -> None:
    assert set(KNOWN[level].split()) - set(KEYS[level]) == set()


def test_no_spelling_is_listed_twice() -> None:
    for level, topics in LEVELS.items():
        spellings = [name for _, keys in topics for key in keys for name in (key.name, *key.aliases)]
        assert len(spellings) == len(set(spellings)), level


@pytest.mark.parametrize("level", RECORDS)
def test_each_key_with_an_effect_has_a_field_with_its_default(level: str) -> None:
    fields, defaults = RECORDS[level]
    expected: Set[str] = set()
    for key_level, key in all_keys():
        if key_level != level or key.served == kinds.NEVER:
            continue
        expected.add(key.field)
        if key.default_text != "required":
            assert defaults[key.field] == key.default, key.name
    assert set(fields) == expected | BOOKKEEPING


@pytest.mark.parametrize("level, key", EACH)
def test_the_example_is_valid_and_the_words_are_sentences(level: str, key: Key) -> None:
    json.loads(key.example)
    report = Report("example")
    if key.kind != kinds.LIST:
        value = values.read(key, [parse(key.example)], key.name, report)
        assert key.kind == kinds.ANYTHING or value is not None
    assert report.faults == []
    for sentence in (key.doc, key.differs or key.doc):
        assert sentence.endswith(".")
        assert sentence[0].isupper() or not sentence[0].isalpha()


@pytest.mark.parametrize("level, key", [(level, key) for level, key in all_keys() if level != "ws-protocols"],
                         ids=[f"{level}-{key.name}" for level, key in all_keys() if level != "ws-protocols"])
def test_a_configuration_with_the_example_loads(level: str, key: Key) -> None:
    spellings = (key.name, *key.aliases)
    for name in spellings:
        own = f'"{name}": {key.example}, '
        mount = own if level == "mount" else ""
        vhost = own if level == "vhost" else ""
        if name == "unix-socket":
            vhost += '"interface": "/run/x.sock", '
        if name in ("host-ssl-key", "client-cert-required"):
            vhost += '"host-ssl-cert": "/x.crt", '
        settings = own.rstrip(", ") if level == "global" else ""
        loaded = parse_text(f"""{{ "global": {{ {settings} }}, "vhosts": [ {{ {vhost} "port": "443",
            "mounts": [ {{ {mount} "mountpoint": "/", "origin": "file:///x" }} ] }} ] }}""")
        assert loaded.config is not None, loaded.faults
        assert [fault for fault in loaded.faults if "unknown" in fault.reason] == []
