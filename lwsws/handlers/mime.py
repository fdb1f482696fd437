"""Media types by file suffix: an allow-list.

A file whose suffix is in neither the table below nor the mount's `extra-mimetypes` is not served
(spec, "Other mount options" 6): should anything ever lead a request to the wrong file, a password
file or a database still does not go out.  So the table holds what a browser renders or what a page
loads, and no format that sites merely keep beside it (archives, office documents, sources,
databases); the one archive is `gz`, as in the original.

Order of search: the mount's own suffixes, longest first (".tar.gz" before ".gz"); this table; the
mount's "*".  The answer is None for "not served" and "" for "served without a Content-Type".
The types carry no charset, as in the original: a site that is not all UTF-8 must be able to say
its encoding in the document.
"""

from __future__ import annotations

from typing import Dict, Mapping, Optional

TYPES: Dict[str, str] = {
    # Documents, scripts and data of pages.
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "application/xhtml+xml",
    ".css": "text/css",
    ".js": "text/javascript",                   # RFC 9239
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",                 # source maps of scripts and style sheets
    ".babylon": "application/json",             # as in the original
    ".webmanifest": "application/manifest+json",
    ".wasm": "application/wasm",
    ".txt": "text/plain",
    ".csv": "text/csv",
    ".xml": "application/xml",
    ".rss": "application/rss+xml",
    ".atom": "application/atom+xml",
    ".pdf": "application/pdf",
    ".gz": "application/gzip",
    # Images.
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".svg": "image/svg+xml",
    ".ico": "image/x-icon",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".apng": "image/apng",
    # Fonts: RFC 8081 replaces the application/font-* types that the original sends.
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".ttf": "font/ttf",
    ".otf": "font/otf",
    # Sound and films.
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".flac": "audio/flac",
    ".wav": "audio/wav",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".ogv": "video/ogg",
    ".vtt": "text/vtt",
}

# The key of extra-mimetypes that stands for every suffix not known otherwise.
ANY = "*"


def normalise_extra(extra: Mapping[str, str]) -> Dict[str, str]:
    """`extra-mimetypes` as configured -> the form `find_type` wants: lower case, with leading dot."""
    return {key if key == ANY else "." + key.lower().lstrip("."): value for key, value in extra.items()}


def find_type(name: str, extra: Dict[str, str]) -> Optional[str]:
    """The media type of a file called `name` (no slashes), `extra` being of `normalise_extra`.

    None if the file must not be served, "" if it is served without a Content-Type.
    """
    name = name.lower()
    if extra:
        own = _longest_own(name, extra)
        if own is not None:
            return own
    dot = name.rfind(".")
    known = TYPES.get(name[dot:]) if dot >= 0 else None
    return known if known is not None else extra.get(ANY)


def _longest_own(name: str, extra: Dict[str, str]) -> Optional[str]:
    """The type that `extra` gives to the longest suffix of `name` (or to the whole: "LICENSE")."""
    suffix = "." + name
    while suffix:
        if suffix in extra:
            return extra[suffix]
        dot = suffix.find(".", 1)
        suffix = suffix[dot:] if dot > 0 else ""
    return None


def mime_type(path: str, extra: Mapping[str, str]) -> Optional[str]:
    """The media type of the file at `path` under `extra-mimetypes` as configured; see `find_type`."""
    return find_type(path.rpartition("/")[2], normalise_extra(extra))


def suffix_of(name: str) -> str:
    """The key of `extra-mimetypes` that would have files like `name` served."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot >= 0 else ANY
