"""What went wrong in an application, for the log: its exception with the traceback, from its own first frame
on.  What lwsws did to call it would only hide that."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Iterator, Optional, Set

from lwsws.builtin.wsgi_answer import ClientGone


def is_gone(error: Optional[BaseException]) -> bool:
    """Whether `error` is what an application makes of a client who has gone, so that nothing is wrong."""
    while error is not None and not isinstance(error, ClientGone):
        error = error.__cause__ or error.__context__
    return error is not None


def fault_lines(error: BaseException) -> Iterator[str]:
    """The traceback of `error`, line by line; without a frame of the application it is the message alone."""
    seen: Set[int] = set()
    each: Optional[BaseException] = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        each.__traceback__ = from_application(each.__traceback__)
        each = each.__cause__ or each.__context__
    for text in traceback.format_exception(type(error), error, error.__traceback__):
        yield from text.rstrip("\n").split("\n")


def from_application(frames: Optional[TracebackType]) -> Optional[TracebackType]:
    """`frames` without those of lwsws that they begin with; None if nothing is left."""
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith("lwsws."):
        frames = frames.tb_next
    return frames
