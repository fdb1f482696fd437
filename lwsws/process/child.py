"""The serving process: its start order, its signals and its end.

    read and check the configuration -> open logs, take sockets, load keys -> rlimits -> give up root
    -> sandbox -> plugins -> start-up lines -> accept -> say that it is ready

Every step before the first accept is fatal if it fails, because a server that half works is found
out later and at a worse time.  Faults that only cost one mount are warned about with file and line.

Mostly it has a parent (process/parent.py), which has the sockets and replaces it; with `-f` it is alone.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
from mmap import mmap
from typing import Any, List, NamedTuple, Optional, Tuple

from lwsws import log
from lwsws.config.loader import load_sources
from lwsws.config.model import Config, Fault
from lwsws.config.sources import MAX_BYTES, Sources, read_sources, unpack
from lwsws.handlers.openat2 import kernel_openat2
from lwsws.net.channel import ChildEnd
from lwsws.net.keeper import Keeper, OwnKeeper
from lwsws.net.listening import SocketStore
from lwsws.net.memory_file import read_memory_file
from lwsws.net.notify import Notifier, given_sockets, watchdog_seconds
from lwsws.net.reactor import Reactor
from lwsws.process.dispositions import inherit_nothing
from lwsws.process.generation import Place, Settings
from lwsws.process.link import ParentLink
from lwsws.process.orders import Alone, Orders, UnderParent
from lwsws.process.privileges import PrivilegeError, drop, restrict_umask
from lwsws.process.startup import startup_lines
from lwsws.process.terminal import Terminal
from lwsws.server.build import BuildError
from lwsws.server.identity import resolve
from lwsws.server.plugins import load_plugins, plugin_directories
from lwsws.server.scoreboard import Scoreboard, Slot
from lwsws.server.service import BindError, Service
from lwsws.server.verify import verify

# The exit code for a configuration that cannot be served, with which a new try is of no use (sysexits.h).
BAD_CONFIGURATION = os.EX_CONFIG

# A configuration, packed: its text, at most MAX_BYTES of it, and the names of the files.
MAX_PACKED = 2 * MAX_BYTES


class Post(NamedTuple):
    """Where a process serves: with which settings, under whose orders, with whose help; `slot` is its row on
    the scoreboard, None without one."""

    settings: Settings
    orders: Orders
    keeper: Keeper
    slot: Optional[Slot] = None


def serve_alone(settings: Settings) -> int:
    """Serve in this very process, without a parent; returns the exit code (-f)."""
    inherit_nothing()
    store = SocketStore(given_sockets(os.environ, os.getpid()))
    watchdog = watchdog_seconds(os.environ, os.getpid())
    orders = Alone(Notifier.from_environment(os.environ), watchdog)
    keeper = OwnKeeper(store)
    restrict_umask()
    try:
        return serve(Post(settings, orders, keeper), read_sources(settings.directory))
    finally:
        keeper.close()


def serve_under_parent(settings_values: Tuple[Any, ...], place_values: Tuple[Any, ...],
                       control: Tuple[int, int], requests: Tuple[int, int],
                       slot: Tuple[int, mmap, int]) -> int:
    """Serve as a child of process/parent.py; returns the exit code.

    Gets plain values, because the parent may be of an older version: the fields of Settings and Place, the
    descriptors of both channels, and how many rows the scoreboard has, its memory, and which row is ours.
    """
    settings, place = Settings(*settings_values), Place(*place_values)
    settings.set_up_log()
    log.set_tag(str(os.getpid()))
    link = ParentLink(ChildEnd.of(requests))
    if place.is_first or place.config == -1:
        sources = read_sources(settings.directory)
    else:
        sources = handed_down(place.config)
    orders = UnderParent(place, ChildEnd.of(control), link)
    slots, memory, at = slot
    return serve(Post(settings, orders, link, Scoreboard(slots, memory).slot(at)), sources)


def handed_down(fd: int) -> Sources:
    """The configuration of the generation, from the memfd `fd`, whose offset all processes share."""
    return unpack(read_memory_file(fd, MAX_PACKED))


def check(sources: Sources, settings: Settings, orders: Orders) -> Optional[Config]:
    """The configuration in `sources`, or None; everything wrong with it goes to the log.

    What is not fatal is said by the first process of a generation only.
    """
    place = orders.place
    loaded = load_sources(sources, settings.data_dir)
    for line in loaded.notices if place.is_first else ():
        log.notice(line)
    faults: List[Fault] = list(loaded.faults)
    if loaded.config is not None:
        faults += verify(loaded.config)
    fatal = [str(fault) for fault in faults if fault.fatal]
    for fault in faults:
        if fault.fatal:
            log.err(str(fault))
        elif place.is_first:
            log.warn(str(fault))
    if fatal or loaded.config is None:
        orders.fault(fatal[0] if fatal else "")
        log.err(f"not starting: {len(fatal)} fault{'s' if len(fatal) != 1 else ''} in {settings.directory}; "
                "`lwsws -t` checks a configuration without starting")
        return None
    return loaded.config


def serve(post: Post, sources: Sources) -> int:
    """Serve the configuration in `sources` until a signal or an order ends it; returns the exit code."""
    config = check(sources, post.settings, post.orders)
    if config is None:
        return BAD_CONFIGURATION
    if post.orders.place.is_first:
        post.orders.hand_up(config, sources)
    raise_file_limit(config.globals.rlimit_nofile)
    reactor = Reactor()
    try:
        return _serve(config, reactor, post)
    finally:
        reactor.close()


def _serve(config: Config, reactor: Reactor, post: Post) -> int:
    try:
        service = Service(config, reactor, post.settings.default_plugins, post.keeper, post.slot)
    except OSError as error:
        return _cannot(post, f"cannot open the access log {error.filename or ''}: {error.strerror}")
    except BuildError as error:
        return _cannot(post, str(error))
    try:
        code = _open_and_run(service, config, reactor, post)
    finally:
        ended = service.close()
    if not ended:
        # The interpreter would wait for the thread at its exit, perhaps for ever.
        log.warn("a worker is still busy: ending without it")
        os._exit(code)
    return code


def _open_and_run(service: Service, config: Config, reactor: Reactor, post: Post) -> int:
    try:
        catch_signals(service, reactor, isinstance(post.orders, Alone))
        service.open()
        # Loaded while everything can be read; who serves may not be allowed to read Python's own library.
        kernel_openat2()
        if config.globals.sandbox:
            from lwsws.process.sandbox import confine
        post.keeper.seal()
        drop(resolve(config.globals))
        if config.globals.sandbox:
            confine(config, post.settings.default_plugins, post.keeper.has_parent)
        fault = furnish(service, config, post.settings.default_plugins)
        if fault:
            post.orders.fault(fault)
            return BAD_CONFIGURATION
        reactor.run_once(0)
        if not service.context.winding_down:    # else it was told to end while it was starting
            run(service, reactor, post.orders)
        return 0
    except (BindError, PrivilegeError) as error:
        return _cannot(post, str(error))


def _cannot(post: Post, why: str) -> int:
    """The exit code of a process that cannot serve."""
    log.err(why)
    post.orders.fault(why)
    return 1


def furnish(service: Service, config: Config, default_plugins: str) -> str:
    """Load the plugins and make the protocols.  Why the server cannot start like this; "" if it can."""
    plugins = load_plugins(plugin_directories(config, default_plugins))
    if any(fault.fatal for fault in plugins.faults):
        for fault in plugins.faults:
            (log.err if fault.fatal else log.warn)(str(fault))
        log.err("not starting: a plugin cannot be used")
        return next(str(fault) for fault in plugins.faults if fault.fatal)
    service.furnish(plugins)
    for warning in (*service.site.faults, *service.site.warnings):
        log.warn(str(warning))
    if not service.site.listening:
        log.err("not starting: nothing is left to listen on")
        return "nothing is left to listen on"
    return ""


def catch_signals(service: Service, reactor: Reactor, is_alone: bool) -> None:
    """From here on the end is an orderly one: SIGTERM and SIGINT stop, SIGUSR1 reopens the logs.  Who has a
    parent ignores SIGINT and SIGHUP, which terminals send to both."""
    reactor.add_signal(signal.SIGTERM, service.stop)
    if is_alone:
        reactor.add_signal(signal.SIGINT, service.stop)
        terminal = Terminal()
        reactor.add_signal(signal.SIGHUP, lambda: hang_up(service, terminal))
    reactor.add_signal(signal.SIGUSR1, service.reopen_logs)
    # Whoever started us may have had them blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1))


def run(service: Service, reactor: Reactor, orders: Orders) -> None:
    """Accept and serve until a signal or an order ends it."""
    if orders.place.is_first:
        site = service.site
        for line in startup_lines([item for item in site.listening if service.is_open(item)], site.protocols):
            log.notice(line)
    service.start()
    orders.obey(service, reactor)
    orders.ready(service.config)
    # What exists now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    reactor.run()
    orders.ending(reactor)


def hang_up(service: Service, terminal: Terminal) -> None:
    """What a HUP does without a parent."""
    if terminal.has_gone:
        service.stop()
    else:
        log.warn("a reload needs a parent process, which there is without -f")


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
