"""The service: listeners and connections of one serving process, from bind to the last byte.

`open` binds every endpoint (as root, if that is how we were started), `furnish` makes the protocols, and runs
the code of plugins (not as root any more), `start` begins to accept,
`stop` stops accepting, lets open answers finish within the shutdown time, and ends the reactor.
An interface that is not there yet is polled for while everything else serves.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from lwsws import log
from lwsws.config.model import Config, VhostConfig
from lwsws.core.connection import Connection
from lwsws.core.context import Context
from lwsws.core.role import Role
from lwsws.net.addresses import NOT_YET, BindRetry, interface_addresses, listen_tcp, listen_unix
from lwsws.net.listener import Listener
from lwsws.net.reactor import Reactor
from lwsws.net.workers import Workers
from lwsws.server.build import Listening, Prepared, Site, build_limits, furnish, prepare
from lwsws.server.endpoints import PRIVILEGED_PORTS, Endpoint
from lwsws.server.identity import socket_owner
from lwsws.server.plugin_server import PluginServer
from lwsws.server.plugins import Plugins
from lwsws.server.report import report

if TYPE_CHECKING:
    from lwsws.server.certificates import CertificateWatch

# File descriptors kept free of connections: listeners, logs, served files, the selector.
RESERVED_FDS = 64

# How long the end of the process waits for a job under way; a password hash takes a tenth of a second.
WORKER_SECONDS = 1.0

# Without IPv6 in the kernel, or switched off on every interface, the IPv6 wildcard is left out.
NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


class BindError(Exception):
    """An endpoint cannot be listened on."""


class Service:
    """What one process serves; used on the reactor thread only."""

    def __init__(self, config: Config, reactor: Reactor, default_plugins: str = "") -> None:
        """Make all that needs privileges; OSError if an access log cannot be opened, BuildError as of
        prepare()."""
        settings = config.globals
        self.reactor = reactor
        self.config = config
        self.workers = Workers(reactor, max(1, settings.count_threads))
        self.context = Context(reactor, self.workers, build_limits(settings))
        self.context.connection_gone = self._connection_gone
        self.prepared: Prepared = prepare(config, reactor, default_plugins)
        self.site = Site()      # until it is furnished
        self._started = reactor.now
        self._watch: Optional[CertificateWatch] = None
        if self.prepared.certified:
            from lwsws.server.certificates import CertificateWatch  # loads ssl
            self._watch = CertificateWatch(reactor, self.workers, self.prepared.certified)
        self.max_connections = settings.max_connections or connection_limit()
        self._sockets: Dict[Endpoint, socket.socket] = {}
        self._listeners: List[Listener] = []
        self._retries: List[BindRetry] = []
        # Unix sockets that we bound, with the inode, so that no other's file is ever removed.
        self._socket_files: Dict[str, int] = {}
        self._paused = False

    # Start.

    def open(self) -> None:
        """Bind all endpoints that exist.  BindError names the one that cannot be had."""
        for endpoint, configs in self.prepared.endpoints:
            try:
                self._sockets[endpoint] = bind(endpoint, configs)
                if endpoint.has_file:
                    self._socket_files[endpoint.path] = os.lstat(endpoint.path).st_ino
            except OSError as error:
                if endpoint.may_appear and error.errno in NOT_YET:
                    continue
                if endpoint.family == socket.AF_INET6 and endpoint.is_wildcard and error.errno in NO_IPV6:
                    log.notice(f"no IPv6 on this system: not listening on {endpoint}")
                    continue
                raise BindError(self._bind_fault(endpoint, configs[0], error)) from None

    def _bind_fault(self, endpoint: Endpoint, config: VhostConfig, error: OSError) -> str:
        text = f"{config.where}: cannot listen on {endpoint}: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE and any(
                other.port == endpoint.port and other.family == endpoint.family for other in self._sockets):
            text += (" (another vhost of this configuration listens on the same port of an overlapping "
                     "address: give them the same interface)")
        elif error.errno == errno.EACCES and endpoint.port and endpoint.port < PRIVILEGED_PORTS:
            text += f" (ports below {PRIVILEGED_PORTS} need root or CAP_NET_BIND_SERVICE)"
        return text

    def furnish(self, plugins: Plugins) -> None:
        """Make the protocols, with `plugins` beside the bundled ones; runs their code."""
        server = PluginServer(self.reactor, self.workers, self._status)
        self.site = furnish(self.prepared, plugins, server)
        wanted = {listening.endpoint for listening in self.site.listening}
        for endpoint in [endpoint for endpoint in self._sockets if endpoint not in wanted]:
            self._sockets.pop(endpoint).close()

    def _status(self, hide_vhosts: bool) -> Dict[str, Any]:
        return report(self.context, self.site, self._started, self.max_connections, hide_vhosts)

    def is_open(self, listening: Listening) -> bool:
        """Whether `open` has bound its endpoint, and neither waits for it nor left it out."""
        return listening.endpoint in self._sockets

    def start(self) -> None:
        """Accept connections from now on."""
        for password_file in self.site.password_files:
            password_file.refresh()     # as who serves, so that what is wrong with it is said now
        if self._watch is not None:
            self._watch.start()
        for listening in self.site.listening:
            sock = self._sockets.pop(listening.endpoint, None)
            if sock is not None:
                self._listen(listening, sock)
            elif listening.endpoint.may_appear:
                self._wait_for(listening)

    def _listen(self, listening: Listening, sock: socket.socket) -> None:
        def accepted(peer: socket.socket, address: Any) -> None:
            self._accept(listening.reception.first_role(address), peer, address)

        listener = Listener(self.reactor, sock, accepted, str(listening.endpoint))
        self._listeners.append(listener)
        listener.start()
        if self._paused:
            listener.pause()

    def _wait_for(self, listening: Listening) -> None:
        retry = BindRetry(self.reactor, lambda: bind(listening.endpoint, listening.configs),
                          lambda sock: self._listen(listening, sock), str(listening.endpoint))
        self._retries.append(retry)

    # Connections.

    def _accept(self, role: Role, sock: socket.socket, address: Any) -> None:
        Connection(self.context, sock, address, role)
        if self._is_full() and not self._paused:
            log.warn(f"{self.max_connections} connections are open: accepting no more until one closes")
            self._paused = True
            for listener in self._listeners:
                listener.pause()

    def _is_full(self) -> bool:
        """Whether no more can be accepted; an onward connection needs as much as one of a client."""
        return len(self.context.connections) + self.context.onward >= self.max_connections

    def _connection_gone(self) -> None:
        if self._paused and not self._is_full():
            self._paused = False
            for listener in self._listeners:
                listener.resume()
        if self.context.stopping and not self.context.connections:
            self.reactor.stop()

    # Signals.

    def reopen_logs(self) -> None:
        """Open the access logs anew by name, and look for new certificates (SIGUSR1)."""
        access_logs = self.prepared.shared.access_logs
        for access_log in access_logs.values():
            access_log.reopen()
        count = len(access_logs)
        log.notice(f"reopened {count} access log{'s' if count != 1 else ''}")
        if self._watch is not None:
            changed = self._watch.check_now()
            log.notice(f"looked at the certificates: {changed or 'none'} to load anew")

    def stop(self) -> None:
        """Accept nothing more, finish what is open, end the reactor.  A second call ends it at once."""
        if self.context.stopping:
            self.reactor.stop()
            return
        self.context.stopping = True
        seconds = self.config.globals.shutdown_timeout
        self._close_listeners()
        for listening in self.site.listening:
            for vhosts in listening.reception.sets:
                vhosts.answers.forget()
        for connection in list(self.context.connections):
            connection.role.shutdown()
        count = len(self.context.connections)
        plural = "s" if count != 1 else ""
        waiting = f": {count} connection{plural} still open, waiting up to {seconds} s" if count else ""
        log.notice(f"stopping{waiting}")
        self.reactor.call_later(seconds, self.reactor.stop)
        if not count:
            self.reactor.stop()

    def _close_listeners(self) -> None:
        for retry in self._retries:
            retry.cancel()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for path, inode in self._socket_files.items():
            remove_socket_file(path, inode)
        self._socket_files.clear()

    def close(self) -> bool:
        """Let go of everything, after the reactor has ended; False if a worker thread does not end."""
        for connection in list(self.context.connections):
            connection.abort()
        self._close_listeners()
        if self._watch is not None:
            self._watch.close()
        self.reactor.run_once(0)    # those who were aborted are told, and log what had been sent
        for sock in self._sockets.values():
            sock.close()
        for protocols in self.site.protocols:
            protocols.destroy()
        for access_log in self.prepared.shared.access_logs.values():
            access_log.close()
        return self.workers.stop(WORKER_SECONDS)


def connection_limit() -> int:
    """How many connections RLIMIT_NOFILE allows, with room for everything else."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return 1 << 20
    # Each connection may have a file open beside its socket; most have none at a time.
    return max(16, soft - max(RESERVED_FDS, soft // 16))


def bind(endpoint: Endpoint, configs: Sequence[VhostConfig]) -> socket.socket:
    """A listening socket for the endpoint that the vhosts of `configs` share; OSError if it cannot be had."""
    if endpoint.path:
        uid, gid = socket_owner(configs[0].unix_socket_perms)
        return listen_unix(endpoint.path, uid, gid)
    host = endpoint.host
    if endpoint.interface:
        addresses = interface_addresses(endpoint.interface, endpoint.family)
        if not addresses:
            raise OSError(errno.EADDRNOTAVAIL, f"interface {endpoint.interface} has no such address")
        host = addresses[0]
    return listen_tcp(host, endpoint.port, endpoint.family,
                      fastopen=max(config.fo_listen_queue for config in configs))


def remove_socket_file(path: str, inode: int) -> None:
    """Remove the unix socket at `path` if it is still the one that we bound."""
    try:
        if os.lstat(path).st_ino == inode:
            os.unlink(path)
    except OSError:
        pass    # gone, or in a directory that the dropped privileges cannot write: the next start replaces it
