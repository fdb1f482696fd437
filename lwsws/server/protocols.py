"""From a vhost's configuration to its protocols: one instance for each entry of `ws-protocols`.

One that cannot be had, or cannot work with its options, is a fault that says so with file and line; the
vhost does without it.

Which protocol takes the raw connections of a vhost (`apply-listen-accept`, `fallback-listen-accept`): the
one that `listen-accept-protocol` names, else the one with `"raw": "1"`.  With `listen-accept-role`
"raw-proxy" the name may be any: an entry of that name with the option `onward` is served by raw-proxy.
"""

from __future__ import annotations

import functools
import re
from typing import (
    TYPE_CHECKING,
    AbstractSet,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Type,
)

from lwsws.config.keys import KEYS
from lwsws.config.model import Fault, MountConfig, Pairs, ProtocolConfig, VhostConfig
from lwsws.config.values import says_yes
from lwsws.core.options import OptionError, Options
from lwsws.core.plugincall import ask_plugin
from lwsws.core.protocol import Protocol
from lwsws.core.session import HttpRequest, HttpSession, ProtocolVhost, Server
from lwsws.server.plugins import BUNDLED, RUNS_FOREIGN_CODE, Plugins, bundled

if TYPE_CHECKING:
    from lwsws.core.role import Role

RAW_PROXY = "raw-proxy"
# What `listen-accept-role` may say.  For all but raw-proxy the protocol alone decides what happens.
ROLES = ("raw-skt", "raw", RAW_PROXY)


# What `allowed-origins` may say (RFC 6454 6.2), beside pages of the server itself and pages from nowhere.
ORIGIN = re.compile(r"https?://[^/?#@\s]+", re.IGNORECASE)
NAMED_ORIGINS = ("self", "null")


class VhostProtocols(NamedTuple):
    """The protocols of one vhost.

    `config` is that of the vhost, `by_name` are those of `ws-protocols` that work, `raw` is the one for raw
    connections (None: there is none, or none is asked for), `faults` say what is missing and why, `remarks`
    what comes later.
    """

    config: VhostConfig
    vhost: ProtocolVhost
    by_name: Mapping[str, Protocol]
    raw: Optional[Protocol]
    faults: Tuple[Fault, ...]
    remarks: Tuple[Fault, ...] = ()

    def destroy(self) -> None:
        """End all instances; the fault of one is logged and does not keep the others from it."""
        instances = [*self.by_name.values()]
        if self.raw is not None and self.raw not in instances:
            instances.append(self.raw)
        for protocol in instances:
            ask_plugin(f"{protocol.name} of {self.vhost.name}", protocol.destroy)


def make_protocols(config: VhostConfig, plugins: Plugins, server: Server,
                   foreign: bool = True) -> VhostProtocols:
    """Make and initialise the protocols of one vhost.  Without `foreign`, for who only wants to know what is
    wrong, no code of others runs: what would run it is Unasked."""
    maker = ProtocolMaker(config, plugins, server, foreign)
    for entry in config.ws_protocols:
        maker.add(entry)
    maker.look_at_mounts()
    maker.tell_mounts()
    maker.hide_foreign()
    maker.look_at_options()
    maker.look_at_passwords()
    is_raw = config.apply_listen_accept or config.fallback_listen_accept
    raw = maker.find_raw() if is_raw else None
    return VhostProtocols(config, maker.vhost, maker.by_name, raw, tuple(maker.faults), tuple(maker.remarks))


def raw_factory(protocols: VhostProtocols) -> Optional[Callable[[], Role]]:
    """What makes the role of each raw connection of the vhost; None if nothing takes them."""
    if protocols.raw is None:
        return None
    # Imported here: most servers have no use for it.
    from lwsws.roles.raw import RawRole
    return functools.partial(RawRole, protocols.raw)


class Unasked(Protocol):
    """Stands for a plugin whose code shall not run; `refused` are the mountpoints that it cannot serve."""

    def __init__(self, name: str, refused: AbstractSet[str] = frozenset()) -> None:
        self.name = name
        self.refused = refused

    def http_request(self, s: HttpSession, request: HttpRequest) -> None:
        """Say nothing, well."""
        s.respond(503 if s.mountpoint in self.refused else 200)


class ProtocolMaker:
    """Makes the protocols of one vhost, and collects what is wrong."""

    def __init__(self, config: VhostConfig, plugins: Plugins, server: Server, foreign: bool) -> None:
        self.config = config
        self.plugins = plugins
        self.server = server
        self.foreign = foreign
        self.vhost = ProtocolVhost(config.name, config.port)
        self.by_name: Dict[str, Protocol] = {}
        self.named: Set[str] = set()    # by ws-protocols, whether they can be had or not
        self.refused: Set[str] = set()  # mountpoints whose protocol cannot work with their options
        self.faults: List[Fault] = []
        self.remarks: List[Fault] = []

    def add(self, entry: ProtocolConfig) -> None:
        """Make the protocol of one entry of `ws-protocols`."""
        kind = self._kind(entry.name)
        self.named.add(entry.name)
        if kind is None:
            hint = near(entry.name, self.plugins.names())
            self._complain(entry, "", f"the protocol {entry.name!r} is not offered{hint}")
            return
        try:
            protocol = self._make(kind, Options(entry.options))
        except OptionError as error:
            self._complain(entry, error.name, f"{error.why}. The protocol is not offered")
            return
        if protocol is None:
            self._complain(entry, "", "the protocol failed to begin, see above. It is not offered")
            return
        self.by_name[entry.name] = protocol

    def _make(self, kind: Type[Protocol], options: Options) -> Optional[Protocol]:
        """An instance of `kind` that has begun; None if it failed, OptionError if it cannot work so."""
        if not self.foreign and kind.name not in BUNDLED:
            return Unasked(kind.name)
        label = f"{kind.name} of {self.vhost.name}"
        protocol: Optional[Protocol] = ask_plugin(label, self._place, kind)[1]
        if protocol is None:
            return None
        sound, _ = ask_plugin(label, protocol.init, self.vhost, options, answers=(OptionError,))
        return protocol if sound else None

    def _place(self, kind: Type[Protocol]) -> Protocol:
        """An instance of `kind` on its vhost."""
        protocol = kind()
        protocol.server = self.server
        protocol.vhost = self.vhost
        protocol.sessions = set()
        return protocol

    def look_at_mounts(self) -> None:
        """Complain of mounts that lead to protocols which `ws-protocols` does not name."""
        for mount in self.config.mounts:
            wanted = [("interpret", name) for _, name in mount.interpret if mount.origin.kind == "file"]
            if mount.origin.kind == "callback":
                wanted.append(("origin", mount.origin.target))
            for key, name in wanted:
                if name not in self.named:
                    self._remark_on(mount, key, f"{self._missing(name)}. Requests get 503")

    def tell_mounts(self) -> None:
        """Tell the protocols of the mounts that lead to them, which may be a fault of the mount."""
        for mount in self.config.mounts:
            protocol = self.by_name.get(mount.origin.target) if mount.origin.kind == "callback" else None
            if protocol is None:
                continue
            try:
                if not self._takes(protocol, mount):
                    self._object(mount, "origin", "the protocol failed to take this mount, see above")
            except OptionError as error:
                self._object(mount, "pmo", f"{error.name}: {error.why}")

    def _takes(self, protocol: Protocol, mount: MountConfig) -> bool:
        """Whether `protocol` can serve `mount`, as far as it may be asked; OptionError if it says why not."""
        steps = [protocol.check_mount]
        if self.foreign or protocol.name not in RUNS_FOREIGN_CODE:
            steps.append(protocol.mounted)
        label = f"{protocol.name} of {self.vhost.name}"
        return all(ask_plugin(label, step, mount.mountpoint, Options(mount.pmo), answers=(OptionError,))[0]
                   for step in steps)

    def _object(self, mount: MountConfig, key: str, reason: str) -> None:
        """`mount` cannot be served."""
        self.refused.add(mount.mountpoint)
        self._remark_on(mount, key, reason)

    def _remark_on(self, mount: MountConfig, key: str, reason: str) -> None:
        """Something is wrong with a key of `mount`."""
        position = mount.positions.get(key, mount.where)
        self.faults.append(Fault(position, f"{mount.path}.{key}", reason, False))

    def hide_foreign(self) -> None:
        """Have nobody ask those of which none is to run."""
        for name, protocol in self.by_name.items():
            if not self.foreign and protocol.name in RUNS_FOREIGN_CODE:
                self.by_name[name] = Unasked(name, self.refused)

    def _missing(self, name: str) -> str:
        """Why there is no protocol `name` here."""
        if self.plugins.has(name):
            return f'the protocol {name!r} is not among the "ws-protocols" of this vhost: add it there'
        return f"there is no protocol {name!r}{near(name, [*self.named, *self.plugins.names()])}"

    def look_at_options(self) -> None:
        """Complain of the options that the server itself reads, where they make no sense."""
        options = [(entry, Options(entry.options)) for entry in self.config.ws_protocols]
        defaults = [entry for entry, given in options if says_yes(given.get("default"))]
        self._look_for_unknown()
        for entry in defaults[1:]:
            self._complain(entry, "default", f"has no effect: {defaults[0].name!r} is marked before it")
        for entry, given in options:
            for origin in given.all("allowed-origins"):
                if origin not in NAMED_ORIGINS and ORIGIN.fullmatch(origin) is None:
                    self._complain(entry, "allowed-origins", f'"{origin[:60]}" is no origin: write '
                                                             'https://name or https://name:port, or "self"')

    def _look_for_unknown(self) -> None:
        """Complain of options that mean nothing to their protocols, where those say what they read."""
        for entry in self.config.ws_protocols:
            kind = self._kind(entry.name)
            known = None if kind is None else kind.known_options
            for name, reason in unknown(entry.options, known, KEYS["ws-protocols"]):
                self._complain(entry, name, reason)
        for mount in self.config.mounts:
            kind = self._kind(mount.origin.target) if mount.origin.kind == "callback" else None
            for name, reason in unknown(mount.pmo, None if kind is None else kind.known_pmo):
                self._remark_on(mount, "pmo", f"{name}: {reason}")

    def look_at_passwords(self) -> None:
        """Remark on protocols that are open to all where the whole site asks for a password."""
        if not any(mount.mountpoint == "/" and mount.basic_auth for mount in self.config.mounts):
            return
        # Imported here: most servers have no use for it.
        from lwsws.handlers.websocket import speaks_websocket
        for entry in self.config.ws_protocols:
            protocol = self.by_name.get(entry.name)
            if protocol and speaks_websocket(protocol) and not Options(entry.options).get("basic-auth"):
                reason = ('asks for no password, though the mount "/" does: a mount does not guard '
                          'WebSockets. Give it an option "basic-auth", too')
                self.remarks.append(Fault(entry.where, entry.path, reason, False))

    def find_raw(self) -> Optional[Protocol]:
        """The protocol that takes raw connections; None if there is none, and then a fault says why."""
        role = self.config.listen_accept_role
        if role and role not in ROLES:
            self._refuse("listen-accept-role", f"there is no role {role!r}{near(role, ROLES)}")
            return None
        name = self.config.listen_accept_protocol or self._marked()
        if not name and role == RAW_PROXY:
            name = RAW_PROXY
        if name in self.by_name:
            return self.by_name[name]
        if not name:
            self._refuse(self._asked_by(), 'no protocol is chosen: name one as "listen-accept-protocol", or '
                                           'give one of "ws-protocols" the option "raw": "1"')
        elif not any(entry.name == name for entry in self.config.ws_protocols):
            return self._without_entry(name)
        return None     # else add() has said why

    def _kind(self, name: str) -> Optional[Type[Protocol]]:
        kind = self.plugins.kind(name)
        if kind is not None:
            return kind
        if self.config.listen_accept_role == RAW_PROXY and name == self.config.listen_accept_protocol:
            return bundled(RAW_PROXY)
        return None

    def _marked(self) -> str:
        """The name of the entry that is marked for raw connections; "" if none is."""
        marked = [entry for entry in self.config.ws_protocols if says_yes(Options(entry.options).get("raw"))]
        for entry in marked[1:]:
            self._complain(entry, "raw", f"has no effect: {marked[0].name!r} is marked before it")
        return marked[0].name if marked else ""

    def _without_entry(self, name: str) -> Optional[Protocol]:
        """The protocol `name`, which `ws-protocols` does not have: those work that need no options."""
        kind = self.plugins.kind(name)
        if kind is None:
            hint = near(name, [*self.by_name, *self.plugins.names()])
            self._refuse("listen-accept-protocol", f"there is no protocol {name!r}{hint}")
            return None
        try:
            return self._make(kind, Options())
        except OptionError as error:
            self._refuse("listen-accept-protocol", f'{name!r} needs an entry in "ws-protocols" with the '
                                                   f'option "{error.name}", which {error.why}')
            return None

    def _asked_by(self) -> str:
        return "apply-listen-accept" if self.config.apply_listen_accept else "fallback-listen-accept"

    def _complain(self, entry: ProtocolConfig, option: str, reason: str) -> None:
        """Something is wrong with an entry of `ws-protocols`."""
        path = f"{entry.path}.{option}" if option else entry.path
        self.faults.append(Fault(entry.where, path, reason, False))

    def _refuse(self, key: str, reason: str) -> None:
        """Nothing takes raw connections, because of a key of the vhost."""
        config = self.config
        position = config.positions.get(key, config.where)
        reason += ". Raw connections are not served"
        self.faults.append(Fault(position, f"{config.path}.{key}", reason, False))


def unknown(pairs: Pairs, known: Optional[Sequence[str]],
            common: Iterable[str] = ()) -> List[Tuple[str, str]]:
    """The names in `pairs` that are neither in `known` nor in `common`, and what to say of each; none if
    nobody knows what is `known`."""
    if known is None:
        return []
    names = [*known, *common]
    return [(name[:60], f"unknown option{near(name, names)}. It has no effect")
            for name in dict.fromkeys(name for name, _ in pairs) if name not in names]


def near(name: str, known: Iterable[str]) -> str:
    """What is probably meant by `name`, as the end of a sentence; "" if nothing is like it."""
    # Takes a while to import, and is for typos only.
    from difflib import get_close_matches
    found = get_close_matches(name.lower().replace("_", "-"), list(known), 1)
    return f"; {found[0]!r} is probably meant" if found else ""
