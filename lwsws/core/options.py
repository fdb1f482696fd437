"""Options: what a configuration says to a plugin, in `ws-protocols` or as `pmo` of a mount."""

from __future__ import annotations

from typing import Sequence, Tuple

MAX_INT = (1 << 63) - 1
YES = ("yes", "on", "true")
NO = ("no", "off", "false")


class OptionError(Exception):
    """An option that a plugin cannot work with: which, and why, for the administrator."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


class Options:
    """The options of one protocol on one vhost, as text; each may be given several times.
    Those that say the same are equal."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Sequence[Tuple[str, str]] = ()) -> None:
        self._pairs = tuple(pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self._pairs == other._pairs

    def __hash__(self) -> int:
        return hash(self._pairs)

    def all(self, name: str) -> Tuple[str, ...]:
        """All values of the option `name`, in the order of the configuration."""
        return tuple(value for key, value in self._pairs if key == name)

    def get(self, name: str, default: str = "") -> str:
        """The value of the option `name`, the last one if there are several."""
        values = self.all(name)
        return values[-1] if values else default

    def flag(self, name: str, default: bool = False) -> bool:
        """The value of the option `name` as yes or no, in the words of the configuration (yes, on, true, a
        number other than 0; no, off, false, 0); OptionError if it is neither."""
        text = self.get(name).strip().lower()
        if not text:
            return default
        if text.isascii() and text.isdigit():
            return text.strip("0") != ""
        if text not in YES and text not in NO:
            raise OptionError(name, f'"{text[:40]}" is neither yes nor no')
        return text in YES

    def number(self, name: str, default: int, low: int = 0, high: int = MAX_INT) -> int:
        """The value of the option `name` as a decimal number; OptionError if it is not one from `low` to
        `high`."""
        text = self.get(name).strip()
        if not text:
            return default
        digits = text.removeprefix("-")
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= len(str(MAX_INT))
        if not is_number or not low <= int(text) <= high:
            raise OptionError(name, f'"{text[:40]}" is no whole number from {low} to {high}')
        return int(text)
