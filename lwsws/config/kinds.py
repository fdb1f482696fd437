"""The columns of the table of keys, and the words that stand in them: `Key`, kinds, bounds, times."""

from __future__ import annotations

from typing import NamedTuple, Tuple

# Kinds: what the value of a key may look like.
TEXT = "text"
PATH = "file name"
NAME = "host name"
NUMBER = "number"
COUNT = "number or auto"
BOOL = "yes or no"
SWITCH = "on, off or absent"
FLAGS = "decimal flags"
CHOICE = "one of"
OWNER = "user:group"
URI = "path or URL"
VALUE = "header value"
TEXTS = "text, several"
ADDRESSES = "addresses"
PAIRS = "names and values"
HEADERS = "header names and values"
SUFFIXES = "suffixes and values"
TYPES = "suffixes and media types"
KEYWORDS = "words and answers"
MOUNTPOINT = "mountpoint"
INDEX = "file name in the mount"
ORIGIN = "origin"
ORIGINS = "origins"
LIST = "list of objects"
ANYTHING = "anything"

# Whether a key takes effect, or never does here.
NOW, NEVER = "now", "never"

MAX_INT = 2**31 - 1
MAX_ID = 2**32 - 2
MAX_SIZE = 2**53
HOUR = 3600
YEAR = 365 * 24 * HOUR


class Key(NamedTuple):
    """One key; `example` is JSON text, `default` the value of its field in the record.

    `low` and `high` bound a number; a `strict` key refuses a wrong value where others report it and
    use the default.  `default_text` replaces the default in the documentation.
    """

    name: str
    kind: str
    default: object
    doc: str
    example: str
    aliases: Tuple[str, ...] = ()
    low: int = 0
    high: int = MAX_INT
    unit: str = ""
    choices: Tuple[str, ...] = ()
    default_text: str = ""
    differs: str = ""
    served: str = NOW
    strict: bool = False

    @property
    def field(self) -> str:
        """The name of its field in the record."""
        return self.name.replace("-", "_")


Topics = Tuple[Tuple[str, Tuple[Key, ...]], ...]
