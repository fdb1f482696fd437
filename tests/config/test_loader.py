"""Whole files and directories: order, merging, leftovers, and that all faults come together."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Dict, List

import pytest

from lwsws.config.loader import Loaded, load, parse_text
from lwsws.config.model import Config, Position

VHOST = '{ "vhosts": [ { "name": "%s", "port": "80" } ] }'

GOOD = """\
# a site
{
  "global": { "server-string": "srv # no comment", "timeout-secs": 7, "username": null },
  "vhosts": [ {
    "name": "Localhost", "port": "7681", "interface": "lo",   # "port": "1"
    "keeplive-timeout": "30",
    "headers": [ { "X-A": "q\\"q\\\\b\\u0041\\/t" } ],
    "ws-protocols": [ { "lws-mirror-protocol": { "status": "ok", "default": "1" },
                        "lws-server-status": { "filespath": "/a", "filespath": "/b" } },
                      { "lws-mirror-protocol": { "late": 1 } } ],
    "mounts": [ { "mountpoint": "/", "origin": "file://_lws_ddir_/x_lws_ddir_", "default": "/" } ],
    "mounts": [ { "mountpoint": "/two/", "origin": "^https://localhost", "keepalive_timeout": 5 } ]
  } ]
}
"""


def sound(loaded: Loaded) -> Config:
    """The configuration, which must have loaded without a fault."""
    assert [str(fault) for fault in loaded.faults] == []
    assert loaded.config is not None
    return loaded.config


def texts(loaded: Loaded) -> List[str]:
    return [str(fault) for fault in loaded.faults]


def write(directory: Path, files: Dict[str, str]) -> str:
    """Write the files of a configuration directory; returns its name."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return str(directory)


def test_a_file_with_everything() -> None:
    loaded = parse_text(GOOD, "site", "/share")
    assert texts(loaded) == ["site:3:83: global.username: null says nothing: leave the key out"]
    config = loaded.config
    assert config is not None
    assert config.globals.server_string == "srv # no comment"
    assert config.globals.timeout_secs == 7
    vhost, = config.vhosts
    assert (vhost.name, vhost.port, vhost.interface, vhost.keepalive_timeout) == ("localhost", 7681, "lo", 30)
    assert vhost.headers == (("X-A", 'q"q\\bA/t'),)
    assert [(protocol.name, protocol.options) for protocol in vhost.ws_protocols] == [
        ("lws-mirror-protocol", (("status", "ok"), ("default", "1"), ("late", "1"))),
        ("lws-server-status", (("filespath", "/a"), ("filespath", "/b")))]
    root, two = vhost.mounts
    assert (root.mountpoint, root.origin.target, root.default) == ("/", "/share/x/share", "index.html")
    assert (two.mountpoint, two.origin.target, two.keepalive_timeout) == ("/two", "https://localhost", 5)


def test_records_know_where_they_come_from() -> None:
    loaded = parse_text(GOOD, "site")
    assert loaded.config is not None
    vhost = loaded.config.vhosts[0]
    assert (vhost.path, vhost.where) == ("vhosts[0]", Position("site", 4, 15))
    assert vhost.positions["port"] == Position("site", 5, 34)
    assert vhost.positions["keepalive-timeout"] == Position("site", 6, 25)
    assert (vhost.mounts[1].path, vhost.mounts[1].where) == ("vhosts[0].mounts[1]", Position("site", 12, 17))
    assert vhost.mounts[1].positions["origin"] == Position("site", 12, 52)
    assert vhost.ws_protocols[1].where == Position("site", 9, 25)
    assert vhost.ws_protocols[1].path == "vhosts[0].ws-protocols.lws-server-status"
    assert loaded.config.globals.positions["timeout-secs"] == Position("site", 3, 68)


def test_nothing_leaks_from_one_mount_to_the_next() -> None:
    """LESSONS section 2: values that are lists bled into following mounts in the original."""
    config = sound(parse_text("""{ "vhosts": [ { "port": "80", "headers": [{"V": "1"}], "mounts": [
        { "mountpoint": "/a", "origin": "cgi:///a", "headers": [{"A": "1"}], "basic-auth": "/pw",
          "extra-mimetypes": {".x": "a/x"}, "cgi-env": [{"E": "1"}], "cache-max-age": "60", "default": "d" },
        { "mountpoint": "/b", "origin": "file:///b" } ] }, { "port": "81" } ] }"""))
    second = config.vhosts[0].mounts[1]
    assert (second.headers, second.extra_mimetypes, second.cgi_env) == ((), (), ())
    assert (second.cache_max_age, second.basic_auth, second.default) == (0, "", "index.html")
    assert config.vhosts[1].headers == ()


def test_the_example_of_the_specification_loads() -> None:
    sound(parse_text("""{ "vhosts": [ { "name": "localhost", "port": "443",
        "host-ssl-key":  "/etc/pki/tls/private/libwebsockets.org.key",
        "host-ssl-cert": "/etc/pki/tls/certs/libwebsockets.org.crt",
        "host-ssl-ca":   "/etc/pki/tls/certs/libwebsockets.org.cer",
        "mounts": [{
          "mountpoint": "/", "origin": "file:///var/www/libwebsockets.org", "default": "index.html"
        }, {
          "mountpoint": "/testserver",
          "origin": "file:///usr/local/share/libwebsockets-test-server",
          "default": "test.html" }],
        # which protocols are enabled for this vhost, and optional
        "ws-protocols": [{ "warmcat,timezoom": { "status": "ok" } }] },
      { "name": "localhost", "port": "80",
        "mounts": [{ "mountpoint": "/", "origin": ">https://localhost" }] } ] }"""))


def test_files_are_read_in_order_and_later_globals_win(tmp_path: Path) -> None:
    directory = write(tmp_path, {
        "conf": '{"global": {"server-string": "one", "timeout-secs": "9", "plugin-dir": "/a"}}',
        "conf.d/20-b": '{"vhosts": [{"name": "b", "port": "80"}], "global": {"server-string": "_lws_ddir_"}}',
        "conf.d/10-a": VHOST % "a",
        "conf.d/9": '{"vhosts": [{"name": "c", "port": "80"}, {"name": "d", "port": "80"}], '
                    '"global": {"server-string": "nine", "plugin-dir": ["/b"]}}',
    })
    config = sound(load(directory, "/share"))
    assert [vhost.name for vhost in config.vhosts] == ["a", "b", "c", "d"]
    assert config.vhosts[3].path == "vhosts[1]"
    assert config.globals.server_string == "nine"
    assert config.globals.timeout_secs == 9
    assert config.globals.plugin_dir == ("/a", "/b")
    assert config.globals.positions["server-string"].file == os.path.join(directory, "conf.d", "9")
    assert config.globals.where.file == os.path.join(directory, "conf")


def test_vhosts_in_conf_alone(tmp_path: Path) -> None:
    assert len(sound(load(write(tmp_path, {"conf": VHOST % "a"}), "")).vhosts) == 1


LEFTOVERS = ["a~", "a.dpkg-old", "a.dpkg-new", "a.dpkg-dist", "a.rpmsave", "a.rpmnew", "a.rpmorig", "a.bak",
             "a.swp", ".a.swp", "a.orig", "a.rej", ".hidden", "#a#"]


@pytest.mark.parametrize("name", LEFTOVERS)
def test_leftovers_are_skipped_with_a_notice(tmp_path: Path, name: str) -> None:
    loaded = load(write(tmp_path, {"conf": VHOST % "a", f"conf.d/{name}": "not { json"}), "")
    assert len(sound(loaded).vhosts) == 1
    notice, = loaded.notices
    assert notice.startswith(os.path.join(str(tmp_path), "conf.d", name) + ": skipped")


def test_what_is_no_regular_file_is_skipped_with_a_notice(tmp_path: Path) -> None:
    directory = write(tmp_path, {"conf": VHOST % "a", "conf.d/a": VHOST % "b"})
    (tmp_path / "conf.d" / "sub").mkdir()
    os.mkfifo(tmp_path / "conf.d" / "pipe")
    os.symlink(tmp_path / "conf.d" / "a", tmp_path / "conf.d" / "link")
    loaded = load(directory, "")
    reasons = [notice.partition(": ")[2] for notice in loaded.notices]
    assert reasons == ["skipped, it is not a regular file"] * 2
    assert loaded.config is not None
    assert len(loaded.config.vhosts) == 3


@pytest.mark.parametrize("text", ["", "\n \n", "# nothing here\n#", "\ufeff"])
def test_empty_files_are_skipped_with_a_notice(tmp_path: Path, text: str) -> None:
    loaded = load(write(tmp_path, {"conf": text, "conf.d/a": VHOST % "a", "conf.d/b": text}), "")
    assert len(sound(loaded).vhosts) == 1
    assert len(loaded.notices) == 2


def test_no_conf_is_fatal_and_conf_d_is_checked_all_the_same(tmp_path: Path) -> None:
    directory = write(tmp_path, {"conf.d/a": '{"vhosts": [{}]}'})
    loaded = load(directory, "")
    assert loaded.config is None
    conf = os.path.join(directory, "conf")
    assert texts(loaded)[0] == f"{conf}: Cannot open {conf}: No such file or directory"
    assert "Port required" in texts(loaded)[1]
    assert len(loaded.faults) == 2


def test_a_dangling_link_in_conf_d_is_fatal(tmp_path: Path) -> None:
    directory = write(tmp_path, {"conf": VHOST % "a", "conf.d/a": VHOST % "b"})
    os.symlink("nowhere", tmp_path / "conf.d" / "link")
    loaded = load(directory, "")
    assert loaded.config is None
    assert "Cannot open" in texts(loaded)[0]


def test_conf_d_that_is_no_directory_is_fatal(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, {"conf": VHOST % "a", "conf.d": ""}), "")
    assert loaded.config is None
    assert "conf.d: Not a directory" in texts(loaded)[0]


def test_faults_of_all_files_come_together_and_in_order(tmp_path: Path) -> None:
    directory = write(tmp_path, {
        "conf": '{"global": {"timeout-secs": "x"},}',
        "conf.d/a": '{"vhosts": [\n{"mounts": [{"mountpoint": "/", "orgin": "file:///x"}]},\n{"port": 0}]}',
        "conf.d/b": '{"vhosts": [{"port": "80"}',
        "conf.d/c": '\n\n[]',
    })
    loaded = load(directory, "")
    assert loaded.config is None
    reported = [text[len(directory) + 1:] for text in texts(loaded)]
    assert [text.split(" ")[0] for text in reported] == [
        "conf:1:33:", "conf.d/a:2:1:", "conf.d/a:2:13:", "conf.d/a:2:33:", "conf.d/a:3:10:", "conf.d/b:1:27:",
        "conf.d/c:3:1:"]
    assert "parsing error: a comma too many" in reported[0]
    assert "Port required" in reported[1]
    assert "mountpoint and origin required: this mount has no origin" in reported[2]
    assert 'unknown key "orgin"; "origin" is probably meant' in reported[3]
    assert "vhosts[1].port" in reported[4]
    assert "parsing error: the file ends" in reported[5]
    assert "a file must be one object" in reported[6]


def test_a_file_that_is_not_utf8_is_a_fault_with_its_line(tmp_path: Path) -> None:
    directory = write(tmp_path, {"conf": VHOST % "a", "conf.d/a": ""})
    (tmp_path / "conf.d" / "a").write_bytes(b'{"vhosts": [\n{"name": "\xe9"}]}')
    loaded = load(directory, "")
    assert loaded.config is None
    assert "a:2:11: parsing error: byte 0xe9 is not UTF-8" in texts(loaded)[0]


@pytest.mark.parametrize("text", ["{}", '{"global": {}}', '{"vhosts": []}'])
def test_no_vhost_at_all(text: str) -> None:
    loaded = parse_text(text, "conf")
    assert loaded.config is None
    assert texts(loaded)[0].startswith("conf: Need at least one vhost")


@pytest.mark.parametrize("text, words", [
    ('{"vhosts": {"port": "1"}}', 'vhosts: must be a list, "vhosts": [ { ... } ], and not an object'),
    ('{"vhosts": ["a"]}', "vhosts[0]: a vhost must be an object"),
    ('{"vhosts": [{"port": 1, "mounts": {"mountpoint": "/"}}]}', "vhosts[0].mounts: must be a list"),
    ('{"vhosts": [{"port": 1, "mounts": [1]}]}', "vhosts[0].mounts[0]: a mount must be an object"),
    ('{"vhosts": [{"port": 1, "ws-protocols": "x"}]}', "vhosts[0].ws-protocols: must be written like"),
    ('{"vhosts": [{"port": 1, "ws-protocols": [{"x": "y"}]}]}', "ws-protocols.x: must be written like"),
    ('{"vhosts": [{"port": 1, "ws-protocols": [{"": {}}]}]}', "a protocol needs a name"),
    ('{"vhosts": [{"port": 1, "ws-protocols": [{"x": {"a": {}}}]}]}', "ws-protocols.x.a: the value"),
    ('{"vhosts": [{"port": 1}], "global": [{}]}', "global: must be an object"),
    ('[{"port": 1}]', "a file must be one object"),
    ('{"vhosts": [{"name": "x"}]}', "vhosts[0]: Port required"),
    ('{"vhosts": [{"port": null}]}', "vhosts[0]: Port required"),
    ('{"vhosts": [{"port": 1, "mounts": [{}]}]}', "this mount has no mountpoint and no origin"),
    ('{"vhosts": [{"port": 1, "mounts": [{"mountpoint": "", "origin": "file:///x"}]}]}', "has no mountpoint"),
    ('{"vhosts": [{"port": 1, "mounts": [{"mountpoint": "/", "origin": "ftp://x"}]}]}', "unsupported protocol://"),
    ('{"vhosts": [{"port": 1},]}', "parsing error"),
])
def test_fatal_faults(text: str, words: str) -> None:
    loaded = parse_text(text)
    assert loaded.config is None
    fatal = [str(fault) for fault in loaded.faults if fault.fatal]
    assert words in fatal[0]


@pytest.mark.parametrize("text, words", [
    ('{"vhosts": [{"port": 1, "prot": 2}]}', 'vhosts[0].prot: unknown key "prot"; "port" is probably meant'),
    ('{"vhosts": [{"port": 1, "Sts": 1}]}', '"sts" is probably meant'),
    ('{"vhosts": [{"port": 1, "zzzz": {"a": []}}]}', 'unknown key "zzzz". It has no effect here'),
    ('{"vhosts": [{"port": 1, "cgi-timeout": 2}]}', '"cgi-timeout" is a mount key, and this is a vhost'),
    ('{"vhosts": [{"port": 1, "username": "x"}]}', '"username" is a global key, and this is a vhost'),
    ('{"vhosts": [{"port": 1, "mounts": [{"mountpoint": "/", "origin": "file:///", "host-ssl-cert": "x"}]}]}',
     'vhosts[0].mounts[0].host-ssl-cert: "host-ssl-cert" is a vhost key, and this is a mount'),
    ('{"vhosts": [{"port": 1}], "global": {"sts": 1}}',
     'global.sts: "sts" is a vhost key, and this is the global section'),
    ('{"vhosts": [{"port": 1}], "mounts": []}', '"mounts" is a vhost key, and this is the outermost level'),
    ('{"vhosts": [{"port": 1}], "vhost": []}', 'vhost: unknown key "vhost"; "vhosts" is probably meant'),
    ('{"vhosts": [{"port": 1, "noipv6": 1, "ipv6only": "on"}]}', "vhosts[0].ipv6only: "),
    ('{"vhosts": [{"port": 1, "ws-protocols": [{"x": {"default": "maybe"}}]}]}',
     "vhosts[0].ws-protocols.x.default: "),
])
def test_faults_that_do_not_keep_the_server_from_starting(text: str, words: str) -> None:
    loaded = parse_text(text)
    assert loaded.config is not None
    fault, = loaded.faults
    assert words in str(fault)


def test_noipv6_counts_more_than_ipv6only() -> None:
    config = parse_text('{"vhosts": [{"port": 1, "noipv6": "on", "ipv6only": "on"}]}').config
    assert config is not None
    assert config.vhosts[0].noipv6
    assert config.vhosts[0].ipv6only is None


def test_a_unix_socket_needs_no_port() -> None:
    vhost = sound(parse_text('{"vhosts": [{"unix-socket": "1", "interface": "/run/x.sock"}]}')).vhosts[0]
    assert (vhost.port, vhost.unix_socket, vhost.interface) == (0, True, "/run/x.sock")


def test_a_passed_socket_needs_no_port() -> None:
    vhosts = sound(parse_text("""{"vhosts": [
        {"listen-fd": "web"}, {"name": "b", "listen-fd": "web", "port": 8080},
        {"name": "c", "listen-fd": "s", "host-ssl-cert": "/c", "host-ssl-key": "/k"}]}""")).vhosts
    assert [(vhost.listen_fd, vhost.port) for vhost in vhosts] == [("web", 80), ("web", 8080), ("s", 443)]


def test_mutated_configurations_never_raise() -> None:
    """Whatever a file holds, the result is a configuration or fatal faults, each on one line."""
    rng = random.Random(2)
    pieces = ["{", "}", "[", "]", ",", ":", '"', "#", "\\", "\\u00", "null", "1", "\n", "\0", "\u00e9",
              '": ', "{}", "[]"]
    for _ in range(1500):
        text = GOOD
        for _ in range(rng.randint(1, 4)):
            start = rng.randrange(len(text))
            text = text[:start] + rng.choice(pieces) + text[start + rng.choice((0, 0, 1, 5)):]
        loaded = parse_text(text, "f")
        assert (loaded.config is None) == any(fault.fatal for fault in loaded.faults)
        assert all(str(fault).startswith("f") and str(fault).isprintable() for fault in loaded.faults)
