"""The options of `lws-acme-client`: sound and unsound ones, and what is asked for anew when they change."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest

from lwsws.acme.settings import (
    BESIDE,
    DAY,
    HOUR,
    KNOWN,
    MAX_HMAC,
    MAX_NAMES,
    NEW,
    OLD,
    STATE,
    UPD,
    AcmeSettings,
    files_of,
    read_settings,
)
from lwsws.core.options import OptionError, Options
from lwsws.wire.acme import DNS_01, HTTP_01, TLS_ALPN_01
from tests.acme.support import DIRECTORY, NAME, Value, settings

HOME = Path("/etc/acme")
LABEL = "a" * 63
# 253 characters, as many as there may be.
LONG_NAME = ".".join([LABEL, LABEL, LABEL, "a" * 61])
DNS = {"challenge": DNS_01, "dns_hook": "/usr/bin/hook"}


def read(**changes: Any) -> AcmeSettings:
    return settings(HOME, **changes)


def fault(**changes: Any) -> Tuple[str, str]:
    """The option that is refused, and why."""
    with pytest.raises(OptionError) as raised:
        read(**changes)
    assert len(raised.value.why) < 200
    assert raised.value.name in KNOWN
    return raised.value.name, raised.value.why


def test_the_least_there_can_be() -> None:
    found = read()
    assert found == AcmeSettings("/etc/acme/account.pem", "/etc/acme/cert.pem", "/etc/acme/key.pem",
                                 DIRECTORY, (NAME,), "admin@w.test", HTTP_01, "", "", 0.0, None)
    assert found.name == NAME


def test_all_there_is() -> None:
    found = read(challenge=DNS_01, dns_hook="/usr/bin/../bin/hook", alt_names="*.w.test",
                 ca_file="/etc/ca.pem", renew_before="30d", eab_kid="kid-1", eab_hmac="AQID", country="DE",
                 state="x", locality="y", organization="z")
    assert found[3:] == (DIRECTORY, (NAME, "*.w.test"), "admin@w.test", DNS_01, "/etc/ca.pem",
                         "/usr/bin/hook", 30 * DAY, ("kid-1", b"\1\2\3"))


@pytest.mark.parametrize("name", ["auth-path", "cert-path", "key-path", "directory-url", "common-name",
                                  "email"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_what_is_needed(name: str, value: Any) -> None:
    assert fault(**{name.replace("-", "_"): value}) == (name, "is needed")


def test_no_options_at_all() -> None:
    with pytest.raises(OptionError, match="auth-path: is needed"):
        read_settings(Options())


# Files.


@pytest.mark.parametrize("path", ["cert.pem", "./cert.pem", "../cert.pem", "/etc/acme/", "/", "~/cert.pem"])
@pytest.mark.parametrize("name", ["auth-path", "cert-path", "key-path", "ca-file"])
def test_what_is_no_path(name: str, path: str) -> None:
    assert fault(**{name.replace("-", "_"): path})[0] == name


def test_paths_in_their_plain_form() -> None:
    assert read(cert_path="/etc//acme/./x/../c.pem").cert_path == "/etc/acme/c.pem"


@pytest.mark.parametrize("changes", [
    {"cert_path": "/etc/acme/key.pem"}, {"auth_path": "/etc/acme/key.pem"},
    {"cert_path": "/etc/acme/x/../account.pem"}, {"auth_path": "/x", "cert_path": "/x", "key_path": "/x"}])
def test_one_file_for_two_things(changes: Dict[str, Value]) -> None:
    assert fault(**changes)[0] == "auth-path"


@pytest.mark.parametrize("auth, cert, key", [
    ("cert.pem.acme", "cert.pem", "key.pem"), ("cert.pem.upd", "cert.pem", "key.pem"),
    ("key.pem.upd", "cert.pem", "key.pem"), ("account.pem", "key.pem.upd", "key.pem"),
    ("account.pem", "x", "x.upd"), ("account.pem", "x", "x.acme")])
def test_a_file_that_is_made_for_another_one(auth: str, cert: str, key: str) -> None:
    """What waits for the next start, and the state, have names that are made of these."""
    with pytest.raises(OptionError):
        read(auth_path=f"/a/{auth}", cert_path=f"/a/{cert}", key_path=f"/a/{key}")


def test_the_files_that_belong_to_a_certificate() -> None:
    assert BESIDE == (UPD, OLD, NEW, STATE) == (".upd", ".old", ".new", ".acme")
    assert sorted(files_of("/a/c", "/b/k")) == [
        "/a/c", "/a/c.acme", "/a/c.new", "/a/c.old", "/a/c.upd", "/b/k", "/b/k.new", "/b/k.old", "/b/k.upd"]


@pytest.mark.parametrize("end", [*BESIDE, ""])
@pytest.mark.parametrize("of, other", [
    ("cert", "auth"), ("key", "auth"), ("cert", "key"), ("key", "cert"), ("auth", "cert"), ("auth", "key")])
def test_each_file_that_is_kept_beside_one(of: str, other: str, end: str) -> None:
    """But for those that there are not: a key has no state, an account nothing beside it."""
    changes = {f"{of}_path": "/a/x", f"{other}_path": f"/a/x{end}"}
    if end and (of == "auth" or (of == "key" and end == STATE)):
        assert read(**changes)
    else:
        option, why = fault(**changes)
        assert option == "auth-path"
        assert all(each in why for each in BESIDE)


# The CA.


@pytest.mark.parametrize("url", ["http://ca.test/dir", "ca.test/dir", "ftp://ca.test", "https:/ca.test", "x"])
def test_only_https(url: str) -> None:
    assert fault(directory_url=url) == ("directory-url", "must begin with https:// (RFC 8555 6.1)")


def test_the_scheme_in_any_case() -> None:
    assert read(directory_url="HTTPS://ca.test/dir").directory_url == "HTTPS://ca.test/dir"


@pytest.mark.parametrize("challenge", ["", "dns", "HTTP-01", "tls-sni-01", "http-01,dns-01"])
def test_unknown_challenges(challenge: str) -> None:
    option, why = fault(challenge=challenge)
    assert option == "challenge"
    assert why == f'"{challenge}" is none of http-01, tls-alpn-01, dns-01'


@pytest.mark.parametrize("challenge", [HTTP_01, TLS_ALPN_01])
def test_a_hook_is_for_dns_01(challenge: str) -> None:
    assert read(challenge=challenge).challenge == challenge
    assert fault(challenge=challenge, dns_hook="/bin/hook")[0] == "dns-hook"


def test_dns_01_needs_a_hook() -> None:
    assert fault(challenge=DNS_01) == ("dns-hook", "is needed for dns-01")
    assert fault(challenge=DNS_01, dns_hook="hook")[0] == "dns-hook"
    assert read(**DNS).dns_hook == "/usr/bin/hook"


# Names.


@pytest.mark.parametrize("changes, names", [
    ({"common_name": "W.Test"}, ("w.test",)),
    ({"common_name": "w.test."}, ("w.test",)),
    ({"common_name": " w.test "}, ("w.test",)),
    ({"common_name": "localhost"}, ("localhost",)),
    ({"common_name": "xn--bcher-kva.example"}, ("xn--bcher-kva.example",)),
    ({"common_name": "1and1.test"}, ("1and1.test",)),
    ({"common_name": "1.2.3.4.in-addr.arpa"}, ("1.2.3.4.in-addr.arpa",)),
    ({"common_name": LONG_NAME}, (LONG_NAME,)),
    ({"common_name": f"{LABEL}.test"}, (f"{LABEL}.test",)),
    ({"alt_names": "b.test"}, (NAME, "b.test")),
    ({"alt_names": "b.test,c.test, d.test"}, (NAME, "b.test", "c.test", "d.test")),
    ({"alt_names": "b.test c.test\td.test"}, (NAME, "b.test", "c.test", "d.test")),
    ({"alt_names": ",, b.test ,"}, (NAME, "b.test")),
    ({"alt_names": ["c.test", "b.test"]}, (NAME, "c.test", "b.test")),
    ({"alt_names": ["c.test,b.test", "a.test"]}, (NAME, "c.test", "b.test", "a.test")),
    ({"alt_names": ["", " , "]}, (NAME,)),
    ({"alt_names": "B.test,b.TEST.,W.TEST,b.test"}, (NAME, "b.test")),
    ({"common_name": "*.w.test", "alt_names": "w.test", **DNS}, ("*.w.test", "w.test")),
])
def test_names(changes: Dict[str, Value], names: Tuple[str, ...]) -> None:
    assert read(**changes).names == names


BAD_NAMES = ["1.2.3.4", "127.0.0.1", "2130706433", "::1", "[::1]", "fe80::1%eth0", "a_b.test", "-a.test",
             "a-.test", "a..test", ".test", "a.test..", "*", "a b", "a/b", "a:80", "https://a.test",
             "b\u00fccher.test",
             "a\0b", "a\u0661.test", f"{LABEL}a.test", LONG_NAME + "a", "@names", "$x", "a#b", "a=b", "DNS:a"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_what_is_no_name(name: str) -> None:
    assert fault(common_name=name)[0] == "common-name"
    if " " not in name:
        assert fault(alt_names=f"b.test,{name}")[0] == "alt-names"
        assert fault(alt_names=[name])[0] == "alt-names"


@pytest.mark.parametrize("name", ["a.1", "1.2.3.a.4", "a.test.0", "*.1", "a.b.007", "a.1."])
def test_a_name_that_ends_like_an_address(name: str) -> None:
    """No CA takes it, nor does net/openssl.py, which says so by ValueError."""
    assert fault(common_name=name)[0] == "common-name"


@pytest.mark.parametrize("challenge", [HTTP_01, TLS_ALPN_01])
@pytest.mark.parametrize("option", ["common-name", "alt-names"])
def test_a_wildcard_is_proved_by_dns_only(challenge: str, option: str) -> None:
    changes = {"challenge": challenge, option.replace("-", "_"): "*.w.test"}
    assert fault(**changes) == (option, 'a name with a wildcard needs "challenge": "dns-01"')
    assert "*.w.test" in read(**{**changes, **DNS}).names


@pytest.mark.parametrize("name", ["a.*.test", "*a.test", "*.*.test", "*.", "w.*"])
def test_wildcards_that_are_none(name: str) -> None:
    assert fault(common_name=name, **DNS)[0] == "common-name"


def test_as_many_names_as_a_ca_takes() -> None:
    more = [f"n{number}.test" for number in range(MAX_NAMES)]
    assert len(read(alt_names=more[1:]).names) == MAX_NAMES
    assert len(read(alt_names=[*more[1:], *more[1:]]).names) == MAX_NAMES
    assert fault(alt_names=more) == ("alt-names", "a certificate has at most 100 names")


# The account.


@pytest.mark.parametrize("email", ["a@b", "first.last+tag@mail.example.org", "o'neill@x.test", "1@x"])
def test_addresses_for_email(email: str) -> None:
    assert read(email=email).email == email


@pytest.mark.parametrize("email", ["admin", "@w.test", "admin@", "a b@w.test", "a@w.test,b@w.test", "a@b@c",
                                   "a@w.test;b@w.test", "a@w.test\nX: y", "b\u00fc@w.test",
                                   "a,b@w.test", "a@w.test?cc=b@w.test", "<a@w.test>", "a@w_test",
                                   "a%40b@w.test", "a/b@w.test", "a&b@w.test", "\"a\"@w.test", "a@[1.2.3.4]",
                                   "a@w.test#x"])
def test_what_is_no_address_for_email(email: str) -> None:
    assert fault(email=email)[0] == "email"


@pytest.mark.parametrize("email", ["a?cc=b@w.test", "a?subject=x@w.test", "mailto:a@w.test"])
def test_more_than_an_address(email: str) -> None:
    """RFC 8555 7.3: a contact MUST NOT contain "hfields" of RFC 6068, which begin with "?"; and what is a URL
    already would become "mailto:mailto:..."."""
    assert fault(email=email)[0] == "email"


@pytest.mark.parametrize("hmac, key", [
    ("AQID", b"\1\2\3"), ("AQ", b"\1"), ("AQ==", b"\1"), ("AQI=", b"\1\2"), ("-_-_", b"\xfb\xff\xbf"),
    ("+/+/", b"\xfb\xff\xbf"), (" AQID ", b"\1\2\3"),
    (base64.b64encode(bytes(MAX_HMAC)).decode(), bytes(MAX_HMAC))])
def test_an_external_account(hmac: str, key: bytes) -> None:
    assert read(eab_kid="kid", eab_hmac=hmac).binding == ("kid", key)


@pytest.mark.parametrize("hmac", ["A", "AQIDB", "a b", "=", "====", "AQ$D", "\u00e4",
                                  base64.b64encode(bytes(MAX_HMAC + 1)).decode()],
                         ids=lambda hmac: ascii(hmac)[:20])
def test_what_is_no_key_of_an_external_account(hmac: str) -> None:
    option, why = fault(eab_kid="kid", eab_hmac=hmac)
    assert option == "eab-hmac"
    assert hmac not in why or hmac in "=A"      # it is a secret


def test_an_external_account_has_both() -> None:
    assert fault(eab_kid="kid") == ("eab-hmac", "is needed, too: a CA gives both together")
    assert fault(eab_hmac="AQID") == ("eab-kid", "is needed, too: a CA gives both together")
    assert read(eab_kid="", eab_hmac="").binding is None


# When to renew.


@pytest.mark.parametrize("text, seconds", [
    ("", 0), (" ", 0), ("30d", 30 * DAY), ("45", 45 * DAY), ("36h", 36 * HOUR), (" 1d ", DAY), ("1h", HOUR),
    ("007", 7 * DAY), ("99999d", 99999 * DAY)])
def test_renew_before(text: str, seconds: float) -> None:
    assert read(renew_before=text).renew_before == seconds


@pytest.mark.parametrize("text", ["0", "0d", "00h", "-1", "1.5d", "30 d", "30D", "1w", "1m", "d", "h", "abc",
                                  "1d1h", "100000", "\u0663d", "30d\n30d", "1e3"])
def test_what_is_no_time(text: str) -> None:
    option, why = fault(renew_before=text)
    assert option == "renew-before"
    assert 'write "30d" for 30 days, or "36h"' in why


# The mark.


@pytest.mark.parametrize("changes", [
    {"directory_url": "https://other.test/dir"}, {"common_name": "b.test"}, {"alt_names": "b.test"},
    {"email": "b@w.test"}, {"challenge": TLS_ALPN_01}, DNS, {"ca_file": "/etc/ca.pem"},
    {"eab_kid": "kid", "eab_hmac": "AQID"}])
def test_something_else_is_asked_for(changes: Dict[str, Value]) -> None:
    assert read(**changes).mark != read().mark


@pytest.mark.parametrize("changes", [
    {"auth_path": "/x/a"}, {"cert_path": "/x/c"}, {"key_path": "/x/k"}, {"renew_before": "10d"},
    {"country": "DE"}, {"common_name": "W.TEST."}, {"alt_names": "w.test"}])
def test_the_same_is_asked_for(changes: Dict[str, Value]) -> None:
    assert read(**changes).mark == read().mark


def test_the_mark_tells_no_secret_and_not_of_one() -> None:
    one, other = [read(eab_kid="kid", eab_hmac=hmac) for hmac in ("AQID", "AQIE")]
    assert one.mark == other.mark
    assert one.mark != read(eab_kid="dik", eab_hmac="AQID").mark


def test_names_do_not_run_together_in_the_mark() -> None:
    more = ("", "b.test", "c.test", "b.test,c.test", "c.test,b.test")
    assert len({read(alt_names=names).mark for names in more}) == len(more)
    assert read(**DNS).mark != read(challenge=DNS_01, dns_hook="/usr/bin/other").mark
