"""The serving process: its start order, its signals and its end.

    read and check the configuration -> open logs, bind -> privileges -> plugins -> start-up lines -> accept

Every step before the first accept is fatal if it fails, because a server that half works is found
out later and at a worse time.  Faults that only cost one mount are warned about with file and line.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
from typing import Iterator, List, Optional, Sequence

from lwsws import log
from lwsws.config.loader import load
from lwsws.config.model import Config, Fault, VhostConfig
from lwsws.handlers.openat2 import kernel_openat2
from lwsws.net.reactor import Reactor
from lwsws.process.privileges import PrivilegeError, drop
from lwsws.server.build import BuildError, Listening
from lwsws.server.identity import resolve
from lwsws.server.plugins import load_plugins, plugin_directories
from lwsws.server.service import BindError, Service
from lwsws.server.verify import verify


def read_config(directory: str, data_dir: str) -> Optional[Config]:
    """The checked configuration of `directory`, or None; everything wrong with it goes to the log."""
    loaded = load(directory, data_dir)
    for line in loaded.notices:
        log.notice(line)
    faults: List[Fault] = list(loaded.faults)
    if loaded.config is not None:
        faults += verify(loaded.config)
    for fault in faults:
        (log.err if fault.fatal else log.warn)(str(fault))
    fatal = sum(fault.fatal for fault in faults)
    if fatal or loaded.config is None:
        log.err(f"not starting: {fatal} fault{'s' if fatal != 1 else ''} in {directory}; "
                "`lwsws -t` checks a configuration without starting")
        return None
    return loaded.config


def serve(directory: str, data_dir: str, default_plugins: str = "") -> int:
    """Serve the configuration of `directory` until a signal ends it; returns the exit code.
    `default_plugins` is a plugin directory beside those of the configuration."""
    config = read_config(directory, data_dir)
    if config is None:
        return 1
    raise_file_limit(config.globals.rlimit_nofile)
    reactor = Reactor()
    try:
        return _serve(config, reactor, default_plugins)
    finally:
        reactor.close()


def _serve(config: Config, reactor: Reactor, default_plugins: str) -> int:
    try:
        service = Service(config, reactor, default_plugins)
    except OSError as error:
        log.err(f"cannot open the access log {error.filename}: {error.strerror}")
        return 1
    except BuildError as error:
        log.err(str(error))
        return 1
    try:
        code = _open_and_run(service, config, reactor, default_plugins)
    finally:
        ended = service.close()
    if not ended:
        # The interpreter would wait for the thread at its exit, perhaps for ever.
        log.warn("a worker is still busy: ending without it")
        os._exit(code)
    return code


def _open_and_run(service: Service, config: Config, reactor: Reactor, default_plugins: str) -> int:
    try:
        catch_signals(service, reactor)
        service.open()
        # Loaded while everything can be read; who serves may not be allowed to read Python's own library.
        kernel_openat2()
        drop(resolve(config.globals))
        if not furnish(service, config, default_plugins):
            return 1
        for line in startup_lines([item for item in service.site.listening if service.is_open(item)]):
            log.notice(line)
        run(service, reactor)
        return 0
    except (BindError, PrivilegeError) as error:
        log.err(str(error))
        return 1


def furnish(service: Service, config: Config, default_plugins: str) -> bool:
    """Load the plugins and make the protocols; False if the server cannot start like this."""
    plugins = load_plugins(plugin_directories(config, default_plugins))
    if any(fault.fatal for fault in plugins.faults):
        for fault in plugins.faults:
            (log.err if fault.fatal else log.warn)(str(fault))
        log.err("not starting: a plugin cannot be used")
        return False
    service.furnish(plugins)
    for warning in (*service.site.faults, *service.site.warnings):
        log.warn(str(warning))
    if not service.site.listening:
        log.err("not starting: nothing is left to listen on")
        return False
    return True


def catch_signals(service: Service, reactor: Reactor) -> None:
    """From here on the end is an orderly one: SIGTERM and SIGINT stop, SIGUSR1 reopens the logs."""
    reactor.add_signal(signal.SIGTERM, service.stop)
    reactor.add_signal(signal.SIGINT, service.stop)
    reactor.add_signal(signal.SIGUSR1, service.reopen_logs)
    # Not served yet, but the default action would kill the server.
    reactor.add_signal(signal.SIGHUP, ignore_hup)


def run(service: Service, reactor: Reactor) -> None:
    """Accept and serve until a signal ends it."""
    service.start()
    # What exists now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    reactor.run()


def ignore_hup() -> None:
    """What a HUP does for now."""
    log.warn("reload by HUP is not served by this version: restart instead")


def raise_file_limit(wanted: int) -> None:
    """Set RLIMIT_NOFILE to `wanted`, or (0) to all that the hard limit allows: each connection needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    goal = wanted or hard
    try:
        unlimited = hard == resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard if unlimited else max(goal, hard)))
    except (OSError, ValueError) as error:
        if wanted:
            log.warn(f"rlimit-nofile {wanted} cannot be set (now {soft}, at most {hard}): {error}")


def startup_lines(listening: Sequence[Listening]) -> List[str]:
    """What is served where, one line a mount, and the default vhost of each address."""
    lines = []
    for item in listening:
        names = ", ".join(vhost.name for vhost in item.configs)
        default = f"; {item.configs[0].name} answers unknown names" if len(item.configs) > 1 else ""
        lines.append(f"listening on {item.endpoint} for {names}{default}")
    seen = set()
    for item in listening:
        for vhost in item.configs:
            if id(vhost) in seen:
                continue
            seen.add(id(vhost))
            lines.extend(vhost_lines(vhost))
    return lines


def vhost_lines(vhost: VhostConfig) -> Iterator[str]:
    """What one vhost serves, one line a mount, and where raw connections go."""
    scheme, usual = ("https", 443) if vhost.host_ssl_cert else ("http", 80)
    port = "" if vhost.port == usual else f":{vhost.port}"
    place = f"unix:{vhost.interface}" if vhost.unix_socket else f"{vhost.name}{port}"
    if vhost.apply_listen_accept or vhost.has_fallback:
        which = "what is not TLS" if vhost.host_ssl_cert else "what is not http"
        if vhost.apply_listen_accept:
            which = "all connections"
        yield f"{place}: {which} -> {vhost.listen_accept_protocol or 'its raw protocol'}"
    if vhost.apply_listen_accept:
        return
    if vhost.ws_protocols:
        names = ", ".join(entry.name for entry in vhost.ws_protocols)
        yield f"{place}: protocols {names}"
    base = f"{place}:" if vhost.unix_socket else f"{scheme}://{place}"
    for mount in vhost.mounts:
        slash = "" if mount.mountpoint == "/" else "/"
        yield f"{base}{mount.mountpoint}{slash} -> {mount.origin.text}"
