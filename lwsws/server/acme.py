"""What a configuration asks of ACME: its certificates, found and made ready while everything may be opened.

    find_certificates    the entries of `lws-acme-client` with sound options
    with_challenge_port  the configuration with a vhost on port 80, where http-01 needs one and there is none
    open_certificates    their files opened, what waits for this start put in its place

What keeps a certificate from being had is no reason not to serve: it is said, and all else goes on.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Iterator, List, NamedTuple, Optional, Set, Tuple

from lwsws import log
from lwsws.config.model import Config, Position, ProtocolConfig, VhostConfig
from lwsws.core.options import OptionError, Options
from lwsws.net.keeper import READ, Keeper

if TYPE_CHECKING:
    from lwsws.acme.settings import AcmeSettings
    from lwsws.acme.store import Store
    from lwsws.net.openssl import Tool

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
    return [each for each, is_left_out in _sorted_out(config) if not is_left_out]


def asked_twice(config: Config) -> List[Asked]:
    """Those that are left out, because an earlier entry has one of their files."""
    return [each for each, is_left_out in _sorted_out(config) if is_left_out]


def _sorted_out(config: Config) -> Iterator[Tuple[Asked, bool]]:
    """All entries with sound options, and whether each is left out: its files are another one's; only
    accounts are shared."""
    from lwsws.acme.settings import files_of
    taken: Set[str] = set()
    accounts: Set[str] = set()
    for vhost, entry in entries(config):
        settings = _settings(entry)
        if settings is None:
            continue
        own = set(files_of(settings.cert_path, settings.key_path))
        is_left_out = bool(own & (taken | accounts)) or settings.auth_path in taken
        if not is_left_out:
            taken |= own
            accounts.add(settings.auth_path)
        yield Asked(vhost, entry.where, entry.path, settings), is_left_out


def entries(config: Config) -> Iterator[Tuple[VhostConfig, ProtocolConfig]]:
    """All entries, sound or not; each vhost has one at most."""
    for vhost in config.vhosts:
        for entry in vhost.ws_protocols:
            if entry.name == ACME_CLIENT:
                yield vhost, entry


def has_certificates(config: Config) -> bool:
    """Whether any is asked for, sound or not."""
    return any(True for _ in entries(config))


def _settings(entry: ProtocolConfig) -> Optional[AcmeSettings]:
    """What an entry asks for; None if its options are not sound."""
    # Imported here, as all of ACME: most servers have no use for it.
    from lwsws.acme.settings import read_settings
    try:
        return read_settings(Options(entry.options))
    except OptionError:
        return None     # server/protocols.py complains of it


# http-01.


def is_for_challenges(path: str) -> bool:
    """Whether a CA may ask for the path `path`."""
    from lwsws.acme.board import WELL_KNOWN
    return path.startswith(f"{WELL_KNOWN}/")


def on_port_80(config: Config, each: Asked) -> List[VhostConfig]:
    """The vhosts at which a CA may arrive that looks for http-01, of whatever kind they are."""
    interface = each.vhost.interface
    return [vhost for vhost in config.vhosts if vhost.port == HTTP_PORT and not vhost.unix_socket
            and (not vhost.interface or not interface or vhost.interface == interface)]


def speaks_http(vhost: VhostConfig) -> bool:
    """Whether plain http is spoken there."""
    return not (vhost.host_ssl_cert or vhost.apply_listen_accept)


def with_challenge_port(config: Config, asked: List[Asked]) -> Tuple[Config, Tuple[VhostConfig, ...]]:
    """`config` with vhosts on port 80 for nothing but challenges, if http-01 needs them; and these."""
    added: List[VhostConfig] = []
    for each in asked:
        names = [name for name in each.settings.names if not name.startswith("*.")]
        if each.settings.challenge != "http-01" or each.vhost.unix_socket or each.vhost.listen_fd:
            continue
        there = on_port_80(config, each)
        if not there:
            added.append(_for_challenges(each, names[0], each.vhost))
        elif speaks_http(there[0]) and there[0].strict_host_check:
            # Who asks for another name than those of the vhosts gets no answer there.
            added += [_for_challenges(each, name, there[0]) for name in names if not _is_named(there, name)]
    return config._replace(vhosts=(*config.vhosts, *added)), tuple(added)


def _is_named(vhosts: List[VhostConfig], name: str) -> bool:
    return any(name == vhost.name or name.endswith(f".{vhost.name}") for vhost in vhosts)


def _for_challenges(each: Asked, name: str, beside: VhostConfig) -> VhostConfig:
    """A vhost without mounts, on port 80 of the addresses of `beside`."""
    return VhostConfig(name, HTTP_PORT, beside.interface, noipv6=beside.noipv6, ipv6only=beside.ipv6only,
                       listen_fd=beside.listen_fd, where=each.where, path=each.path)


# The openssl program.


def openssl_tool() -> str:
    """Its path, "" if there is none."""
    from lwsws.net.openssl import DEFAULT_PATH, find_openssl
    return find_openssl(os.environ.get("PATH", "")) or find_openssl(DEFAULT_PATH)


def hidden_tool(path: str) -> Tool:
    """The program at `path` so that nobody can look into it but root, where that can be had; for root."""
    from lwsws.net.openssl import hidden_copy
    if os.geteuid() == 0:
        try:
            return hidden_copy(path)
        except OSError as error:
            log.info(f"acme: {path} is run as it is ({error.strerror}): other programs of that user could "
                     "look into it")
    return path


# Their files.


def open_certificates(asked: List[Asked], keeper: Keeper, now: float) -> List[Store]:
    """The files of those whose files can be had at `now` (unix seconds); why others cannot is logged."""
    from lwsws.acme.store import Store, StoreError
    stores = []
    for each in asked:
        try:
            for path in (each.settings.cert_path, each.settings.key_path, each.settings.ca_file):
                if path:
                    keeper.allow(READ, path)
            store = Store(each.settings)
        except (StoreError, OSError) as error:
            log.err(f"{each.where}: {each.path}: {error}: no certificate for {each.settings.name}")
            continue
        _put_in_place(store, keeper, now)
        stores.append(store)
    return stores


def put_in_place_of_unsound(config: Config, keeper: Keeper, now: float) -> None:
    """Put in its place what waits for entries whose options are not sound: a misspelled word must not cost
    the vhost the certificate that it has."""
    from lwsws.acme.settings import read_files
    from lwsws.acme.store import Store, StoreError
    for _, entry in entries(config):
        if _settings(entry) is not None:
            continue
        try:
            store = Store(read_files(Options(entry.options)))
        except (OptionError, StoreError):
            continue
        _put_in_place(store, keeper, now)
        store.close()


def _put_in_place(store: Store, keeper: Keeper, now: float) -> None:
    """Let what came while the last processes served take the place of what they had at their start."""
    from lwsws.acme.pending import promote
    from lwsws.acme.store import StoreError
    if not store.lock():
        return      # of an order that is under way: what comes of it is found later
    try:
        _, text = promote(store, keeper, now)
        if text:
            log.notice(f"acme: {text}")
    except (OSError, StoreError) as error:
        log.err(f"acme: {store.settings.name}: the new certificate cannot take its place: {error}")
    finally:
        store.unlock()
