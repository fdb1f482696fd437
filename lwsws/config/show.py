"""The effective configuration as JSON: what `-T` prints.

It is a configuration file itself: every key that has an effect, with the value in force, whether
given or defaulted.  Keys without a default that are not given are left out, and so are values that
look like passwords, which options and environment variables may hold.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Union

from lwsws.config import kinds
from lwsws.config.keys import LEVELS
from lwsws.config.kinds import Key
from lwsws.config.model import Config, MountConfig, Pairs, ProtocolConfig, VhostConfig
from lwsws.config.origin import Origin

LEFT_OUT = "(left out)"

# Parts of names whose values are nobody's business; names that end in -path hold a file name only.
SECRET_PARTS = ("pass", "secret", "token", "hmac", "credential", "private", "apikey", "psk")
SECRET_ENDS = ("-key", "_key")


def show(config: Config) -> str:
    """`config` as JSON text, indented, without secrets."""
    import json  # for this one purpose; costs as much to import as the whole loader
    return json.dumps(as_object(config), indent=4, ensure_ascii=False)


def as_object(config: Config) -> Dict[str, Any]:
    """`config` as the object that JSON would hold."""
    return {"global": _record("global", config.globals._asdict()),
            "vhosts": [_vhost(vhost) for vhost in config.vhosts]}


def is_secret(name: str) -> bool:
    """Whether the value of an option or variable called `name` is to be left out."""
    name = name.lower()
    if name.endswith(("path", "file")):
        return False
    return name == "key" or name.endswith(SECRET_ENDS) or any(part in name for part in SECRET_PARTS)


def _vhost(vhost: VhostConfig) -> Dict[str, Any]:
    shown = _record("vhost", vhost._asdict())
    if not vhost.port:
        del shown["port"]
    shown["mounts"] = [_mount(mount) for mount in vhost.mounts]
    shown["ws-protocols"] = [_protocol(protocol) for protocol in vhost.ws_protocols]
    return shown


def _mount(mount: MountConfig) -> Dict[str, Any]:
    return _record("mount", mount._asdict())


def _protocol(protocol: ProtocolConfig) -> Dict[str, Any]:
    return {protocol.name: _options(protocol.options)}


def _record(level: str, values: Mapping[str, Any]) -> Dict[str, Any]:
    """The keys of `level` with their values, in the order of the table."""
    shown: Dict[str, Any] = {}
    for _, keys in LEVELS[level]:
        for key in keys:
            value = values.get(key.field)
            if key.served != kinds.NEVER and value is not None:
                shown[key.name] = _value(key, value)
    return shown


def _value(key: Key, value: Any) -> Any:
    """The value of one key as JSON has it."""
    if isinstance(value, Origin):
        return _without_password(value)
    if key.kind == kinds.KEYWORDS:
        return [{word: f"{status} {text}".strip()} for word, status, text in value]
    if key.kind == kinds.ORIGINS:
        return [_without_password(origin) for origin in value]
    if key.kind == kinds.COUNT and value == 0:
        return "auto"
    if key.kind == kinds.PAIRS:
        return _options(value)
    if key.kind == kinds.VALUE:
        return _from_wire(value)
    if key.kind in (kinds.HEADERS, kinds.TYPES, kinds.SUFFIXES):
        return _named(value)
    return list(value) if isinstance(value, tuple) else value


def _options(pairs: Pairs) -> Dict[str, Union[str, List[str]]]:
    """Options by name, a list for one that is given several times."""
    shown: Dict[str, Union[str, List[str]]] = {}
    for name, text in pairs:
        text = LEFT_OUT if is_secret(name) else text
        earlier = shown.get(name)
        if earlier is None:
            shown[name] = text
        elif isinstance(earlier, list):
            earlier.append(text)
        else:
            shown[name] = [earlier, text]
    return shown


def _named(pairs: Pairs) -> List[Dict[str, str]]:
    """Names and values as a list of objects, a further one where a name comes again."""
    shown: List[Dict[str, str]] = []
    for name, text in pairs:
        if not shown or name in shown[-1]:
            shown.append({})
        shown[-1][name] = _from_wire(text)
    return shown


def _from_wire(text: str) -> str:
    """The characters behind a header value (see values.on_the_wire)."""
    return text.encode("latin-1").decode("utf-8", "replace")


def _without_password(origin: Origin) -> str:
    """The origin as written, but for a password in the URL of a redirect."""
    scheme, mark, rest = origin.text.partition("://")
    authority = rest.split("/", 1)[0]
    if origin.kind != "redirect" or "@" not in authority:
        return origin.text
    return f"{scheme}{mark}{LEFT_OUT.replace(' ', '-')}@{authority.rpartition('@')[2]}{rest[len(authority):]}"
