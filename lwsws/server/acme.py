"""What a configuration asks of ACME: its certificates, found and made ready while everything may be opened.

    find_certificates    the entries of `lws-acme-client` with sound options
    with_challenge_port  the configuration with a vhost on port 80, where http-01 needs one and there is none
    open_certificates    their files opened, what waits for this start put in its place

What keeps a certificate from being had is no reason not to serve: it is said, and all else goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Iterator, List, NamedTuple, Tuple

from lwsws import log
from lwsws.config.model import Config, Position, VhostConfig
from lwsws.core.options import OptionError, Options
from lwsws.net.keeper import READ, Keeper

if TYPE_CHECKING:
    from lwsws.acme.settings import AcmeSettings
    from lwsws.acme.store import Store

ACME_CLIENT = "lws-acme-client"

# Where a CA looks for http-01, whatever the configuration says (RFC 8555 8.3).
HTTP_PORT = 80


class Asked(NamedTuple):
    """One certificate that is asked for: by an entry of that vhost, which stands there."""

    vhost: VhostConfig
    where: Position
    path: str
    settings: AcmeSettings


def find_certificates(config: Config) -> List[Asked]:
    """All that are asked for, each once; who is to hear of unsound options hears of them elsewhere."""
    found: Dict[str, Asked] = {}
    for each in _entries(config):
        found.setdefault(each.settings.cert_path, each)
    return list(found.values())


def asked_twice(config: Config) -> List[Asked]:
    """Those that are left out, because an earlier entry asks for the same file."""
    kept = {id(each.vhost): each for each in find_certificates(config)}
    return [each for each in _entries(config) if id(each.vhost) not in kept]


def _entries(config: Config) -> Iterator[Asked]:
    """All entries with sound options; each vhost has one at most."""
    # Imported here, as all of ACME: most servers have no use for it.
    from lwsws.acme.settings import read_settings
    for vhost in config.vhosts:
        for entry in vhost.ws_protocols:
            if entry.name != ACME_CLIENT:
                continue
            try:
                yield Asked(vhost, entry.where, entry.path, read_settings(Options(entry.options)))
            except OptionError:
                pass    # server/protocols.py complains of it


def has_certificates(config: Config) -> bool:
    """Whether any is asked for, sound or not."""
    return any(entry.name == ACME_CLIENT for vhost in config.vhosts for entry in vhost.ws_protocols)


# Port 80.


def takes_http_01(config: Config) -> bool:
    """Whether some vhost listens where a CA looks for http-01."""
    return any(vhost.port == HTTP_PORT and not vhost.unix_socket for vhost in config.vhosts)


def with_challenge_port(config: Config, asked: List[Asked]) -> Tuple[Config, Tuple[VhostConfig, ...]]:
    """`config` with vhosts on port 80 for nothing but challenges, if http-01 needs them; and these."""
    if takes_http_01(config):
        return config, ()
    added: List[VhostConfig] = []
    for each in asked:
        vhost = each.vhost
        if each.settings.challenge == "http-01" and not (vhost.unix_socket or vhost.listen_fd):
            added.append(VhostConfig(each.settings.name, HTTP_PORT, vhost.interface, noipv6=vhost.noipv6,
                                     ipv6only=vhost.ipv6only, where=each.where, path=each.path))
    return config._replace(vhosts=(*config.vhosts, *added)), tuple(added)


# Their files.


def open_certificates(asked: List[Asked], keeper: Keeper) -> List[Store]:
    """The files of those whose files can be had; why others cannot goes to the log."""
    from lwsws.acme.store import Store, StoreError
    stores = []
    for each in asked:
        try:
            store = Store(each.settings)
            for path in (each.settings.cert_path, each.settings.key_path, each.settings.ca_file):
                if path:
                    keeper.allow(READ, path)
        except (StoreError, OSError) as error:
            log.err(f"{each.where}: {each.path}: {error}: no certificate for {each.settings.name}")
            continue
        _put_in_place(store, keeper)
        stores.append(store)
    return stores


def _put_in_place(store: Store, keeper: Keeper) -> None:
    """Let what came while the last processes served take the place of what they had at their start."""
    from lwsws.acme.pending import promote
    from lwsws.acme.store import StoreError
    if not store.lock():
        return      # of an order that is under way: what comes of it is found later
    try:
        text = promote(store, keeper)
        if text:
            log.notice(f"acme: {text}")
    except (OSError, StoreError) as error:
        log.err(f"acme: {store.settings.name}: the new certificate cannot take its place: {error}")
    finally:
        store.unlock()
