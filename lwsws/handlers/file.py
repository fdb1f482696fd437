"""The file handler: mounts with a `file://` origin.

    rest of the path        answer
    ""  (mountpoint)        301 to the same with a slash
    "/dir"                  301 to the same with a slash, if it is a directory
    "/dir/"                 the `default` file of the directory; 404 without, never a listing
    "/file.html"            the file

A file is opened beneath the mount's root, looked at through the open fd, and goes out only if it is a
regular file with a suffix of the allow-list.  Where it has a precompressed sibling that the client
accepts, that one goes out instead.  Then wire/conditional.py decides between the whole, a part and
"you have it already".

Names that begin with a dot are refused, but for `/.well-known/` (RFC 8615) and with `dotfiles`.
"""

from __future__ import annotations

import stat
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from lwsws import log
from lwsws.config.model import MountConfig
from lwsws.core.exchange import Exchange, Field, HttpError
from lwsws.core.handler import Handler
from lwsws.handlers.archive import open_root
from lwsws.handlers.mime import find_type, normalise_extra, suffix_of
from lwsws.handlers.openfile import OpenFile, content_range, refusal, send_piece, send_pieces
from lwsws.handlers.precompressed import Siblings, choose_coding
from lwsws.handlers.redirect import redirect, slash_location
from lwsws.wire.conditional import evaluate, is_conditional, make_etag
from lwsws.wire.dates import format_date

# What a directory shows if the configuration does not say or says "/" (as the examples of the spec do).
DEFAULT_FILE = "index.html"

ALLOW = ("Allow", "GET, HEAD, OPTIONS")
ACCEPT_RANGES = ("Accept-Ranges", "bytes")
VARY = ("Vary", "Accept-Encoding")
# What is added to the fields of a plain file, without and with a precompressed sibling.
PLAIN: Tuple[Field, ...] = ()
PLAIN_OF_MANY = (VARY,)

# RFC 8615: the one name with a dot that belongs to the public.
WELL_KNOWN = "/.well-known"

# Files whose ETag and Last-Modified are kept ready; about 500 bytes each.
MAX_VALIDATORS = 1024


class Validators(NamedTuple):
    """What tells one state of a file from another."""

    etag: str
    mtime: int
    fields: Tuple[Field, ...]


class FileHandler(Handler):
    """Serves the files beneath one directory, as one mount configures it."""

    def __init__(self, mount: MountConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.root = open_root(mount.origin.target, mount.follow_symlinks, clock)
        self._default = mount.default.strip("/") or DEFAULT_FILE
        self._dotfiles = mount.dotfiles
        self._extra = normalise_extra(dict(mount.extra_mimetypes))
        self._cache_control = ("Cache-Control", cache_control(mount))
        self._siblings = Siblings(self.root, clock)
        self._constant: Dict[str, Tuple[Field, ...]] = {}
        self._validators: Dict[Tuple[int, int], Validators] = {}

    def begin(self, exchange: Exchange) -> None:
        """Answer `exchange` with a file, a redirect or an HttpError."""
        method = exchange.request.method
        rest = exchange.rest
        if method != "GET" and method != "HEAD":
            self._other_method(exchange)
        elif not rest:
            redirect(exchange, slash_location(exchange))
        else:
            if "/." in rest and not self._may_be_seen(exchange):
                raise HttpError(404)
            name = rest[1:] if rest[-1] != "/" else rest[1:] + self._default
            with self._open(name) as file:
                self._serve(exchange, name, file)

    def takes_upgrade(self, exchange: Exchange) -> bool:
        """The mountpoint without its slash is redirected, whatever is wanted of it."""
        return not exchange.rest

    def serve_document(self, exchange: Exchange, path: str, status: int) -> bool:
        """Answer with the file at `path` (rest after the mountpoint) under `status`, whole and
        unconditionally; False if it is not there or must not be served."""
        name = path.lstrip("/")
        if not name or name.endswith("/"):
            name += self._default
        try:
            with self._open(name) as file:
                media = self._media(name)
                if media is None or not file.is_regular:
                    return False
                fields = [("Content-Type", media)] if media else []
                send_piece(exchange, status, [*fields, self._cache_control], file, 0, file.size)
                return True
        except HttpError:
            return False

    # From the path to the open file.

    def _other_method(self, exchange: Exchange) -> None:
        """Neither GET nor HEAD."""
        if exchange.request.method == "OPTIONS":
            exchange.respond(204, [ALLOW])
        elif not exchange.rest:
            # As in the original: the mountpoint without slash is no file, whatever is wanted of it.
            redirect(exchange, slash_location(exchange))
        else:
            # RFC 9110 15.5.6: a 405 MUST say what is allowed.
            raise HttpError(405, "Files can be read here, nothing else.", [ALLOW])

    def _may_be_seen(self, exchange: Exchange) -> bool:
        """Whether a path with a component that begins with a dot may be served."""
        if self._dotfiles:
            return True
        head, dot, below = exchange.path.partition(WELL_KNOWN)
        return dot != "" and head == "" and below[:1] in ("", "/") and "/." not in below

    def _open(self, name: str) -> OpenFile:
        try:
            return OpenFile(self.root.open(name))
        except OSError as exc:
            raise refusal(exc) from exc

    def _media(self, name: str) -> Optional[str]:
        return find_type(name.rpartition("/")[2], self._extra)

    # From the open file to the answer.

    def _serve(self, exchange: Exchange, name: str, file: OpenFile) -> None:
        """Decide what `file` is, and which of its representations goes out."""
        if not file.is_regular:
            self._not_regular(exchange, file)
            return
        media = self._media(name)
        if media is None:
            raise self._not_allowed(exchange, name)
        # What follows depends on the request and the file alone.
        exchange.cacheable = True
        codings = self._siblings.codings(name, file)
        if not codings:
            self._answer(exchange, file, media, self._validators_of(exchange, file), PLAIN)
            return
        coding = choose_coding(exchange.request.headers.get("accept-encoding"), codings)
        sibling = self._siblings.open(name, file, coding) if coding else None
        if sibling is None:
            self._answer(exchange, file, media, self._validators_of(exchange, file), PLAIN_OF_MANY)
            return
        with sibling:
            validators = with_coding(self._validators_of(exchange, sibling), coding)
            self._answer(exchange, sibling, media, validators, (("Content-Encoding", coding), VARY))

    def _not_regular(self, exchange: Exchange, file: OpenFile) -> None:
        if not stat.S_ISDIR(file.info.st_mode) or exchange.rest.endswith("/"):
            raise HttpError(404)
        redirect(exchange, slash_location(exchange))

    def _not_allowed(self, exchange: Exchange, name: str) -> HttpError:
        """The answer to a file whose suffix is unknown, with what to configure to have it served."""
        line = f'"extra-mimetypes": {{ "{suffix_of(name)}": "the/type" }}'
        log.info(f"conn {exchange.conn.ident}: 415 for {exchange.path!a}: no media type; add {line!a}")
        return HttpError(415, f"Files of this kind are not served here; {line} in the mount allows them.")

    def _answer(self, exchange: Exchange, file: OpenFile, media: str, validators: Validators,
                more: Sequence[Field]) -> None:
        """Send `file`, or the part of it that the request's conditions leave."""
        if is_conditional(exchange.request.headers):
            self._answer_conditional(exchange, file, media, validators, more)
        else:
            fields = [*self._constant_fields(media), *validators.fields, *more]
            send_piece(exchange, 200, fields, file, 0, file.size)

    def _answer_conditional(self, exchange: Exchange, file: OpenFile, media: str, validators: Validators,
                            more: Sequence[Field]) -> None:
        request, size = exchange.request, file.size
        status, ranges = evaluate(request.method, request.headers, validators.etag, validators.mtime, size,
                                  int(exchange.context.wall_clock()))
        if status == 304:
            # RFC 9110 15.4.5: what a cache needs to update what it has, and nothing of the content.
            kept = [field for field in more if field is VARY]
            exchange.respond(304, [self._cache_control, *validators.fields, *kept])
            return
        if status == 412:
            raise HttpError(412, "The file is not in the state that the request asks for.")
        if status == 416:
            # RFC 9110 15.5.17: say how long the file is.
            raise HttpError(416, f"The file has {size} bytes.", [("Content-Range", f"bytes */{size}")])
        fields = [*self._constant_fields(media), *validators.fields, *more]
        if len(ranges) == 1:
            (first, last), = ranges
            fields.append(content_range(first, last, size))
            send_piece(exchange, 206, fields, file, first, last - first + 1)
        elif ranges and more in (PLAIN, PLAIN_OF_MANY):
            send_pieces(exchange, fields, file, ranges, media)
        else:
            # Also several ranges of a coded sibling: no field could say that the parts are coded and
            # the multipart around them is not.
            send_piece(exchange, 200, fields, file, 0, size)

    # What the fields say.

    def _constant_fields(self, media: str) -> Tuple[Field, ...]:
        """The fields that all files of one media type have in common."""
        constant = self._constant.get(media)
        if constant is None:
            kind: List[Field] = [("Content-Type", media)] if media else []
            constant = self._constant[media] = (*kind, ACCEPT_RANGES, self._cache_control)
        return constant

    def _validators_of(self, exchange: Exchange, file: OpenFile) -> Validators:
        """ETag and Last-Modified of `file`, remembered by what they are made of."""
        info = file.info
        key = info.st_mtime_ns, info.st_size
        found = self._validators.get(key)
        if found is not None:
            return found
        # RFC 9110 8.8.2.1: never a Last-Modified in the future.
        now = int(exchange.context.wall_clock())
        mtime = file.mtime
        etag = make_etag(info.st_size, info.st_mtime_ns)
        fields = ("ETag", etag), ("Last-Modified", format_date(min(mtime, now)))
        made = Validators(etag, mtime, fields)
        if mtime <= now:
            if len(self._validators) >= MAX_VALIDATORS:
                self._validators.clear()
            self._validators[key] = made
        return made


def with_coding(validators: Validators, coding: str) -> Validators:
    """Those of a file in `coding`: RFC 9110 8.8.3.3 wants another tag for each coding."""
    etag = f'{validators.etag[:-1]}-{coding}"'
    return Validators(etag, validators.mtime, (("ETag", etag), *validators.fields[1:]))


def cache_control(mount: MountConfig) -> str:
    """The Cache-Control of the files of `mount`, in the words of the original."""
    if mount.cache_no:
        return "no-cache"
    if not mount.cache_max_age or not mount.cache_reuse:
        return "no-store"
    revalidate = "must-revalidate, " if mount.cache_revalidate else ""
    scope = "public" if mount.cache_intermediaries else "private"
    return f"{revalidate}{scope}, max-age={mount.cache_max_age}"
