"""Rewrites the links of an HTML document as it passes by: bytes in, bytes out, cut anywhere.

    rewriter = LinkRewriter(new_url)    what becomes of the value of an attribute
    rewriter.feed(data)                 as much of the document, rewritten, as can be told already
    rewriter.finish()                   the rest

Only the values of the attributes in LINKS, in tags, are given to `new_url`, and only what it changes differs
from what came.  What looks like a tag inside a comment, a script or the like is none.  Nothing is parsed but
tags, by the rules that browsers use for broken ones, too (HTML Living Standard 13.2.5):

    TEXT  --"<a"--> TAG  --">"--> TEXT              most tags are seen whole and taken by one pattern
    TEXT  --"<!--", "<script>"...--> UNTIL a pattern ends it --> TEXT
    TAG   --over MAX_TAG--> LONG_TAG --">"--> TEXT  passes as it is

A tag that is not complete yet is held back, and searched on where the last search stopped, so the time is
linear however the document is cut.  The bytes are taken for ASCII with anything above it: no UTF-16.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, List, NamedTuple, Optional, Pattern, Tuple, Union

# Attributes that hold one URL and that a page cannot do without.
LINKS = frozenset((b"href", b"src", b"action", b"formaction", b"poster"))

# A tag over this many bytes (a picture in a data: URL makes one) is not held back, and not changed.
MAX_TAG = 65536

Buffer = Union[bytes, bytearray]

# 13.2.5.6 and on: what separates attributes.
_WS = rb"\t\n\f\r "
_TAG_NAME = rb"/?[A-Za-z][^" + _WS + rb"/>]*"
# A tag as nearly all are: after the name, attributes without surprises.
_USUAL_TAG = re.compile(
    rb"<(" + _TAG_NAME + rb")(?:[" + _WS + rb"]+[A-Za-z0-9_:@.\-]+"
    rb"(?:=(?:\"[^\"]*\"|'[^']*'|[^" + _WS + rb">\"'][^" + _WS + rb">]*))?)*[" + _WS + rb"]*/?>")
_HAS_LINK = re.compile(rb"(?:href|src|action|poster)[" + _WS + rb"]*=", re.IGNORECASE)
# In a complete tag: name and value, which is in one of the last three groups.
_ATTRIBUTE = re.compile(
    rb"([^" + _WS + rb"/>][^" + _WS + rb"/>=]*)(?:[" + _WS + rb"]*=[" + _WS + rb"]*"
    rb"(?:\"([^\"]*)\"|'([^']*)'|([^" + _WS + rb">\"'][^" + _WS + rb">]*))?)?")
_NAME = re.compile(rb"<(" + _TAG_NAME + rb")")
# What stands behind "<" where no tag begins.
_COMMENT = re.compile(rb"<!--(?:-?>)?")
_COMMENT_LENGTH = len("<!--->")
_CDATA = b"<![CDATA["


class Until(NamedTuple):
    """Something to pass as it is: up to the end of a match of `pattern`, or up to its beginning.

    `held` bytes at most may be the beginning of a match that is not complete.
    """

    pattern: Pattern[bytes]
    held: int
    inclusive: bool


_COMMENT_END = Until(re.compile(rb"--!?>"), 3, True)
_CDATA_END = Until(re.compile(rb"\]\]>"), 2, True)
# 13.2.5.41: "<?", "<!x" and "</1" begin bogus comments; so does a doctype, for our purposes.
_BOGUS_END = Until(re.compile(rb">"), 0, True)
_NEVER = Until(re.compile(rb"(?!)"), 0, True)


def _raw_text(name: bytes) -> Until:
    """The content of an element in which only its own end tag means something (13.2.6.2)."""
    return Until(re.compile(rb"</" + name + rb"(?=[" + _WS + rb"/>])", re.IGNORECASE), len(name) + 2, False)


_RAW_NAMES = (b"script", b"style", b"textarea", b"title", b"xmp", b"iframe", b"noembed", b"noframes")
_RAW: Dict[bytes, Until] = {
    name: _raw_text(name)
    for name in _RAW_NAMES
}
_RAW[b"plaintext"] = _NEVER
# Text, with "<" that begin nothing (13.2.5.6), and tags without attributes and without content of a special
# kind.
_PLAIN = re.compile(
    rb"[^<]*(?:<(?:(?=[^A-Za-z/!?])|/?(?!" + b"|".join(_RAW) + rb")[A-Za-z][A-Za-z0-9]*>)[^<]*)*",
    re.IGNORECASE)

# The steps through a tag (13.2.5.8, 13.2.5.32 to 39): what is passed over in each, where the byte behind
# that leads, and where any other byte leads.
_IN_NAME, _BETWEEN, _ATTRIBUTE_NAME, _AFTER_NAME, _BEFORE_VALUE, _UNQUOTED, _DOUBLE, _SINGLE, _END = range(9)
_CLOSE, _SLASH, _EQUALS = ord(">"), ord("/"), ord("=")
_NAME_ENDS = {_CLOSE: _END, _SLASH: _BETWEEN, _EQUALS: _BEFORE_VALUE}
_STEPS: Tuple[Tuple[Pattern[bytes], Dict[int, int], int], ...] = (
    (re.compile(rb"[^" + _WS + rb"/>]*"), {_CLOSE: _END}, _BETWEEN),
    (re.compile(rb"[" + _WS + rb"/]*"), {_CLOSE: _END}, _ATTRIBUTE_NAME),
    (re.compile(rb"[^" + _WS + rb"/>=]*"), _NAME_ENDS, _AFTER_NAME),
    (re.compile(rb"[" + _WS + rb"]*"), _NAME_ENDS, _ATTRIBUTE_NAME),
    (re.compile(rb"[" + _WS + rb"]*"), {_CLOSE: _END, ord('"'): _DOUBLE, ord("'"): _SINGLE}, _UNQUOTED),
    (re.compile(rb"[^" + _WS + rb">]*"), {_CLOSE: _END}, _BETWEEN),
    (re.compile(rb'[^"]*'), {}, _BETWEEN),
    (re.compile(rb"[^']*"), {}, _BETWEEN),
)


class LinkRewriter:
    """One document on its way."""

    __slots__ = ("_held", "_long", "_new_url", "_raw", "_scanned", "_step", "_until", "_xml")

    def __init__(self, new_url: Callable[[bytes], bytes], *, xml: bool = False) -> None:
        """`new_url` gets a value as it stands in the document, and returns what shall stand there.

        `xml` is for application/xhtml+xml, where `<script/>` has no content.
        """
        self._new_url = new_url
        self._xml = xml
        self._held = bytearray()    # the beginning of something; it stands at the front of what comes next
        self._until: Optional[Until] = None
        self._step = _END   # in a tag that is not complete; _END: in none
        self._scanned = 0   # so many bytes of what is held were gone through
        self._long = False  # the tag is passed as it comes
        self._raw: Optional[Until] = None   # what begins behind a long tag

    def feed(self, data: bytes) -> bytes:
        """Take the next piece of the document; return what is certain now."""
        buffer: Buffer = data
        if self._held:
            self._held += data
            buffer = self._held
        out: List[Buffer] = []
        at = self._run(buffer, out)
        if buffer is self._held:
            del self._held[:at]
        elif at < len(data):
            self._held += data[at:]
        return b"".join(out)

    def finish(self) -> bytes:
        """The end of the document: what was held back, as it is."""
        rest = bytes(self._held)
        self._held.clear()
        return rest

    def _run(self, buffer: Buffer, out: List[Buffer]) -> int:
        """Go through `buffer`; returns how much of it is done, the rest has to wait."""
        at = 0
        while at < len(buffer):
            before = at, self._until, self._step
            if self._until is not None:
                at = self._pass(self._until, buffer, at, out)
            elif self._step != _END:
                at = self._go_on_in_tag(buffer, at, out)
            else:
                at = self._text(buffer, at, out)
            if (at, self._until, self._step) == before:
                break
        return at

    def _text(self, buffer: Buffer, begin: int, out: List[Buffer]) -> int:
        """Text and the usual tags, up to anything else."""
        at = _plain_end(buffer, begin)
        while at < len(buffer):
            tag = _USUAL_TAG.match(buffer, at)
            if tag is None:
                out.append(buffer[begin:at])
                return self._unusual(buffer, at, out)
            end = tag.end()
            if _HAS_LINK.search(buffer, at, end) is not None and end - at <= MAX_TAG:
                out.append(buffer[begin:at])
                out.append(self._rewritten(bytes(buffer[at:end])))
                begin = end
            self._until = self._content(tag.group(1), buffer, at, end)
            if self._until is not None:
                out.append(buffer[begin:end])
                return end
            at = _plain_end(buffer, end)
        out.append(buffer[begin:])
        return len(buffer)

    def _unusual(self, buffer: Buffer, at: int, out: List[Buffer]) -> int:
        """At "<", and what follows is no usual tag that is complete."""
        mark = bytes(buffer[at + 1 : at + 3])
        if mark[:1].isalpha() or (mark[:1] == b"/" and mark[1:].isalpha()):
            self._step = _IN_NAME
            self._scanned = len(mark)
            return at
        if not mark or mark == b"/":
            return at
        if mark[:1] == b"!":
            return self._declaration(buffer, at, out)
        # "<?" or "</": _PLAIN takes all else.  13.2.5.7: "</>" is nothing, and ends like a bogus comment.
        self._until = _BOGUS_END
        return at

    def _declaration(self, buffer: Buffer, at: int, out: List[Buffer]) -> int:
        """At "<!"."""
        begin = bytes(buffer[at : at + len(_CDATA)])
        if b"<!--".startswith(begin[:4]):
            if len(begin) < _COMMENT_LENGTH:
                return at
            return self._comment(buffer, at, out)
        if _CDATA.startswith(begin):
            if begin == _CDATA:
                self._until = _CDATA_END
            return at
        self._until = _BOGUS_END
        return at

    def _comment(self, buffer: Buffer, at: int, out: List[Buffer]) -> int:
        # 13.2.5.43: "<!-->" and "<!--->" are complete.
        found = _COMMENT.match(buffer, at)
        end = at + 4 if found is None else found.end()
        out.append(buffer[at:end])
        self._until = _COMMENT_END if end == at + 4 else None
        return end

    def _pass(self, until: Until, buffer: Buffer, at: int, out: List[Buffer]) -> int:
        """Pass what is no markup, up to its end."""
        found = until.pattern.search(buffer, at)
        if found is None:
            end = max(at, len(buffer) - until.held)
        else:
            end = found.end() if until.inclusive else found.start()
            self._until = None
        out.append(buffer[at:end])
        return end

    def _go_on_in_tag(self, buffer: Buffer, at: int, out: List[Buffer]) -> int:
        """In a tag that begins at `at`, or has begun long before."""
        end = self._tag_end(buffer, at + self._scanned)
        if end:
            self._scanned = 0
            self._tag_complete(buffer, at, end, out)
            return end
        if len(buffer) - at > MAX_TAG and not self._long:
            self._long = True
            self._raw = self._content(_name(buffer, at), buffer, at, len(buffer))
        if self._long:
            out.append(buffer[at:])
            self._scanned = 0
            return len(buffer)
        self._scanned = len(buffer) - at
        return at

    def _tag_complete(self, buffer: Buffer, at: int, end: int, out: List[Buffer]) -> None:
        if self._long:
            self._long = False
            self._until = self._raw
            out.append(buffer[at:end])
            return
        tag = bytes(buffer[at:end])
        out.append(tag if len(tag) > MAX_TAG else self._rewritten(tag))
        self._until = self._content(_name(tag, 0), tag, 0, len(tag))

    def _tag_end(self, buffer: Buffer, at: int) -> int:
        """The position behind the tag that `at` is in; 0 if its end has not come yet."""
        step = self._step
        while step != _END:
            passed, after, other = _STEPS[step]
            found = passed.match(buffer, at)
            at = at if found is None else found.end()
            if at == len(buffer):
                self._step = step
                return 0
            step = after.get(buffer[at], other)
            at += 1
        self._step = _END
        return at

    def _content(self, name: bytes, buffer: Buffer, at: int, end: int) -> Optional[Until]:
        """How the content of the element whose tag is from `at` to `end` is passed; None: like any text."""
        raw = _RAW.get(name.lower())
        if raw is not None and self._xml and buffer[end - 2] == _SLASH and end - at <= MAX_TAG:
            return None
        return raw

    def _rewritten(self, tag: bytes) -> bytes:
        """A complete tag with its links changed."""
        parts: List[bytes] = []
        done = 0
        for attribute in _ATTRIBUTE.finditer(tag, len(_name(tag, 0)) + 1):
            if attribute.group(1).lower() not in LINKS or attribute.lastindex == 1:
                continue
            begin, end = attribute.span(attribute.lastindex or 0)
            value = tag[begin:end]
            changed = self._new_url(value)
            if changed != value:
                parts += (tag[done:begin], changed)
                done = end
        parts.append(tag[done:])
        return b"".join(parts)


def _plain_end(buffer: Buffer, at: int) -> int:
    """Where the text that begins at `at` ends, with the tags in it that are of no interest."""
    found = _PLAIN.match(buffer, at)
    return at if found is None else found.end()


def _name(buffer: Buffer, at: int) -> bytes:
    """The name of the tag at `at`, with the slash of an end tag."""
    found = _NAME.match(buffer, at)
    return b"" if found is None else found.group(1)
