"""From a configuration to vhosts, mounts, handlers and logs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from lwsws.core.vhost import MountPoint, Vhost, VhostSet
from lwsws.handlers.attempts import MAX_FAILURES as GUESSES
from lwsws.handlers.callback import CallbackHandler
from lwsws.handlers.cgi import CgiHandler
from lwsws.handlers.file import FileHandler
from lwsws.handlers.proxy import ProxyHandler
from lwsws.handlers.redirect import RedirectHandler
from lwsws.handlers.unavailable import UnavailableHandler
from lwsws.net.keeper import LOG, READ, OwnKeeper
from lwsws.net.reactor import Reactor
from lwsws.roles.proxy_header import ProxyHeaderRole
from lwsws.server.build import BuildError, Listening, Site, build, prepare
from tests.support.certificates import Certificates
from tests.support.docroot import open_fds
from tests.support.peer import Bench, load_config, write_config


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor()
    yield reactor
    reactor.close()


class Builder:
    """Builds sites and closes their logs."""

    def __init__(self, directory: Path, reactor: Reactor) -> None:
        self.directory = directory
        self.reactor = reactor
        self.built: Tuple[Site, ...] = ()

    def site(self, *vhosts: Dict[str, Any], **settings: Any) -> Site:
        """The site of these vhosts; those without name and port get a.test and 7681."""
        complete = [{"name": "a.test", "port": "7681", "noipv6": "1", **vhost} for vhost in vhosts]
        named = {key.replace("_", "-"): value for key, value in settings.items()}
        site = build(load_config(write_config(self.directory / "etc", complete, named)), self.reactor)
        self.built += (site,)
        return site

    def vhost(self, vhost: Dict[str, Any], **settings: Any) -> Vhost:
        """The only vhost of such a site."""
        return self.site(vhost, **settings).listening[0].vhosts[0]

    def close(self) -> None:
        """Close the logs."""
        for site in self.built:
            for access_log in site.access_logs:
                access_log.close()


def plain_set(listening: Listening) -> VhostSet:
    """The vhosts as plain http meets them there."""
    vhosts = listening.reception.plain
    assert vhosts is not None
    return vhosts


@pytest.fixture
def builder(tmp_path: Path, reactor: Reactor) -> Iterator[Builder]:
    builder = Builder(tmp_path, reactor)
    yield builder
    builder.close()


def mount(mountpoint: str = "/", origin: str = "file:///srv/www", **keys: Any) -> Dict[str, Any]:
    named = {key.replace("_", "-"): value for key, value in keys.items()}
    return {"mountpoint": mountpoint, "origin": origin, **named}


def match(vhost: Vhost, path: str) -> MountPoint:
    found = vhost.routes.match(path)
    assert found is not None
    return found


# What is not served yet.


def test_what_is_meant_for_a_raw_protocol_is_never_served_as_http(builder: Builder) -> None:
    raw = {"listen-accept-role": "raw-skt", "listen-accept-protocol": "x", "apply-listen-accept": "1"}
    # Nor is another vhost that shares its port, whose first vhost it is.
    site = builder.site({"name": "b.test", "port": "443", **raw}, {"name": "c.test", "port": "443"}, {})
    assert [str(item.endpoint) for item in site.listening] == ["0.0.0.0:7681"]
    where = f"{builder.directory}/etc/conf.d/test:1:"
    left_out, = site.warnings
    assert left_out.startswith(where)
    reason = "there is no protocol for its raw connections"
    assert left_out.endswith(f": vhosts[0]: not listening for b.test: {reason}")


@pytest.mark.parametrize("keys", [
    {"host-ssl-cert": "/nowhere/c", "host-ssl-key": "/nowhere/k"}, {"host-ssl-cert": "/nowhere/c"}])
def test_without_its_certificate_nothing_is_built(builder: Builder, keys: Dict[str, Any]) -> None:
    with pytest.raises(BuildError, match=r"test:1:\d+: vhosts\[0\]: there is no file '/nowhere/c'"):
        builder.site({"name": "b.test", "port": "443", **keys}, {})


def test_the_first_vhost_of_a_port_decides_whom_to_believe_even_if_it_is_not_served(
    builder: Builder, certificates: Certificates
) -> None:
    """LESSONS 3.33."""
    tls = {"port": "443", "host-ssl-cert": str(certificates.a.cert), "host-ssl-key": str(certificates.a.key)}
    raw = {"listen-accept-protocol": "x", "apply-listen-accept": "1", "proxy-protocol-from": "192.0.2.1"}
    site = builder.site({"name": "b.test", **tls, **raw}, tls)
    first_role = site.listening[0].reception.first_role
    assert type(first_role(("192.0.2.1", 1))) is ProxyHeaderRole
    assert type(first_role(("192.0.2.2", 1))) is not ProxyHeaderRole


def test_certificates_that_may_come_later(builder: Builder) -> None:
    site = builder.site({"port": "443", "host-ssl-cert": "/nowhere/c", "ignore-missing-cert": "1"}, {})
    assert [str(item.endpoint) for item in site.listening] == ["0.0.0.0:443", "0.0.0.0:7681"]
    contexts = [vhost.tls.context for item in site.listening for vhost in item.vhosts if vhost.tls]
    assert contexts == [None]


def test_warnings_name_file_and_line_of_what_comes_later(builder: Builder) -> None:
    site = builder.site({"mounts": [mount(), mount("/c", "gzip:///x")]})
    where = f"{builder.directory}/etc/conf.d/test:1:"
    assert all(warning.startswith(where) for warning in site.warnings)
    text = "\n".join(site.warnings)
    assert "vhosts[0].mounts[1].origin: gzip:// is not served by this version" in text


def test_a_configuration_of_what_is_served_warns_of_nothing(builder: Builder) -> None:
    assert builder.site({"mounts": [mount()], "access-log": str(builder.directory / "log")}).warnings == ()


# Vhosts and listeners.


def test_vhosts_share_an_endpoint_in_the_order_of_the_configuration(builder: Builder) -> None:
    site = builder.site({"name": "b.test"}, {"name": "c.test", "port": "7682"}, {"name": "a.test"})
    names = {str(item.endpoint): [vhost.name for vhost in item.vhosts] for item in site.listening}
    assert names == {"0.0.0.0:7681": ["b.test", "a.test"], "0.0.0.0:7682": ["c.test"]}
    for item in site.listening:
        assert [config.name for config in item.configs] == [vhost.name for vhost in item.vhosts]
        assert plain_set(item).vhosts == item.vhosts
        assert plain_set(item).default is item.vhosts[0]


def test_a_vhost_of_several_endpoints_is_built_once(builder: Builder) -> None:
    first, second = builder.site({"noipv6": "0"}).listening
    assert first.vhosts == second.vhosts
    # The bytes of a request do not say where it came in.
    assert plain_set(first).answers is not plain_set(second).answers


def test_what_a_vhost_is_told(builder: Builder) -> None:
    vhost = builder.vhost({"keepalive-timeout": "7", "error-document-404": "/e", "strict-host-check": "1",
                           "max-body": "9"})
    told = vhost.keepalive, vhost.error_document, vhost.strict_host, vhost.max_body, vhost.access_log
    assert told == (7, "/e", True, 9, None)


# Mounts.


@pytest.mark.parametrize("origin, kind", [
    ("file:///srv/www", FileHandler),
    (">http://b.test/", RedirectHandler),
    ("cgi:///bin/true", CgiHandler),
    ("http://127.0.0.1:9/", ProxyHandler),
    ("http://+/run/a.sock:/", ProxyHandler),
    ("https://127.0.0.1:9/", UnavailableHandler),
    ("callback://p", CallbackHandler),
    ("gzip:///srv/www", UnavailableHandler),
])
def test_the_handler_of_each_kind_of_origin(builder: Builder, origin: str, kind: type) -> None:
    found = match(builder.vhost({"mounts": [mount(origin=origin)]}), "/x")
    assert type(found.handler) is kind
    assert found.origin == origin


def test_mounts_go_by_their_own_times_and_sizes_or_by_those_of_the_vhost(builder: Builder) -> None:
    vhost = builder.vhost({"keepalive-timeout": "7", "max-body": "9", "mounts": [
        mount("/own", keepalive_timeout="3", max_body="0"), mount()]})
    own, other = match(vhost, "/own"), match(vhost, "/")
    assert (own.prefix, own.keepalive, own.max_body, own.exact) == ("/own", 3, 0, False)
    assert (other.prefix, other.keepalive, other.max_body) == ("", 7, 9)


def test_an_exact_mount(builder: Builder) -> None:
    vhost = builder.vhost({"mounts": [mount("/x", exact_match="1")]})
    assert match(vhost, "/x").exact
    assert vhost.routes.match("/x/y") is None


def test_fields_of_server_vhost_and_mount_in_this_order(builder: Builder) -> None:
    vhost = builder.vhost({"sts": "1", "headers": [{"X-A": "vhost"}, {"X-B": "vhost"}], "mounts": [
        mount("/own", headers=[{"x-a": "mount"}]), mount()]}, server_string="me")
    sts = b"Strict-Transport-Security: max-age=15768000 ; includeSubDomains\r\n"
    assert vhost.headers.fixed == b"Server: me\r\n" + sts + b"X-A: vhost\r\nX-B: vhost\r\n"
    assert match(vhost, "/own").headers.fixed == b"Server: me\r\n" + sts + b"X-B: vhost\r\nx-a: mount\r\n"
    # LESSONS 2: nothing of one mount leaks into the next.
    assert match(vhost, "/").headers.fixed == vhost.headers.fixed


def test_without_server_string_no_server_field(builder: Builder) -> None:
    assert builder.vhost({}).headers.fixed == b""


# Files that are shared.


def test_vhosts_with_one_access_log_share_it(builder: Builder) -> None:
    path = str(builder.directory / "log")
    site = builder.site({"access-log": path}, {"name": "b.test", "access-log": path},
                        {"name": "c.test", "access-log": f"{path}2"})
    logs = [vhost.access_log for vhost in site.listening[0].vhosts]
    assert logs == [site.access_logs[0], site.access_logs[0], site.access_logs[1]]
    assert [log.path for log in site.access_logs] == [path, f"{path}2"]
    assert os.path.exists(path)


def test_an_access_log_that_cannot_be_opened(builder: Builder) -> None:
    with pytest.raises(OSError, match="nowhere") as caught:
        builder.site({"access-log": str(builder.directory / "nowhere" / "log")})
    assert caught.value.filename == str(builder.directory / "nowhere" / "log")


def test_mounts_behind_one_password_file_share_what_is_known_of_it(tmp_path: Path) -> None:
    """Guesses at one mount count for the other as well (LESSONS 3.28)."""
    for name in ("pw", "pw2"):
        (tmp_path / name).write_text("joe:secret\n")
    keys = [("/a", "pw"), ("/b", "pw"), ("/c", "pw2")]
    mounts = [mount(where, basic_auth=str(tmp_path / name)) for where, name in keys]
    bench = Bench(tmp_path, {"mounts": mounts})
    try:
        peer = bench.connect()
        wrong = "Authorization: Basic am9lOmd1ZXNz"
        answers = [peer.get("/a/", wrong).status for _ in range(GUESSES)]
        assert set(answers) == {401}
        assert [peer.get(f"{where}/", wrong).status for where, _ in keys] == [429, 429, 401]
    finally:
        bench.close()


def test_nothing_is_opened_but_logs(builder: Builder) -> None:
    before = open_fds()
    builder.site({"mounts": [mount(), mount("/p", basic_auth="/pw")]})
    assert open_fds() == before


class Announced(OwnKeeper):
    """Remembers what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: List[Tuple[str, str]] = []

    def allow(self, what: str, path: str) -> None:
        self.seen.append((what, path))


def test_what_is_needed_later_is_announced(
        tmp_path: Path, reactor: Reactor, certificates: Certificates) -> None:
    pair = certificates.a
    secure = {"name": "a.test", "port": "443", "host-ssl-cert": str(pair.cert), "host-ssl-key": str(pair.key),
              "access-log": f"{tmp_path}/a.log", "ws-protocols": [{"lws-echo": {"basic-auth": "/ws/users"}}],
              "mounts": [{"mountpoint": "/", "origin": f"file://{tmp_path}", "basic-auth": "/users"}]}
    plain = {"name": "b.test", "port": "80", "access-log": "/dev/stdout"}
    keeper = Announced()
    prepared = prepare(load_config(write_config(tmp_path / "etc", [secure, plain])), reactor, keeper=keeper)
    for access_log in prepared.shared.access_logs.values():
        access_log.close()
    # Not a log that is a descriptor of ours.
    assert sorted(keeper.seen) == sorted([
        (LOG, f"{tmp_path}/a.log"), (READ, str(pair.cert)), (READ, str(pair.key)), (READ, "/users"),
        (READ, "/ws/users")])
