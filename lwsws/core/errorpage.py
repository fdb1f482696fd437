"""The page that goes with an error status: number, phrase and one sentence why.

Small, complete in itself (no outside style sheet, image or script), readable in light and dark.
The text is pure ASCII, whatever `why` holds, so it needs no charset in its Content-Type.
"""

from __future__ import annotations

import functools

from lwsws.wire.http1_write import REASONS

# The media type of the page.
CONTENT_TYPE = "text/html"

# A sentence, not a novel: `why` may quote a path of the client, up to 8 KiB long.
MAX_WHY = 300

# Pages kept ready.  Most sites need a handful; a scanner that makes up paths only displaces them.
CACHED_PAGES = 64

ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;", ord("'"): "&#39;"}

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{status} {phrase}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto; padding: 0 1rem }}
h1 {{ font-size: 1.4rem; font-weight: 600 }}
b {{ font-size: 3rem; display: block }}
p {{ overflow-wrap: anywhere; opacity: .8 }}
</style>
</head>
<body>
<h1><b>{status}</b> {phrase}</h1>{why}
</body>
</html>
"""


@functools.lru_cache(maxsize=CACHED_PAGES)
def error_page(status: int, why: str = "") -> bytes:
    """The HTML page for `status`; `why` is plain text, shown escaped and cut to `MAX_WHY` characters."""
    phrase = REASONS.get(status, "Error")
    shown = f"\n<p>{escape(why[:MAX_WHY])}</p>" if why else ""
    return PAGE.format(status=status, phrase=phrase, why=shown).encode("ascii", "xmlcharrefreplace")


def escape(text: str) -> str:
    """`text` for use in HTML; what cannot be printed becomes the replacement character."""
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    return text.translate(ESCAPES)
