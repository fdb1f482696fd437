"""`--explain`, read as an administrator does; and it never says anything else than what is served."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

import pytest

from lwsws.config.model import Config, ProtocolConfig
from lwsws.core.protocol import Protocol
from lwsws.core.session import HttpRequest, HttpSession
from lwsws.server.explain import explain
from lwsws.server.plugins import Plugins
from lwsws.server.verify import verify
from tests.support.archives import run_from, write_archive
from tests.support.certificates import Certificates, Pair
from tests.support.docroot import file_mount, make_docroot, open_fds
from tests.support.peer import Bench, load_config, write_config


class Site(NamedTuple):
    """A configuration, and the directory in which it and its files are."""

    config: Config
    home: Path

    def ask(self, url: str) -> str:
        """The explanation of `url`, without the directory's name; must be one of something served."""
        return self.lines(url, True)

    def ask_refused(self, url: str) -> str:
        """The same of something that is not served."""
        return self.lines(url, False)

    def lines(self, url: str, expected: bool) -> str:
        lines, served = explain(self.config, url)
        text = "".join(f"{line}\n" for line in lines).replace(str(self.home), "")
        assert served is expected, text
        return text


def vhosts(home: Path, docroot: Path, pair: Pair) -> List[Dict[str, Any]]:
    """Vhosts with each kind of listener and of mount."""
    root = file_mount("/", docroot)
    mounts = [
        root,
        file_mount("/deep/er", docroot),
        file_mount("/exact", docroot, default="ten.txt", exact_match="1"),
        file_mount("/auth", docroot, basic_auth=str(home / "pw")),
        file_mount("/all", docroot, dotfiles="1"),
        file_mount("/nolinks", docroot, follow_symlinks="no"),
        file_mount("/gone", home / "nowhere"),
        {"mountpoint": "/r", "origin": ">https://else.test/x", "append-path": "1"},
        {"mountpoint": "/cgi", "origin": "cgi:///bin/true"},
        {"mountpoint": "/bin", "origin": f"cgi://{docroot.parent}/cgi-bin", "default": "dos"},
        {"mountpoint": "/proxy", "origin": "http://127.0.0.1:9/"},
        {"mountpoint": "/form", "origin": "callback://protocol-post-demo"},
        {"mountpoint": "/plugin", "origin": "callback://silent", "basic-auth": str(home / "pw")},
    ]
    tls = {"port": "7443", "host-ssl-cert": str(pair.cert), "host-ssl-key": str(pair.key), "mounts": [root]}
    raw = {"apply-listen-accept": "1", "listen-accept-protocol": "raw-test"}
    sock = {"unix-socket": "1", "interface": str(home / "u.sock")}
    return [
        {"name": "a.test", "port": "7681", "mounts": mounts, "access-log": str(home / "access.log"),
         "ws-protocols": [{"protocol-post-demo": {}, "silent": {}}]},
        {"name": "b.test", "port": "7681", "error-document-404": "/plain.txt", "mounts": [root]},
        {"name": "c.test", "port": "7681", "error-document-404": "/no.html",
         "mounts": [file_mount("/c", docroot)]},
        {"name": "strict.test", "port": "7682", "noipv6": "1", "strict-host-check": "1", "mounts": [root]},
        {"name": "u.test", **sock, "mounts": [root]},
        {"name": "v.test", **sock, "mounts": []},
        {"name": "tls.test", **tls, "allow-non-tls": "1", "redirect-http": "1"},
        {"name": "cert.test", **tls, "client-cert-required": "1", "host-ssl-ca": str(pair.cert)},
        {"name": "rawtls.test", **tls, **raw},
        {"name": "raw.test", "port": "7685", **raw},
        {"name": "faulty.test", "port": "7686", **raw, "listen-accept-protocol": "none-such"},
        {"name": "one.test", "port": "7684", "interface": "127.0.0.1", "mounts": [root]},
        {"name": "two.test", "port": "7684", "interface": "127.0.0.2", "mounts": [root]},
        {"name": "passed.test", "port": "7687", "listen-fd": "web", "mounts": [root]},
    ]


@pytest.fixture
def site(tmp_path: Path, certificates: Certificates) -> Site:
    docroot = make_docroot(tmp_path)
    (tmp_path / "pw").write_text("joe:secret\n")
    (tmp_path / "pw").chmod(0o600)
    configured = vhosts(tmp_path, docroot, certificates.a)
    directory = write_config(tmp_path / "etc", configured, {"server-string": "test"})
    return Site(load_config(directory), tmp_path)


def test_a_file_with_everything_on_the_way_to_it(site: Site) -> None:
    """The whole text, once."""
    told = site.ask("http://a.test:7681/deep/er/plain.txt")
    places = [vhost.where for vhost in site.config.vhosts[:1]] + [site.config.vhosts[0].mounts[1].where]
    vhost, mount = [str(place).replace(str(site.home), "") for place in places]
    assert told == (
        "request   GET /deep/er/plain.txt HTTP/1.1  Host: a.test:7681  Accept-Encoding: gzip, br, zstd  "
        "Connection: close\n"
        "listener  0.0.0.0:7681, [::]:7681\n"
        f"vhost     a.test  ({vhost}: vhosts[0]; its name is the one in Host)\n"
        f"mount     /deep/er  ({mount}: vhosts[0].mounts[1]; the longest mountpoint that fits)\n"
        "handler   file for file:///www\n"
        "file      /www/plain.txt\n"
        "answer    200 OK\n"
        "          Content-Type: text/plain\n"
        "          Cache-Control: no-store\n"
        "          Content-Length: 12\n")


# Listeners and vhosts.


@pytest.mark.parametrize("url, name, why", [
    ("http://b.test:7681/", "b.test", "its name is the one in Host"),
    ("http://www.b.test:7681/", "b.test", "www.b.test is a subdomain of its name"),
    ("http://who.test:7681/", "a.test", "no vhost here is called who.test, so the first one answers"),
    ("/", "a.test", "its name is the one in Host"),
])
def test_the_vhost_and_why(site: Site, url: str, name: str, why: str) -> None:
    told = site.ask(url)
    assert f"vhost     {name}  (" in told
    assert f"; {why})" in told


def test_strict_host_check(site: Site) -> None:
    assert "answer    200" in site.ask("http://strict.test:7682/")
    told = site.ask_refused("http://who.test:7682/")
    assert "no vhost here is called who.test, so the first one refuses, by strict-host-check)" in told
    assert "answer    421 Misdirected Request: no site of this name here" in told
    assert "mount" not in told


def test_nobody_listens_there(site: Site) -> None:
    told = site.ask_refused("http://a.test:80/")
    assert "listener  none: no vhost listens on port 80; there is 0.0.0.0:7681, [::]:7681, 0.0" in told
    assert "none: no vhost listens on ::1 port 7682" in site.ask_refused("http://[::1]:7682/")
    assert "request   none: 'a b' is no host" in site.ask_refused("http://a b/")


def test_vhosts_of_one_port_at_different_addresses(site: Site) -> None:
    told = site.ask("http://two.test:7684/plain.txt")
    assert "(which of the listeners below it is, depends on the address of two.test)" in told
    first, second = told.split("\nlistener")[1:]
    assert first.startswith("  127.0.0.1:7684\nvhost     one.test")
    assert second.startswith("  127.0.0.2:7684\nvhost     two.test")
    alone = site.ask("http://127.0.0.2:7684/plain.txt")
    assert alone.count("listener") == 1
    assert "vhost     two.test" in alone


def test_unix_sockets(site: Site) -> None:
    told = site.ask(f"unix:{site.home}/u.sock:/plain.txt")
    assert "listener  unix:/u.sock\nvhost     u.test" in told
    assert "answer    200 OK" in told
    assert "vhost     v.test" in site.ask_refused(f"unix:{site.home}/u.sock:http://v.test/")


def test_a_socket_that_is_passed(site: Site) -> None:
    told = site.ask("http://passed.test:7687/plain.txt")
    assert "listener  systemd:web\nvhost     passed.test" in told
    assert "answer    200 OK" in told


def test_pages_inside_the_archive_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_archive(tmp_path / "x.pyz", {"share/a.txt": b"text", "share/sub/b.txt": b""})
    run_from(monkeypatch, path)
    vhost = {"name": "a.test", "port": "7681", "mounts": [file_mount("/", path / "share")]}
    site = Site(load_config(write_config(tmp_path / "etc", [vhost])), tmp_path)
    assert "file      /x.pyz/share/a.txt\nanswer    200 OK\n" in site.ask("http://a.test:7681/a.txt")
    assert "404 Not Found: there is no such file\n" in site.ask_refused("http://a.test:7681/b.txt")
    assert "404 Not Found: there is no such file, the default" in site.ask_refused("http://a.test:7681/sub/")
    assert verify(site.config) == []


def test_over_tls(site: Site) -> None:
    told = site.ask("https://tls.test:7443/plain.txt")
    assert "\nTLS       with the certificate of tls.test\nvhost     tls.test  (" in told
    assert "answer    200" in told
    told = site.ask("https://cert.test:7443/plain.txt")
    assert "\nTLS       with the certificate of cert.test, which demands one of the client\n" in told
    told = site.ask("https://who.test:7443/")
    assert "TLS       with the certificate of tls.test\n" in told
    assert "no vhost here is called who.test, so the one that TLS chose answers)" in told
    assert "TLS       with the certificate of tls.test\n" in site.ask("https://127.0.0.1:7443/plain.txt")


def test_plain_http_on_a_tls_port(site: Site) -> None:
    told = site.ask("http://tls.test:7443/plain.txt")
    assert "mount     none: it is plain http on a TLS port\n" in told
    assert "answer    301 Moved Permanently\n          Location: https://tls.test:7443/plain.txt\n" in told
    told = site.ask_refused("http://cert.test:7443/")
    assert "answer    421 Misdirected Request: this site is served by https only" in told


def test_raw_listeners(site: Site) -> None:
    assert "answer    none: raw connections only, no http\n" in site.ask_refused("http://raw.test:7685/")
    assert "answer    none: no http over TLS for rawtls.test\n" in site.ask_refused("https://rawtls.test:7443/")
    told = site.ask_refused("http://faulty.test:7686/")
    assert "vhosts[10]: faulty.test does not listen: there is no protocol for its raw connections)" in told
    assert "listener  none: no vhost listens on port 7686" in told


def test_https_on_a_plain_port(site: Site) -> None:
    told = site.ask_refused("https://a.test:7681/")
    assert "answer    none: plain http only, no TLS: ask with http://\n" in told


# Mounts and handlers.


def test_no_mount_fits(site: Site) -> None:
    told = site.ask_refused("http://c.test:7681/other")
    assert "mount     none: no mountpoint fits '/other'\nanswer    404 Not Found\n" in told


def test_an_exact_mount(site: Site) -> None:
    told = site.ask("/exact/")
    assert "vhosts[0].mounts[2]; exactly this path)" in told
    assert "file      /www/ten.txt" in told


def test_a_redirect_shows_where_to(site: Site) -> None:
    told = site.ask("/r/a?b=c")
    assert "handler   redirect for >https://else.test/x\n" in told
    assert "answer    301 Moved Permanently\n          Location: https://else.test/x/a?b=c\n" in told


def test_a_directory_without_slash_shows_where_to(site: Site) -> None:
    told = site.ask("/sub")
    assert "file      /www/sub\n" in told
    assert "answer    301 Moved Permanently\n          Location: http://a.test:7681/sub/\n" in told


def test_basic_auth_and_what_is_behind_it(site: Site) -> None:
    told = site.ask_refused("/auth/plain.txt")
    assert "auth      basic-auth with /pw; this request has no name and password\n" in told
    assert "answer    401 Unauthorized: name and password required\n" in told
    assert 'WWW-Authenticate: Basic realm="lwsws"\n' in told
    assert "logged in 200 OK\n          Content-Type: text/plain\n" in told
    assert "logged in 404 Not Found: there is no such file\n" in site.ask_refused("/auth/nope")
    assert "secret" not in told


def test_which_program_it_would_be(site: Site) -> None:
    told = site.ask("/cgi/a%20b")
    assert "program   /bin/true\n" in told
    assert "SCRIPT_NAME '/cgi', PATH_INFO '/a b'\n" in told


def test_why_there_is_no_program(site: Site) -> None:
    folder = site.home / "cgi-bin"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "dull").write_text("#!/bin/sh\n")
    (folder / "dull").chmod(0o644)
    (folder / "dos").write_text("#!/bin/sh\r\n")
    (folder / "dos").chmod(0o755)
    assert "403 Forbidden: " in site.ask_refused("/bin/dull")
    assert "it is not executable (chmod a+x)" in site.ask_refused("/bin/dull")
    assert "its lines end in CR LF" in site.ask_refused("/bin/dos")
    assert "404 Not Found: " in site.ask_refused("/bin/none")
    assert "301 " in site.ask("/bin")


@pytest.mark.parametrize("url, kind, who", [("/cgi", "cgi", "the program"),
                                            ("/proxy/x", "proxy", "the other server")])
def test_programs_and_other_servers_are_not_asked(site: Site, url: str, kind: str, who: str) -> None:
    told = site.ask(url)
    assert f"handler   {kind} for " in told
    assert f"answer    whatever {who} says; it is not asked here\n" in told
    if kind == "proxy":
        assert "asks      http://127.0.0.1:9/ for /x, with the Host 127.0.0.1:9\n" in told


def test_where_challenges_come_before_the_mounts(site: Site) -> None:
    """Also on a port 80 that is there for nothing else."""
    acme = {name: str(site.home / "acme" / name) for name in ("auth-path", "cert-path", "key-path")}
    acme.update({"common-name": "tls.test", "directory-url": "https://ca.test/", "email": "a@ca.test"})
    said = "acme      if it is an http-01 challenge that is up, that is answered before any mount\n"
    path = "/.well-known/acme-challenge/x"
    assert said not in site.ask_refused(path)
    vhosts = [vhost._replace(ws_protocols=(ProtocolConfig("lws-acme-client", tuple(acme.items())),))
              if vhost.name == "tls.test" else vhost for vhost in site.config.vhosts]
    site = site._replace(config=site.config._replace(vhosts=tuple(vhosts)))
    assert said in site.ask_refused(path)
    assert said not in site.ask_refused("/.well-known/acme-challenge")
    lines = site.ask_refused(f"http://tls.test{path}").splitlines(keepends=True)
    assert lines[lines.index(said) + 1:][:2] == [
        f"mount     none: no mountpoint fits '{path}'\n", "answer    404 Not Found\n"]


# Files.


def test_the_default_of_a_directory(site: Site) -> None:
    assert "file      /www/sub/index.html\nanswer    200 OK\n" in site.ask("/sub/")
    told = site.ask_refused("/nodefault/")
    assert "answer    404 Not Found: there is no such file, the default of its directory\n" in told


@pytest.mark.parametrize("url, why", [
    ("/nope", "404 Not Found: there is no such file\n"),
    ("/.hidden.txt", '404 Not Found: names that begin with a dot are not served; "dotfiles": "1" in'),
    ("/.git/config.txt", "404 Not Found: names that begin with a dot are not served"),
    ("/nolinks/.hidden.txt", "404 Not Found: names that begin with a dot are not served"),
    ("/.well-known/.x/y.txt", "404 Not Found: names that begin with a dot are not served"),
    ("/out.txt", '404 Not Found: a link leads out of /www, to /secret.txt; "follow-symlinks": "yes"'),
    ("/loop.txt", "404 Not Found: a link leads nowhere"),
    ("/nolinks/link.txt", "404 Not Found: there is a link on the way, and the mount has follow-symlinks no"),
    ("/nolinks/dirlink/a.txt", "404 Not Found: there is a link on the way"),
    ("/fifo.txt", "404 Not Found: it is not a regular file"),
    ("/gone/x", "404 Not Found: there is no directory /nowhere"),
    ("/weird.zzz", "415 Unsupported Media Type: Files of this kind are not served here; "),
    ("/%zz", "400 Bad Request: the path '/%zz' has a % without two hex digits"),
])
def test_what_is_refused_and_why(site: Site, url: str, why: str) -> None:
    assert f"answer    {why}" in site.ask_refused(url)


def test_an_unknown_suffix_shows_what_to_configure(site: Site) -> None:
    assert '; "extra-mimetypes": { ".zzz": "the/type" } in the mount' in site.ask_refused("/weird.zzz")


@pytest.mark.parametrize("url", ["/.well-known/note.txt", "/all/.hidden.txt", "/nolinks/plain.txt"])
def test_what_looks_like_it_is_refused_but_is_served(site: Site, url: str) -> None:
    assert "answer    200 OK\n" in site.ask(url)


def test_the_path_as_the_server_sees_it(site: Site) -> None:
    assert "path      '/a b.txt', decoded and without dot segments\n" in site.ask("/sub/../a%20b.txt")
    assert "path " not in site.ask("/plain.txt?q")


def test_a_precompressed_sibling(site: Site) -> None:
    told = site.ask("/pre.js")
    assert "file      /www/pre.js\n" in told
    assert "Content-Encoding: br\n" in told


def test_error_documents(site: Site) -> None:
    told = site.ask_refused("http://b.test:7681/nope")
    assert "404 Not Found: there is no such file\n          with the page of error-document-404, /pl" in told
    told = site.ask_refused("http://c.test:7681/c/nope")
    assert "with the built-in page, for the error-document-404 /no.html cannot be served\n" in told
    assert "error-document-404" not in site.ask_refused("/nope")


# What it must not do.


def test_it_leaves_no_trace(site: Site) -> None:
    before = sorted(os.listdir(site.home)), open_fds()
    site.ask("/plain.txt")
    site.ask("/big.txt")
    site.ask_refused("/auth/nope")
    site.ask(f"unix:{site.home}/u.sock:/plain.txt")
    assert (sorted(os.listdir(site.home)), open_fds()) == before


class Silent(Protocol):
    """Must not be asked."""

    name = "silent"

    def http_request(self, s: HttpSession, request: HttpRequest) -> None:
        """Fail."""
        raise AssertionError("it was asked")


def test_a_bundled_protocol_is_asked_and_a_plugin_is_not(site: Site) -> None:
    """What a plugin does when it is asked, nobody knows."""
    plugins = Plugins({"silent": Silent}, {"silent": "/p/a.py"})
    lines, served = explain(site.config, "/form", lambda: plugins)
    assert "answer    405 Method Not Allowed" in "\n".join(lines) and not served
    lines, served = explain(site.config, "/plugin", lambda: plugins)
    assert "answer    401 Unauthorized: name and password required" in lines
    assert lines[-1] == "logged in whatever the plugin /p/a.py says; it is not asked here"


def test_root_is_given_up_before_anything_is_asked(site: Site) -> None:
    """Who reads the files then finds what has changed until then."""
    def load() -> Plugins:
        (site.home / "www" / "plain.txt").write_text("changed in between\n")
        return Plugins()

    lines, _ = explain(site.config, "/plain.txt", load)
    assert "          Content-Length: 19" in lines


@pytest.mark.parametrize("target", [
    "/", "/sub", "/plain.txt", "/deep/er/ten.txt", "/exact", "/exact/x", "/auth/", "/r/x",
    "/gone/", "/.hidden.txt", "/out.txt", "/weird.zzz", "/nodefault/", "/pre.js", "/big.txt", "/empty.txt",
])
def test_it_says_what_serving_answers(
    site: Site, tmp_path: Path, certificates: Certificates, target: str
) -> None:
    """The same request on a connection gets the status and the fields that were told."""
    bench = Bench(tmp_path / "again", *vhosts(tmp_path, tmp_path / "www", certificates.a)[:1])
    try:
        peer = bench.connect()
        answer = peer.get(target, "Accept-Encoding: gzip, br, zstd", host="a.test:7681")
    finally:
        bench.close()
    told = site.lines(target, answer.status < 400)
    assert f"answer    {answer.status} " in told
    for name in ("Location", "Content-Type", "Content-Encoding", "Content-Length", "Cache-Control"):
        value = answer.get(name)
        assert value is None or f"          {name}: {value}\n" in told
