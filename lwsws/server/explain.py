"""`--explain URL`: what a request for URL would meet, and why, found out by asking (server/ask.py).

The site is built as for serving and gets a real request, so the answer told is the one that would be
served.  Nothing is bound, and no access log is opened.  What the answer does not show is read off the
exchange: vhost, mount and file.  Where a file is refused without a word, the reason is looked for.
"""

from __future__ import annotations

import os
import stat
from typing import Callable, Dict, List, Optional, Tuple

from lwsws import archive
from lwsws.config.keys import SERVED_ORIGINS
from lwsws.config.model import Config, MountConfig
from lwsws.core.errorpage import error_page
from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.vhost import VhostSet
from lwsws.handlers.file import DEFAULT_FILE
from lwsws.net.bind import address_family
from lwsws.net.reactor import Reactor
from lwsws.server.acme import has_certificates, is_for_challenges
from lwsws.server.ask import Outcome, ask
from lwsws.server.build import Listening, Site, look, prepare
from lwsws.server.plugins import RUNS_FOREIGN_CODE, Plugins
from lwsws.server.question import Question, Unaskable, reaches, read_url
from lwsws.wire.http1_write import REASONS

# The fields that say what an answer is.
TOLD_FIELDS = frozenset(("location", "content-type", "content-encoding", "content-length", "cache-control",
                         "www-authenticate"))


def explain(config: Config, url: str, load: Callable[[], Plugins] = Plugins) -> Tuple[List[str], bool]:
    """Lines that explain what a GET of `url` would meet, and whether it gets something better than an error.

    `load` loads the plugins; it is called at the point where serving has given up root.
    """
    try:
        question = read_url(config.vhosts, url)
    except Unaskable as error:
        return [f"request   none: {error}"], False
    reactor = Reactor(names_slow=False)
    try:
        configs = without_logs(config), _unlocked(config)
        prepared = [prepare(seen, reactor, serves=False) for seen in configs]
        plugins = load()
        site, unlocked = [look(one, plugins) for one in prepared]
        explainer = Explainer(config, reactor, site, unlocked)
        served = explainer.explain(question)
        return explainer.lines, served
    finally:
        reactor.close()


def without_logs(config: Config) -> Config:
    """`config` without access logs: looking at it leaves no trace."""
    return config._replace(vhosts=tuple(vhost._replace(access_log="") for vhost in config.vhosts))


def _unlocked(config: Config) -> Config:
    """The same as those meet it who have logged in."""
    return config._replace(vhosts=tuple(
        vhost._replace(access_log="", mounts=tuple(mount._replace(basic_auth="") for mount in vhost.mounts))
        for vhost in config.vhosts))


class Explainer:
    """Asks, and gathers the lines of the explanation."""

    def __init__(self, config: Config, reactor: Reactor, site: Site, unlocked: Site) -> None:
        """`unlocked` is `site` without passwords; what it answers is told beside a 401."""
        self.config = config
        self.reactor = reactor
        self.site = site
        self.unlocked = unlocked
        self.lines: List[str] = []

    def _say(self, what: str, text: str) -> None:
        self.lines.append(f"{what:<10}{text}")

    def explain(self, question: Question) -> bool:
        """Explain `question`; whether it gets better than an error from each listener that it may reach."""
        self._say("request", "  ".join(question.head.decode("ascii").split("\r\n")).strip())
        self._tell_left_out(question)
        # Endpoints with the same vhosts give the same answer.
        alike: Dict[Tuple[int, ...], List[int]] = {}
        for index, listening in enumerate(self.site.listening):
            ports = [vhost.port for vhost in listening.configs]
            if reaches(question, listening.endpoint, ports):
                alike.setdefault(tuple(map(id, listening.configs)), []).append(index)
        if not alike:
            self._say("listener", self._no_listener(question))
            return False
        if len(alike) > 1:
            self._say("", f"(which of the listeners below it is, depends on the address of {question.name})")
        answers = [self._explain_at(question, indexes) for indexes in alike.values()]
        return all(answers)

    def _tell_left_out(self, question: Question) -> None:
        """Name the vhosts that would be asked if they could be served."""
        for vhost, reason in self.site.left_out:
            here = vhost.interface == question.unix_path if vhost.unix_socket else vhost.port == question.port
            if here:
                self._say("", f"({vhost.where}: {vhost.path}: {vhost.name} does not listen: {reason})")

    def _no_listener(self, question: Question) -> str:
        others = ", ".join(str(listening.endpoint) for listening in self.site.listening)
        return f"none: no vhost listens on {question.place}" + (f"; there is {others}" if others else "")

    def _explain_at(self, question: Question, indexes: List[int]) -> bool:
        """Explain what the endpoints at `indexes` of the site answer."""
        listening = self.site.listening[indexes[0]]
        self._say("listener", ", ".join(str(self.site.listening[index].endpoint) for index in indexes))
        vhosts = self._met(question, listening)
        if vhosts is None:
            return False
        outcome = ask(self.reactor, self.config.globals, vhosts, question.head)
        mount = self._tell_way(question, listening, vhosts, outcome)
        reason = self._tell_file(mount, outcome) if mount is not None else ""
        self._tell_answer("answer", outcome, reason, mount)
        if mount is not None and outcome.status == 401:
            unlocked = self.unlocked.listening[indexes[0]].reception.met(question.is_secure, question.literal)
            assert unlocked is not None
            logged_in = ask(self.reactor, self.config.globals, unlocked, question.head)
            self._tell_answer("logged in", logged_in, reason, mount)
        return outcome.status < 400

    def _met(self, question: Question, listening: Listening) -> Optional[VhostSet]:
        """The vhosts that the request gets to; None, with the reason told, if it does not get to any."""
        name = question.literal
        vhosts = listening.reception.met(question.is_secure, "" if address_family(name) else name)
        if vhosts is not None:
            if vhosts.bound is not None:
                demands = ", which demands one of the client" if vhosts.bound.demands_certificate else ""
                self._say("TLS", f"with the certificate of {vhosts.bound.name}{demands}")
            return vhosts
        if not question.is_secure and listening.reception.has_fallback:
            reason = "no http: what is not TLS goes to the fallback"
        elif not question.is_secure:
            reason = "raw connections only, no http" if listening.reception.sites is None else \
                'TLS only: ask with https://, or see "allow-non-tls"'
        elif listening.reception.sites is None:
            reason = "plain http only, no TLS: ask with http://"
        else:
            reason = f"no http over TLS for {name}"
        self._say("answer", f"none: {reason}")
        return None

    def _tell_way(self, question: Question, listening: Listening, vhosts: VhostSet,
                  outcome: Outcome) -> Optional[MountConfig]:
        """Say which path, vhost and mount it is, and why; returns the mount, None without."""
        exchange = outcome.exchange
        if exchange is None:
            return None
        if exchange.path != question.target.partition("?")[0]:
            self._say("path", f"{exchange.path!r}, decoded and without dot segments")
        index = vhosts.vhosts.index(exchange.vhost)
        config = listening.configs[index]
        self._say("vhost", f"{config.name}  ({config.where}: {config.path}; {_why_vhost(vhosts, exchange)})")
        if has_certificates(self.config) and is_for_challenges(exchange.path):
            self._say("acme", "if it is an http-01 challenge that is up, that is answered before any mount")
        chosen = exchange.mount
        if not question.is_secure and config.host_ssl_cert and not config.is_in_the_clear_too:
            self._say("mount", "none: it is plain http on a TLS port")
            return None
        if chosen is None:
            if outcome.status == 404:
                self._say("mount", f"none: no mountpoint fits {exchange.path!r}")
            return None
        mount = next(item for item in config.mounts
                     if item.mountpoint.rstrip("/") == chosen.prefix and item.exact_match == chosen.exact)
        fits = "exactly this path" if mount.exact_match else "the longest mountpoint that fits"
        self._say("mount", f"{mount.mountpoint}  ({mount.where}: {mount.path}; {fits})")
        return mount

    def _tell_file(self, mount: MountConfig, outcome: Outcome) -> str:
        """Say what handles the mount and which file it is; returns why the file would be refused, if so."""
        exchange, origin = outcome.exchange, mount.origin
        later = "" if origin.kind in SERVED_ORIGINS else ", which this version does not serve"
        self._say("handler", f"{origin.kind} for {origin.text}{later}")
        if mount.basic_auth:
            self._say("auth", f"basic-auth with {mount.basic_auth}; this request has no name and password")
        if origin.kind == "cgi" and exchange is not None:
            self._tell_program(mount, exchange.rest)
        if origin.kind == "proxy" and exchange is not None:
            self._tell_origins(mount, exchange)
        if origin.kind != "file" or exchange is None or not exchange.rest:
            return ""
        path = file_path(mount, exchange.rest)
        self._say("file", path)
        return why_refused(mount, exchange.rest, path)

    def _tell_program(self, mount: MountConfig, rest: str) -> None:
        """Say which program it is, and what it is told; nothing if there is none, which the answer says."""
        from lwsws.handlers.cgi_program import Scripts
        try:
            script = Scripts(mount).locate(rest)
        except HttpError:
            return
        if script is not None:
            self._say("program", " ".join(script.argv))
            self._say("", f"SCRIPT_NAME {script.name!r}, PATH_INFO {script.info!r}")

    def _tell_origins(self, mount: MountConfig, exchange: Exchange) -> None:
        """Say what would be asked of which origins."""
        from lwsws.handlers.proxy_request import host_of
        from lwsws.server.mounts import origin_paths
        target = origin_paths(mount).target(exchange.rest, exchange.request.query)
        for origin in (mount.origin, *mount.more_origins):
            host = exchange.request.host if mount.proxy_keep_host else host_of(origin)
            self._say("asks", f"{origin.text} for {target}, with the Host {host}")

    def _tell_answer(self, what: str, outcome: Outcome, reason: str, mount: Optional[MountConfig]) -> None:
        status, refusal = outcome.status, outcome.refusal
        unasked = "" if mount is None or status != 200 else self._unasked(mount)
        if unasked:
            self._say(what, f"whatever {unasked} says; it is not asked here")
            return
        if refusal is None:
            reason = ""
        elif refusal.why:
            reason = refusal.why
        self._say(what, f"{status} {REASONS.get(status, '')}" + (f": {reason}" if reason else ""))
        exchange = outcome.exchange
        if exchange is not None and refusal is not None and status == 404 and exchange.vhost.error_document:
            self._say("", self._page(exchange, refusal.why))
        for name, value in outcome.fields:
            if name.lower() in TOLD_FIELDS:
                self._say("", f"{name}: {value}")

    def _unasked(self, mount: MountConfig) -> str:
        """Who answers for `mount` and is not asked here; "" if we do."""
        origin = mount.origin
        if origin.kind == "callback":
            source = self.site.plugins.sources.get(origin.target, "")
            if origin.target in RUNS_FOREIGN_CODE:
                return "the application"
            return f"the plugin {source}" if source else ""
        return {"cgi": "the program", "proxy": "the other server"}.get(origin.kind, "")

    def _page(self, exchange: Exchange, why: str) -> str:
        document = exchange.vhost.error_document
        if exchange.payload is not None and exchange.payload.endswith(error_page(404, why)):
            return f"with the built-in page, for the error-document-404 {document} cannot be served"
        return f"with the page of error-document-404, {document}"


def _why_vhost(vhosts: VhostSet, exchange: Exchange) -> str:
    """Why it is this vhost."""
    name = exchange.request.host_name
    if exchange.vhost.name == name:
        return "its name is the one in Host"
    if vhosts.find(name) is exchange.vhost:
        return f"{name} is a subdomain of its name"
    if vhosts.bound is not None:
        return f"no vhost here is called {name}, so the one that TLS chose answers"
    answers = "refuses, by strict-host-check" if exchange.vhost.strict_host else "answers"
    return f"no vhost here is called {name}, so the first one {answers}"


# Files.


def file_path(mount: MountConfig, rest: str) -> str:
    """The file that `rest`, the path after the mountpoint, names."""
    default = mount.default.strip("/") or DEFAULT_FILE
    return os.path.join(mount.origin.target, rest[1:] + default if rest.endswith("/") else rest[1:])


def why_refused(mount: MountConfig, rest: str, path: str) -> str:
    """What about the file at `path` is a reason not to serve it, for people; "" if nothing is."""
    root = mount.origin.target
    if not archive.is_directory(root):
        return f"there is no directory {root}"
    place = archive.find(path)
    if place is not None and place.exists:
        return ""   # what may be wrong in a file system cannot be in the archive
    if not os.path.lexists(path):
        return "there is no such file" + (", the default of its directory" if rest.endswith("/") else "")
    inside, real = os.path.realpath(root), os.path.realpath(path)
    if not os.path.exists(path):
        return f"a link leads nowhere, to {real}"
    if mount.follow_symlinks != "yes" and os.path.commonpath([real, inside]) != inside:
        return f'a link leads out of {root}, to {real}; "follow-symlinks": "yes" in the mount allows that'
    if mount.follow_symlinks == "no" and real != os.path.join(inside, os.path.relpath(path, root)):
        return "there is a link on the way, and the mount has follow-symlinks no"
    if "/." in rest and not mount.dotfiles:
        return 'names that begin with a dot are not served; "dotfiles": "1" in the mount allows it'
    if not os.access(path, os.R_OK, effective_ids=True):
        return f"the user with the number {os.geteuid()} may not read it"
    return "" if stat.S_ISREG(os.stat(path).st_mode) else "it is not a regular file"
