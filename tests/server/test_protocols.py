"""From ws-protocols to instances: which are made, which takes raw connections, what is told of the others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from lwsws.builtin.raw_proxy import RawProxy
from lwsws.builtin.raw_test import RawTest
from lwsws.config.values import says_yes
from lwsws.core.options import OptionError, Options
from lwsws.core.protocol import Protocol
from lwsws.core.session import ProtocolVhost
from lwsws.net.onward import parse_onward
from lwsws.net.reactor import Reactor
from lwsws.net.workers import Workers
from lwsws.roles.raw import RawRole
from lwsws.server.explain import explain
from lwsws.server.plugin_server import PluginServer
from lwsws.server.plugins import BUNDLED, Plugins, bundled
from lwsws.server.protocols import Unasked, VhostProtocols, make_protocols, raw_factory
from tests.support.peer import load_config, write_config

Make = Callable[..., VhostProtocols]

PROXY = {"onward": "ipv4:127.0.0.1:22"}


def idle_server() -> PluginServer:
    """A server that nothing happens to."""
    reactor = Reactor()
    return PluginServer(reactor, Workers(reactor, 1), lambda hide_vhosts: {})


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes the protocols of a vhost with these keys, `_` for `-`."""
    def make(*protocols: Dict[str, Any], **keys: Any) -> VhostProtocols:
        vhost = {"name": "a.test", "port": "4711", **{key.replace("_", "-"): keys[key] for key in keys}}
        if protocols:
            vhost["ws-protocols"] = list(protocols)
        config = load_config(write_config(tmp_path / "etc", [vhost]))
        return make_protocols(config.vhosts[0], Plugins(), idle_server())

    return make


def told(made: VhostProtocols) -> str:
    """The only fault, without its file."""
    (fault,) = made.faults
    assert fault.position.file.endswith("/etc/conf.d/test") and fault.position.line
    assert not fault.fatal
    return f"{fault.path}: {fault.reason}"


# Which are made.


def test_nothing_is_made_for_nothing(make: Make) -> None:
    made = make()
    assert (made.by_name, made.raw, made.faults) == ({}, None, ())
    assert made.vhost == ("a.test", 4711)
    assert raw_factory(made) is None


def test_each_entry_gets_an_instance_with_its_options(make: Make) -> None:
    made = make({"raw-proxy": PROXY, "raw-test": {"status": "ok"}})
    assert not made.faults
    proxy, echo = made.by_name["raw-proxy"], made.by_name["raw-test"]
    assert isinstance(proxy, RawProxy) and isinstance(echo, RawTest)
    assert proxy.onward == parse_onward("127.0.0.1:22")
    assert made.raw is None     # no key asks for raw connections


def test_each_vhost_has_instances_of_its_own(make: Make) -> None:
    assert make({"raw-test": {}}).by_name["raw-test"] is not make({"raw-test": {}}).by_name["raw-test"]


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_protocol_can_be_had_and_names_itself(name: str) -> None:
    kind = bundled(name)
    assert issubclass(kind, Protocol)
    assert kind.name in BUNDLED and bundled(kind.name) is kind


def test_bundled_protocols_are_imported_only_when_they_are_named(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = ["lwsws.builtin.raw_proxy", "lwsws.builtin.raw_test"]
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)
    make({"raw-test": {}})
    assert [module in sys.modules for module in modules] == [False, True]


def test_a_protocol_that_is_not_known_is_told(make: Make) -> None:
    made = make({"warmcat-timezoom": {"status": "ok"}, "raw-test": {}})
    assert [*made.by_name] == ["raw-test"]
    assert told(made) == ("vhosts[0].ws-protocols.warmcat-timezoom: the protocol 'warmcat-timezoom' is not "
                          "offered")


def test_a_misspelling_is_told_with_what_is_meant(make: Make) -> None:
    assert told(make({"raw_proxi": PROXY})).endswith("is not offered; 'raw-proxy' is probably meant")


@pytest.mark.parametrize(
    "options, why",
    [
        ({}, "is missing: where to connect to"),
        ({"onward": "127.0.0.1"}, '"127.0.0.1" is no address to connect to: host and port are needed'),
        ({"onward": "ipv6:::1"}, '"ipv6:::1" is no address to connect to: an IPv6 address stands'),
    ],
)
def test_a_protocol_that_cannot_work_with_its_options_is_not_offered(
    make: Make, options: Dict[str, str], why: str
) -> None:
    made = make({"raw-proxy": options}, apply_listen_accept="1", listen_accept_protocol="raw-proxy")
    assert made.by_name == {} and made.raw is None
    assert told(made).startswith(f"vhosts[0].ws-protocols.raw-proxy.onward: {why}")
    assert told(made).endswith("The protocol is not offered")


# Which takes raw connections.


@pytest.mark.parametrize("key", ["apply_listen_accept", "fallback_listen_accept", "onlyraw"])
@pytest.mark.parametrize("role", ["raw-skt", "raw", "raw-proxy", ""])
def test_the_one_that_is_named(make: Make, key: str, role: str) -> None:
    keys = {key: "1", "listen_accept_protocol": "raw-test", **({"listen_accept_role": role} if role else {})}
    made = make({"raw-proxy": PROXY, "raw-test": {}}, **keys)
    assert made.raw is made.by_name["raw-test"] and not made.faults


def test_a_name_goes_before_a_mark(make: Make) -> None:
    made = make({"raw-proxy": PROXY, "raw-test": {"raw": "1"}}, apply_listen_accept="1",
                listen_accept_protocol="raw-proxy")
    assert made.raw is made.by_name["raw-proxy"]


@pytest.mark.parametrize("mark", ["1", 1, True, "on", "Yes", "true", "2"])
def test_else_the_one_that_is_marked(make: Make, mark: Any) -> None:
    made = make({"raw-proxy": PROXY}, {"raw-test": {"raw": mark}}, apply_listen_accept="1")
    assert made.raw is made.by_name["raw-test"] and not made.faults


@pytest.mark.parametrize("text, yes", [("0", False), ("", False), ("off", False), ("no", False), ("x", False),
                                       ("0.0", False), ("0.5", True), (" ON ", True), ("-1", True)])
def test_what_counts_as_yes(text: str, yes: bool) -> None:
    assert says_yes(text) is yes


def test_of_two_marks_the_first_counts(make: Make) -> None:
    made = make({"raw-test": {"raw": "1"}, "raw-proxy": {"raw": "1", **PROXY}}, apply_listen_accept="1")
    assert made.raw is made.by_name["raw-test"]
    assert told(made) == "vhosts[0].ws-protocols.raw-proxy.raw: has no effect: 'raw-test' is marked before it"


def test_the_role_raw_proxy_alone_means_the_protocol_of_that_name(make: Make) -> None:
    made = make({"raw-proxy": PROXY}, apply_listen_accept="1", listen_accept_role="raw-proxy")
    assert made.raw is made.by_name["raw-proxy"] and not made.faults


def test_the_role_raw_proxy_serves_a_protocol_of_any_name(make: Make) -> None:
    """As in the specification's example, "Configuring Fallback and Raw vhosts"."""
    made = make({"myprotocol": PROXY}, apply_listen_accept="1", listen_accept_role="raw-proxy",
                listen_accept_protocol="myprotocol")
    raw = made.raw
    assert isinstance(raw, RawProxy) and raw is made.by_name["myprotocol"]
    assert raw.onward == parse_onward("127.0.0.1:22") and not made.faults


def test_but_only_with_an_address(make: Make) -> None:
    made = make({"myprotocol": {"status": "ok"}}, apply_listen_accept="1", listen_accept_role="raw-proxy",
                listen_accept_protocol="myprotocol")
    assert made.raw is None
    assert told(made).startswith("vhosts[0].ws-protocols.myprotocol.onward: is missing")


def test_and_only_the_one_that_is_named(make: Make) -> None:
    made = make({"myprotocol": PROXY, "other": PROXY}, apply_listen_accept="1",
                listen_accept_role="raw-proxy", listen_accept_protocol="myprotocol")
    assert [*made.by_name] == ["myprotocol"]
    assert told(made) == "vhosts[0].ws-protocols.other: the protocol 'other' is not offered"


@pytest.mark.parametrize("name", ["raw-test", "lws-raw-test", "protocol-lws-raw-test"])
def test_the_echo_needs_no_entry(make: Make, name: str) -> None:
    made = make(apply_listen_accept="1", listen_accept_role="raw-skt", listen_accept_protocol=name)
    assert isinstance(made.raw, RawTest) and not made.faults
    assert made.by_name == {}


# What is wrong.

NOT_SERVED = ". Raw connections are not served"


@pytest.mark.parametrize("role, hint", [("raw-prxy", "; 'raw-proxy' is probably meant"), ("mqtt", "")])
def test_a_role_that_is_not_known_is_told(make: Make, role: str, hint: str) -> None:
    made = make({"raw-test": {}}, apply_listen_accept="1", listen_accept_role=role,
                listen_accept_protocol="raw-test")
    assert made.raw is None and raw_factory(made) is None
    assert told(made) == f"vhosts[0].listen-accept-role: there is no role {role!r}{hint}{NOT_SERVED}"


def test_a_proxy_without_an_entry_is_told(make: Make) -> None:
    made = make(apply_listen_accept="1", listen_accept_role="raw-proxy", listen_accept_protocol="raw-proxy")
    assert made.raw is None
    assert told(made).startswith("vhosts[0].listen-accept-protocol: 'raw-proxy' needs an entry in "
                                 '"ws-protocols" with the option "onward", which is missing')
    assert told(made).endswith(NOT_SERVED)


@pytest.mark.parametrize("name, hint", [("raw-tset", "; 'raw-test' is probably meant"), ("x", "")])
def test_a_name_that_nothing_has_is_told(make: Make, name: str, hint: str) -> None:
    made = make({"raw-proxy": PROXY}, fallback_listen_accept="1", listen_accept_protocol=name)
    assert made.raw is None
    assert told(made) == (f"vhosts[0].listen-accept-protocol: there is no protocol {name!r}{hint}"
                          f"{NOT_SERVED}")


@pytest.mark.parametrize("key", ["apply-listen-accept", "fallback-listen-accept"])
def test_no_choice_at_all_is_told(make: Make, key: str) -> None:
    made = make({"raw-test": {}}, **{key: "1"})
    assert made.raw is None
    assert told(made).startswith(f"vhosts[0].{key}: no protocol is chosen: name one as")
    assert told(made).endswith(NOT_SERVED)


# The role, and the end.


def test_each_connection_gets_a_role_of_its_own(make: Make) -> None:
    made = make({"raw-test": {"raw": "1"}}, apply_listen_accept="1")
    factory = raw_factory(made)
    assert factory is not None
    one, two = factory(), factory()
    assert isinstance(one, RawRole) and one is not two
    assert one.protocol is made.raw and one.vhost == ("a.test", 4711)


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    """Where the ends are called."""
    reactor = Reactor()
    yield reactor
    reactor.close()


class Ending(Protocol):
    """Notes its end, and may fail at it."""

    def __init__(self, ended: List[str], name: str, fails: bool = False) -> None:
        self.ended = ended
        self.name = name
        self.fails = fails

    def destroy(self) -> None:
        self.ended.append(self.name)
        if self.fails:
            raise RuntimeError("a fault of the plugin")


def test_at_the_end_each_instance_hears_of_it_once(
    make: Make, reactor: Reactor, capfd: pytest.CaptureFixture[str]
) -> None:
    ended: List[str] = []
    one, two, three = Ending(ended, "one", fails=True), Ending(ended, "two"), Ending(ended, "three")
    made = make()._replace(by_name={"one": one, "two": two}, raw=two)
    made.destroy()
    assert ended == ["one", "two"]
    assert "fault in Ending.destroy" in capfd.readouterr().err
    make()._replace(raw=three).destroy()
    assert ended == ["one", "two", "three"]


# What is said of mounts and of options that the server reads.


def reasons(made: VhostProtocols) -> List[str]:
    """What is wrong, none of it fatal."""
    assert not any(fault.fatal for fault in made.faults)
    return [f"{fault.path}: {fault.reason}" for fault in made.faults]


def test_a_mount_whose_protocol_the_vhost_does_not_name(make: Make) -> None:
    mounts = [{"mountpoint": "/a", "origin": "callback://lws-echo"},
              {"mountpoint": "/b", "origin": "callback://raw-tset"},
              {"mountpoint": "/c", "origin": "file:///", "interpret": {".x": "nobody"}},
              {"mountpoint": "/d", "origin": "callback://raw-test"}]
    add = 'the protocol \'lws-echo\' is not among the "ws-protocols" of this vhost: add it there'
    assert reasons(make({"raw-test": {}}, mounts=mounts)) == [
        f"vhosts[0].mounts[0].origin: {add}. Requests get 503",
        ("vhosts[0].mounts[1].origin: there is no protocol 'raw-tset'; 'raw-test' is probably meant. "
         "Requests get 503"),
        "vhosts[0].mounts[2].interpret: there is no protocol 'nobody'. Requests get 503"]


def test_a_second_default_has_no_effect(make: Make) -> None:
    assert reasons(make({"lws-echo": {"default": "1"}, "raw-test": {"default": "1"}})) == [
        "vhosts[0].ws-protocols.raw-test.default: has no effect: 'lws-echo' is marked before it"]


def test_what_is_no_origin(make: Make) -> None:
    given = ["self", "null", "https://a.example", "http://[::1]:8080", "a.example", "https://a.example/"]
    assert reasons(make({"lws-echo": {"allowed-origins": given}})) == [
        f'vhosts[0].ws-protocols.lws-echo.allowed-origins: "{text}" is no origin: write https://name or '
        'https://name:port, or "self"' for text in given[4:]]


def test_a_site_with_a_password_and_a_protocol_without(make: Make) -> None:
    mounts = [{"mountpoint": "/", "origin": "file:///srv", "basic-auth": "/pw"}]
    made = make({"lws-echo": {}, "lws-status": {"basic-auth": "/pw"}, "raw-test": {}}, mounts=mounts)
    assert made.faults == ()
    (remark,) = made.remarks
    assert remark.path == "vhosts[0].ws-protocols.lws-echo"
    assert remark.reason == ('asks for no password, though the mount "/" does: a mount does not guard '
                             'WebSockets. Give it an option "basic-auth", too')


class Failing(Protocol):
    """Cannot begin."""

    name = "failing"

    def init(self, vhost: ProtocolVhost, options: Options) -> None:
        """Fail."""
        raise ZeroDivisionError("as a test wants it")


def test_a_plugin_that_fails_to_begin_is_done_without(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    vhost = {"name": "a.test", "port": "4711", "ws-protocols": [{"failing": {}, "raw-test": {}}]}
    config = load_config(write_config(tmp_path / "etc", [vhost])).vhosts[0]
    plugins = Plugins({"failing": Failing})
    made = make_protocols(config, plugins, idle_server())
    assert [*made.by_name] == ["raw-test"]
    assert told(made).endswith("failing: the protocol failed to begin, see above. It is not offered")
    assert "failing of a.test: fault in Failing.init" in capfd.readouterr().err
    assert made.by_name["raw-test"].vhost == ("a.test", 4711)
    assert type(make_protocols(config, plugins, idle_server(), foreign=False).by_name["failing"]) is Unasked


# What is looked at without running the code of others (`lwsws -t`).

WSGI = {"mountpoint": "/", "origin": "callback://wsgi"}


def looked_at(directory: Path, pmo: Dict[str, Any], options: Dict[str, Any]) -> List[str]:
    """What is wrong with an application on such a mount, when nobody may import it."""
    vhost = {"name": "a.test", "port": "4711", "ws-protocols": [{"wsgi": options}],
             "mounts": [{**WSGI, "pmo": [pmo]}]}
    config = load_config(write_config(directory, [vhost])).vhosts[0]
    return reasons(make_protocols(config, Plugins(), idle_server(), foreign=False))


@pytest.mark.parametrize("pmo, options, said", [
    ({"app": "hello"}, {}, 'mounts[0].pmo: app: "hello" is not of the form "module:callable"'),
    ({"path": "/"}, {}, 'mounts[0].pmo: app: is missing: give it as "module:callable"'),
    ({"app": "a:b", "path": ["/", "x"]}, {}, 'mounts[0].pmo: path: "x" is no absolute path'),
    ({"app": "a:b", "path": "/nope"}, {}, 'mounts[0].pmo: path: "/nope": No such file or directory'),
    ({"app": "a:b", "chdir": "/dev/null"}, {}, 'mounts[0].pmo: chdir: "/dev/null": Not a directory'),
    ({"app": "a:b", "timeout": "x"}, {}, 'mounts[0].pmo: timeout: "x" is no whole number from 1 to 86400'),
    ({"app": "a:b", "pth": "/"}, {},
     "mounts[0].pmo: pth: unknown option; 'path' is probably meant. It has no effect"),
    ({"app": "a:b", "zzz": "/"}, {}, "mounts[0].pmo: zzz: unknown option. It has no effect"),
    ({"app": "a:b"}, {"threads": "3000"},
     'ws-protocols.wsgi.threads: "3000" is no whole number from 1 to 256. The protocol is not offered'),
    ({"app": "a:b"}, {"thread": "3"},
     "ws-protocols.wsgi.thread: unknown option; 'threads' is probably meant. It has no effect"),
    ({"app": "a:b"}, {"defualt": "1"},
     "ws-protocols.wsgi.defualt: unknown option; 'default' is probably meant. It has no effect"),
])
def test_what_is_wrong_with_an_application_that_nobody_imports(
    tmp_path: Path, pmo: Dict[str, Any], options: Dict[str, Any], said: str
) -> None:
    assert looked_at(tmp_path, pmo, options) == [f"vhosts[0].{said}"]


def test_options_of_the_server_are_known_to_all(tmp_path: Path) -> None:
    given = {"status": "ok", "default": "0", "raw": "0", "basic-auth": "/pw", "allowed-origins": "self",
             "max-message": "9", "max-fragments": "9", "deflate": "0", "threads": "1"}
    sound = {"app": "lwsws_there_is_none:app", "path": "/", "chdir": "/", "timeout": "7"}
    assert looked_at(tmp_path, sound, given) == []


@pytest.mark.parametrize("app, answer", [
    ("lwsws_there_is_none:app", "answer    whatever the application says; it is not asked here"),
    ("hello", "answer    503 Service Unavailable"),
])
def test_an_application_is_not_asked_where_one_only_looks(tmp_path: Path, app: str, answer: str) -> None:
    vhost = {"name": "a.test", "port": "4711", "ws-protocols": [{"wsgi": {}}],
             "mounts": [{**WSGI, "pmo": [{"app": app}]}]}
    config = load_config(write_config(tmp_path, [vhost]))
    assert answer in explain(config, "http://a.test:4711/")[0]


class Choosy(Protocol):
    """Reads no options, and takes no mount but one."""

    name = "choosy"
    known_pmo = ()

    def __init__(self) -> None:
        self.told: List[str] = []

    def check_mount(self, mountpoint: str, options: Options) -> None:
        """One."""
        self.told.append(f"check {mountpoint}")
        if mountpoint != "/good":
            raise OptionError("x", "is odd")

    def mounted(self, mountpoint: str, options: Options) -> None:
        """The same."""
        self.told.append(f"mounted {mountpoint}")


@pytest.mark.parametrize("foreign, told, said", [
    (True, ["check /bad", "check /good", "mounted /good"], ["vhosts[0].mounts[0].pmo: x: is odd"]),
    (False, [], []),
])
def test_a_plugin_checks_a_mount_before_it_takes_it(
    tmp_path: Path, foreign: bool, told: List[str], said: List[str]
) -> None:
    """But not where its code shall not run; what it does not know is told there, too."""
    mounts = [{"mountpoint": place, "origin": "callback://choosy", "pmo": [{"x": "1"}]}
              for place in ("/bad", "/good")]
    vhost = {"name": "a.test", "port": "4711", "ws-protocols": [{"choosy": {"any": "1"}}], "mounts": mounts}
    config = load_config(write_config(tmp_path, [vhost])).vhosts[0]
    made = make_protocols(config, Plugins({"choosy": Choosy}), idle_server(), foreign)
    plugin = made.by_name["choosy"]
    assert (plugin.told if isinstance(plugin, Choosy) else []) == told
    unknown = [f"vhosts[0].mounts[{index}].pmo: x: unknown option. It has no effect" for index in (0, 1)]
    assert reasons(made) == said + unknown
