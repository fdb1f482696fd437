"""The service: listeners and connections of one serving process, from its sockets to the last byte.

`open` gets the sockets of every endpoint from the keeper (as root, if that is how we were started), `furnish`
makes the protocols, and runs the code of plugins (not as root any more), `start` begins to accept.
An interface that is not there yet is polled for while everything else serves.

There are two ways to the end, and the first may lead to the second:

    deprecate   a newer process has taken over: accept nothing more, serve what is open for as long as it
                takes, but each answer is the last of its connection; the last connection ends the process
    stop        the server ends: the same, but sessions are closed, and idle connections soon; what is still
                open after the shutdown time is broken off

No request is lost by either.  What waits to be accepted is accepted first (see `_wind_down`), a connection
that was not told of the end may send one more request, and the answer to that tells it.
"""

from __future__ import annotations

import errno
import resource
import socket
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Set

from lwsws import __version__, log
from lwsws.config.model import Config, VhostConfig
from lwsws.core.connection import Connection
from lwsws.core.context import Context
from lwsws.core.peers import MAPPED_TEXT, address_key, peer_name
from lwsws.core.role import Role
from lwsws.net.bind import NOT_YET, is_dual
from lwsws.net.bind_retry import BindRetry
from lwsws.net.keeper import Keeper, OwnKeeper
from lwsws.net.listener import Accepted, Listener
from lwsws.net.listening import Endpoint, Terms
from lwsws.net.reactor import Reactor
from lwsws.net.timers import Timer
from lwsws.net.workers import Workers
from lwsws.server.build import Listening, Prepared, Site, build_limits, furnish, prepare
from lwsws.server.endpoints import PRIVILEGED_PORTS
from lwsws.server.identity import socket_owner
from lwsws.server.plugin_server import PluginServer
from lwsws.server.plugins import Plugins
from lwsws.server.report import make_own_slot, own_row, report
from lwsws.server.scoreboard import Slot

if TYPE_CHECKING:
    from lwsws.acme.certifier import Certifier
    from lwsws.server.certificates import CertificateWatch

# File descriptors kept free of connections: listeners, logs, served files, the selector.
RESERVED_FDS = 64
# The files of a certificate by ACME are open all the time.
FDS_OF_STORE = 4

# How long the end of the process waits for a job under way; a password hash takes a tenth of a second.
WORKER_SECONDS = 1.0

# How often a deprecated process says how many connections it still has, if the number has changed.
COUNT_SECONDS = 60.0
# How soon it looks again whether the jobs of its workers are done, when it has nothing else to wait for.
JOB_SECONDS = 0.2
# The row on the scoreboard is at most so old while connections come and go.
ROW_SECONDS = 0.5

# Without IPv6 in the kernel, or switched off on every interface, the IPv6 wildcard is left out.
NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


class BindError(Exception):
    """An endpoint cannot be listened on."""


class Service:
    """What one process serves; used on the reactor thread only."""

    def __init__(self, config: Config, reactor: Reactor, default_plugins: str = "",
                 keeper: Optional[Keeper] = None, slot: Optional[Slot] = None) -> None:
        """Make all that needs privileges; OSError if an access log cannot be opened, BuildError as of
        prepare().  `keeper` has the sockets (None: this process does), `slot` is on the scoreboard."""
        settings = config.globals
        self.reactor = reactor
        self.config = config
        self.workers = Workers(reactor, max(1, settings.count_threads))
        self.context = Context(reactor, self.workers, build_limits(settings))
        self.context.connection_gone = self._connection_gone
        self.keeper = keeper or OwnKeeper()
        self.slot = slot or make_own_slot()
        self.prepared: Prepared = prepare(config, reactor, default_plugins, self.keeper)
        self.site = Site()      # until it is furnished
        self._started = reactor.now
        self._watch: Optional[CertificateWatch] = None
        if self.prepared.certified:
            from lwsws.server.certificates import CertificateWatch  # loads ssl
            self._watch = CertificateWatch(reactor, self.workers, self.prepared.certified,
                                           keeper=self.prepared.shared.files)
        self._certifier = self._make_certifier()
        self.max_connections = settings.max_connections or connection_limit(
            FDS_OF_STORE * len(self.prepared.stores))
        # Until they have listeners; none where those of another endpoint take the connections, too.
        self._sockets: Dict[Endpoint, List[socket.socket]] = {}
        self._given_up: Set[Endpoint] = set()   # which may be done without
        self._listeners: List[Listener] = []
        self._retries: List[BindRetry] = []
        self._paused = False
        self._row_timer: Optional[Timer] = None
        self._ending: Optional[Timer] = None    # when deprecated: the stop to come
        self._said = -1                         # how many connections it then had, as logged; -1: none
        self._told_all = False                  # when stopping: every connection knows

    # Start.

    def open(self) -> None:
        """Bind all endpoints that exist.  BindError names the one that cannot be had."""
        for endpoint, configs in self.prepared.endpoints:
            try:
                sockets = self._sockets[endpoint] = self._bind(endpoint, configs)
            except OSError as error:
                if set(map(id, configs)) <= set(map(id, self.prepared.optional)):
                    log.warn(f"{self._bind_fault(endpoint, configs[0], error)}: a CA that comes there for "
                             "http-01 gets no answer of ours")
                    self._given_up.add(endpoint)
                    continue
                if endpoint.may_appear and error.errno in NOT_YET:
                    continue
                if endpoint.family == socket.AF_INET6 and endpoint.is_wildcard and error.errno in NO_IPV6:
                    log.notice(f"no IPv6 on this system: not listening on {endpoint}")
                    continue
                raise BindError(self._bind_fault(endpoint, configs[0], error)) from None
            if not sockets:
                log.notice(f"{endpoint}: another socket that systemd passes takes its connections, too")

    def _bind(self, endpoint: Endpoint, configs: Sequence[VhostConfig]) -> List[socket.socket]:
        """Our sockets for the endpoint that the vhosts of `configs` share; OSError if it cannot be had."""
        uid, gid = socket_owner(configs[0].unix_socket_perms) if endpoint.path else (-1, -1)
        fastopen = max(config.fo_listen_queue for config in configs)
        return self.keeper.listen(endpoint, Terms(self.config.globals.processes, fastopen, uid, gid))

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
            for sock in self._sockets.pop(endpoint):
                sock.close()
            self.keeper.release(endpoint)

    def _make_certifier(self) -> Optional[Certifier]:
        """What keeps the certificates that come by ACME; None if there are none."""
        stores = self.prepared.stores
        if not stores:
            return None
        from lwsws.acme.certifier import Certifier
        from lwsws.server.acme import hidden_tool, openssl_tool
        tool = openssl_tool()
        if not tool:
            log.err("acme: certificates need the program openssl, and there is none: install the package "
                    "openssl. Serving without")
            return None
        agent = f"lwsws/{__version__}"
        return Certifier(self.context, stores, self.prepared.certified, self.keeper, hidden_tool(tool), agent,
                         self._certificates_changed)

    def _certificates_changed(self) -> None:
        if self._watch is not None:
            self._watch.check_now()

    def _status(self, hide_vhosts: bool) -> Dict[str, Any]:
        return report(self.context, self.site, self._started, self.max_connections, self.slot, hide_vhosts)

    def is_open(self, listening: Listening) -> bool:
        """Whether `open` has sockets for its endpoint, and neither waits for it nor left it out."""
        return bool(self._sockets.get(listening.endpoint))

    def start(self) -> None:
        """Accept connections from now on.  BindError as of open(): some sockets were only bound so far."""
        for password_file in self.site.password_files:
            password_file.refresh()     # as who serves, so that what is wrong with it is said now
        if self._watch is not None:
            self._watch.start()
        if self._certifier is not None:
            self._certifier.start()
        for listening in self.site.listening:
            endpoint = listening.endpoint
            if endpoint in self._sockets:
                try:
                    self._listen(listening, self._sockets.pop(endpoint))
                except OSError as error:
                    raise BindError(self._bind_fault(endpoint, listening.configs[0], error)) from None
            elif endpoint.may_appear and endpoint not in self._given_up:
                self._wait_for(listening)
        self._write_row()

    def _listen(self, listening: Listening, sockets: List[socket.socket]) -> None:
        label = str(listening.endpoint)
        listeners = [Listener(self.reactor, sock, self._acceptor(listening, sock), label) for sock in sockets]
        self._listeners += listeners
        for listener in listeners:
            listener.start()
            if self._paused:
                listener.pause()

    def _acceptor(self, listening: Listening, sock: socket.socket) -> Accepted:
        """What takes the connections that `sock` accepts."""
        reception = listening.reception
        if not is_dual(sock):
            return lambda peer, address: self._accept(reception.first_role(address), peer, address)
        # One of systemd, for both families; which of our two endpoints got it does not matter.
        port = listening.endpoint.port
        by_host = {item.endpoint.host: item.reception for item in self.site.listening
                   if item.endpoint.is_wildcard and item.endpoint.port == port}
        ipv4, ipv6 = by_host.get("0.0.0.0", reception), by_host.get("::", reception)

        def accepted(peer: socket.socket, address: Any) -> None:
            chosen = ipv4 if address[0].startswith(MAPPED_TEXT) else ipv6
            self._accept(chosen.first_role(address), peer, address)

        return accepted

    def _wait_for(self, listening: Listening) -> None:
        retry = BindRetry(self.reactor, lambda: self._bind(listening.endpoint, listening.configs),
                          lambda sockets: self._listen(listening, sockets), str(listening.endpoint))
        self._retries.append(retry)

    # Connections.

    def _accept(self, role: Role, sock: socket.socket, address: Any) -> None:
        key, peers = "", self.context.peers
        if peers is not None and role.knows_peer:
            key = address_key(peer_name(address)) or ""
            if key and not peers.admit(key):
                sock.close()
                return
        Connection(self.context, sock, address, role, key)
        if self._row_timer is None:
            self._write_row_soon()
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
        if self._row_timer is None:
            self._write_row_soon()
        if self.context.winding_down and not self.context.connections:
            self._end()

    def _write_row_soon(self) -> None:
        self._row_timer = self.reactor.call_later(ROW_SECONDS, self._write_row)

    def _write_row(self) -> None:
        """Say on the scoreboard how we are."""
        if self._row_timer is not None:
            self._row_timer.cancel()
            self._row_timer = None
        self.slot.write(own_row(self.context, self.site, self.slot))

    # Signals.

    def reopen_logs(self) -> None:
        """Open the access logs anew by name, and look for new certificates (SIGUSR1)."""
        access_logs = self.prepared.shared.access_logs
        for access_log in access_logs.values():
            access_log.reopen()
        count = len(access_logs)
        # Of several processes, each says the same.
        tell = log.notice if self.config.globals.processes == 1 else log.info
        tell(f"reopened {count} access log{'s' if count != 1 else ''}")
        if self._watch is not None:
            changed = self._watch.check_now()
            tell(f"looked at the certificates: {changed or 'none'} to load anew")

    # The end.

    def deprecate(self, seconds: float = 0) -> None:
        """A newer process has taken over: end with the last connection; `seconds` later stop(), unless 0."""
        if self.context.winding_down:
            return
        self._wind_down()
        if seconds > 0:
            self._ending = self.reactor.call_later(seconds, self.stop)
        log.info("deprecated: a newer process has taken over")
        self._write_row()
        if self.context.connections:
            self._count_down()
        else:
            self._end()

    def _count_down(self) -> None:
        """Say how many connections are left, now and then."""
        count = len(self.context.connections)
        if self.context.stopping or not count:
            return
        if count != self._said:
            log.notice(f"deprecated: {count} connection{'s' if count != 1 else ''} still open")
            self._said = count
        self.reactor.call_later(COUNT_SECONDS, self._count_down)

    def stop(self) -> None:
        """Accept nothing more, finish what is open, end the reactor.  A second call ends it at once."""
        if self.context.stopping:
            self.reactor.stop()
            return
        self._wind_down()
        self.context.stopping = True
        if self._ending is not None:
            self._ending.cancel()
        self.reactor.call_later(self.config.globals.shutdown_timeout, self.reactor.stop)
        self._write_row()
        # First let this pass end, and another one read all that has come: who has sent a request is not idle.
        self.reactor.call_soon(lambda: self.reactor.call_soon(self._tell_all))

    def _tell_all(self) -> None:
        """Let each connection end when it can."""
        self._told_all = True
        for connection in list(self.context.connections):
            connection.role.shutdown()
        count = sum(not connection.transport.closed for connection in self.context.connections)
        plural, seconds = "s" if count != 1 else "", self.config.globals.shutdown_timeout
        waiting = f": {count} connection{plural} still open, waiting up to {seconds} s" if count else ""
        log.notice(f"stopping{waiting}")
        if not self.context.connections:
            self._end()

    def _end(self) -> None:
        """There is no connection any more, and none will come."""
        if self.context.stopping:
            if self._told_all:
                self.reactor.stop()
        elif (self.context.onward or self.context.program_counts[1]
              or self.workers.busy or self.workers.waiting
              or (self._certifier is not None and self._certifier.busy)):
            # Nobody is in a hurry: what a plugin or a program has begun can come to its end, and an order.
            self.reactor.call_later(JOB_SECONDS, self._end)
        else:
            if self._said >= 0:
                log.info("the last connection has closed")
            self.reactor.stop()

    def _wind_down(self) -> None:
        """Accept nothing more, after what waits already, and let each answer be the last of its connection.

        Those who wait in a backlog are connected as far as they know, and would be reset where ours is the
        last copy of the socket: without a parent, when the whole server ends, or when the configuration that
        took over does not listen there any more.  Where others have a copy as well (the next generation,
        systemd), they could be left to them, as all who come from now on are; but to take them costs nothing,
        and leaves nobody behind for whom systemd would start a server that was just told to stop.
        """
        if self.context.winding_down:
            return
        self.context.winding_down = True
        if self._watch is not None:     # there will be no handshakes
            self._watch.close()
            self._watch = None
        if self._certifier is not None:
            self._certifier.wind_down()
        for listening in self.site.listening:
            for vhosts in listening.reception.sets:
                vhosts.answers.forget()     # they promise that the connection goes on
        for pool in self.prepared.shared.pools:
            pool.close()
        self.keeper.wind_down()
        self._close_listeners(take_waiting=True)

    def _close_listeners(self, take_waiting: bool = False) -> None:
        for retry in self._retries:
            retry.cancel()
        for listener in self._listeners:
            self.reactor.guarded(listener.close, take_waiting)
        self._listeners.clear()

    def close(self) -> bool:
        """Let go of everything, after the reactor has ended; False if a worker thread does not end."""
        self.context.connection_gone = None
        for connection in list(self.context.connections):
            connection.abort()
        if self._row_timer is not None:
            self._row_timer.cancel()
        self.keeper.wind_down()
        self._close_listeners()
        for pool in self.prepared.shared.pools:
            pool.close()
        if self._watch is not None:
            self._watch.close()
        if self._certifier is not None:
            self._certifier.close()
        self.reactor.run_once(0)    # those who were aborted are told, and log what had been sent
        for sockets in self._sockets.values():
            for sock in sockets:
                sock.close()
        for protocols in self.site.protocols:
            protocols.destroy()
        for access_log in self.prepared.shared.access_logs.values():
            access_log.close()
        for store in self.prepared.stores:
            store.close()
        ended = self.workers.stop(WORKER_SECONDS)
        self.context.end_programs()     # those too that a worker has just started
        return ended


def connection_limit(more: int = 0) -> int:
    """How many connections RLIMIT_NOFILE allows, with room for everything else, and `more` descriptors."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return 1 << 20
    # Each connection may have a file open beside its socket; most have none at a time.
    return max(16, soft - max(RESERVED_FDS, soft // 16) - more)
