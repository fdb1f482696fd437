"""protocol-post-demo: takes a form with a file, and answers with a page that shows what came.

    { "mountpoint": "/formtest", "origin": "callback://protocol-post-demo" }

    "ws-protocols": [{ "protocol-post-demo": { "upload-dir": "/srv/uploads" } }]

The page is the original's: a table of the values `text`, `send`, `file` and `upload`, then the name and the
length of the file, and here also its SHA-256, by which a visitor sees that it arrived unharmed.

Options:

    upload-dir   where files are kept, under names that nobody can guess.  Without it they are in the
                 system's temporary directory for as long as they are being sent, and have no name there
    max-upload   the longest file in bytes; without it only the mount's max-body limits what is sent
    max-fields   the most entries of a form, 100 by default

Files go to the disk in the pieces in which they come, so one may be larger than the memory.  Only the first
one of a form counts, and of several values with one name the first.  A file whose form does not come to its
end, or is refused, is deleted.
"""

from __future__ import annotations

import html
import os
from typing import Dict, List, Optional

from lwsws.plugin import (
    FormError,
    FormIncomplete,
    FormLimits,
    FormReader,
    HttpRequest,
    HttpSession,
    OptionError,
    Options,
    Part,
    PartData,
    PartEnd,
    Protocol,
    ProtocolVhost,
    form_reader,
)

# What the page shows.
NAMES = ("text", "send", "file", "upload")

MAX_FIELDS = 100
# Bytes of all values together: on the page they are up to six times as long.
MAX_VALUES = 1 << 16

HTML = [("Content-Type", "text/html")]
# What the original takes a form for that does not say what it is.
URLENCODED = "application/x-www-form-urlencoded"

# The original's, byte for byte.
PAGE = ('<!DOCTYPE html><html lang="en"><head>'
        '<meta charset=utf-8 http-equiv="Content-Language" content="en"/>'
        "<title>LWS Server Status</title></head><body><h1>Form results (after urldecoding)</h1>"
        "<table><tr><td>Name</td><td>Length</td><td>Value</td></tr>{rows}</table>"
        "<br><b>filename:</b> {filename}, <b>length</b> {length}{digest}</body></html>")
ROW = "<tr><td><b>{name}</b></td><td>{length}</td><td>{value}</td></tr>"
DIGEST = ", <b>SHA-256</b> {}"
REFUSAL = ('<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{status}</title></head>'
           "<body><h1>The form cannot be taken</h1><p>{why}</p></body></html>")


class PostDemo(Protocol):
    """Answers forms."""

    name = "protocol-post-demo"

    _directory = ""
    _max_upload: Optional[int] = None
    _limits = FormLimits(parts=MAX_FIELDS, values=MAX_VALUES)

    def init(self, vhost: ProtocolVhost, options: Options) -> None:
        """OptionError if files cannot be put into `upload-dir`, or a limit is no number."""
        self._limits = FormLimits(parts=options.number("max-fields", MAX_FIELDS, low=1), values=MAX_VALUES)
        self._max_upload = options.number("max-upload", 0, low=1) or None
        self._directory = options.get("upload-dir")
        if self._directory:
            check_directory(self._directory)

    def http_request(self, s: HttpSession, request: HttpRequest) -> None:
        """Begin to read a form; anything else is not allowed."""
        if request.method != "POST":
            # RFC 9110 15.5.6: a 405 must say what is allowed.
            s.respond(405, [("Allow", "POST")])
            return
        try:
            reader = form_reader(request.headers.get("content-type") or URLENCODED, self._limits)
        except FormError as error:
            refuse(s, error.status, error.why)
            return
        s.user = Submission(reader, self._directory, self._max_upload)

    def http_body(self, s: HttpSession, data: bytes) -> None:
        """The next piece of the form."""
        if s.user.reader is not None:
            s.user.reader.receive_data(data)
            self._read(s)

    def http_body_end(self, s: HttpSession) -> None:
        """The form is complete, as far as it came."""
        if s.user.reader is not None:
            s.user.reader.receive_eof()
            if not self._read(s):
                return
        s.user.keep()
        s.respond(200, HTML, s.user.page())

    def http_closed(self, s: HttpSession) -> None:
        """Whatever happened: close the file, delete it unless it is to be kept."""
        if s.user is not None:
            s.user.discard()

    def _read(self, s: HttpSession) -> bool:
        """Take in what can be read of the form; False if it is refused."""
        try:
            s.user.read()
        except FormIncomplete:
            pass    # as the original, which shows what it got
        except FormError as error:
            refuse(s, error.status, error.why)
            return False
        except OSError as error:
            self.server.log(f"conn {s.ident}: {self.name}: a file cannot be written: {error}")
            refuse(s, 507, "There is no room for the file.")
            return False
        return True


class Submission:
    """One form, as far as it came: the values that the page shows, and the file.  `reader` is None if what
    comes is no form at all."""

    def __init__(self, reader: Optional[FormReader], directory: str, max_upload: Optional[int]) -> None:
        self.reader = reader
        self.values: Dict[str, bytes] = {}
        self.upload: Optional[Upload] = None
        self._directory = directory
        self._max_upload = max_upload
        self._part: Optional[Part] = None       # one that counts; else what comes is dropped
        self._value = bytearray()               # of that part, unless it is a file

    def read(self) -> None:
        """Take in what the reader has; FormError, OSError."""
        reader = self.reader
        assert reader is not None
        while (event := reader.next_event()) is not None:
            if isinstance(event, Part):
                self._begin(event)
            elif self._part is None:
                pass
            elif isinstance(event, PartData):
                self._receive(self._part, event.data)
            elif isinstance(event, PartEnd):
                self._end(self._part)

    def _begin(self, part: Part) -> None:
        if part.filename is None:
            counts = part.name in NAMES and part.name not in self.values
        else:
            counts = self.upload is None
        self._part = part if counts else None
        if counts and part.filename:
            self.upload = Upload(part.filename, self._directory)

    def _receive(self, part: Part, data: bytes) -> None:
        if part.filename is None:
            self._value += data
            return
        if self.upload is None:     # without a name and without data no file was chosen
            self.upload = Upload("", self._directory)
        if self._max_upload is not None and self.upload.size + len(data) > self._max_upload:
            raise FormError(413, f"the file is over {self._max_upload} bytes")
        self.upload.write(data)

    def _end(self, part: Part) -> None:
        self._part = None
        if part.filename is None:
            self.values[part.name] = bytes(self._value)
            self._value.clear()
        elif self.upload is not None:
            self.upload.end()

    def keep(self) -> None:
        """The form is taken: keep its file, if files are kept and it is complete."""
        if self.upload is not None and self.upload.is_complete:
            self.upload.is_kept = self._directory != ""

    def discard(self) -> None:
        """Forget what is not kept."""
        if self.upload is not None:
            self.upload.discard()

    def page(self) -> bytes:
        """What the visitor gets."""
        rows: List[str] = []
        for name in NAMES:
            value = self.values.get(name, b"")
            text = shown(value.decode("utf-8", "replace")) if value else "NULL"
            rows.append(ROW.format(name=name, length=len(value), value=text))
        upload = self.upload if self.upload is not None and self.upload.is_complete else None
        page = PAGE.format(rows="".join(rows), filename="" if upload is None else shown(upload.filename),
                           length=0 if upload is None else upload.size,
                           digest="" if upload is None else DIGEST.format(upload.digest))
        return page.encode("utf-8")


class Upload:
    """A file on its way to the disk."""

    def __init__(self, filename: str, directory: str) -> None:
        """`filename` is the client's, and only shown.  In `directory` it has a name of its own; if that is
        "" it has none, so nothing of it outlasts the process.  OSError."""
        # Loaded when the first file comes.
        from hashlib import sha256
        from tempfile import mkstemp

        self.filename = filename
        self.size = 0
        self.is_complete = False
        self.is_kept = False
        self._hash = sha256()
        self._fd, self._path = mkstemp(prefix="upload-", dir=directory or None)
        if not directory:
            try:
                self._unlink()
            except OSError:
                self._close()
                raise

    @property
    def digest(self) -> str:
        """The SHA-256 of what was written, in hex."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Add `data` at the end; OSError."""
        self._hash.update(data)
        self.size += len(data)
        left = memoryview(data)
        while left:
            left = left[os.write(self._fd, left):]

    def end(self) -> None:
        """All of it has come; OSError if it could not be written after all."""
        self._close()
        self.is_complete = True

    def discard(self) -> None:
        """Close it, and delete it unless it is to be kept."""
        try:
            if not self.is_kept:
                self._unlink()
        finally:
            self._close()

    def _unlink(self) -> None:
        path, self._path = self._path, ""
        if path:
            os.unlink(path)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def shown(text: str) -> str:
    """`text` for use in HTML, which may hold no NUL."""
    return html.escape(text).replace("\0", "\ufffd")


def refuse(s: HttpSession, status: int, why: str) -> None:
    """Answer with a page that says why."""
    s.respond(status, HTML, REFUSAL.format(status=status, why=html.escape(why)).encode("utf-8"))


def check_directory(path: str) -> None:
    """OptionError unless files can be made in the directory `path`."""
    from tempfile import TemporaryFile

    if not os.path.isabs(path):
        raise OptionError("upload-dir", f'"{path}" is no absolute path')
    try:
        TemporaryFile(dir=path).close()
    except OSError as error:
        raise OptionError("upload-dir", f'no file can be made in "{path}": {error.strerror}') from None
