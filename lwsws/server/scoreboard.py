"""The scoreboard: what each serving process of a server says of itself, for all of them to read.

It is memory that the parent maps before it forks, so that all processes share it, with a slot of fixed size
for each.  A process writes its own slot and reads all.  There is no lock: who reads while another writes gets
some fields of the old row and some of the new one, which are a microsecond apart.  All fields are integers,
so whatever stands there, even if its writer died at it or went mad, is a row.  Any of the processes can write
what it likes in all slots, so who is where (`at`) the parent keeps to itself.

    parent: board = Scoreboard(64); board.slot(at).write(Row(0, 7, 0, now)); fork
    child:  slot = board.slot(at); slot.write(slot.row()._replace(pid=os.getpid(), state=SERVING))
    parent: board.slot(at).clear()      when it has ended
"""

from __future__ import annotations

import mmap
import struct
from typing import List, NamedTuple, Optional

# The states of a process; UNUSED is that of a slot that nobody has.
UNUSED, STARTING, SERVING, DEPRECATED, STOPPING = range(5)
STATE_NAMES = ("unused", "starting", "serving", "deprecated", "stopping")


class Row(NamedTuple):
    """What one process says of itself: `number` is its own among those of its generation, `started` whole
    seconds since 1970, `refused` what limits for each address turned away, `threads`, `busy` its workers."""

    pid: int
    generation: int
    number: int
    started: int
    state: int = STARTING
    connections: int = 0
    websockets: int = 0
    accepted: int = 0
    refused: int = 0
    threads: int = 0
    busy: int = 0

    @property
    def state_name(self) -> str:
        """The state in a word."""
        return STATE_NAMES[self.state] if UNUSED <= self.state <= STOPPING else STATE_NAMES[UNUSED]


LAYOUT = struct.Struct(f"={len(Row._fields)}q")
STATE = struct.Struct("=q")
STATE_AT = Row._fields.index("state") * STATE.size
SLOT_BYTES = 128    # two cache lines: who writes a slot disturbs none of its neighbours


class Scoreboard:
    """The slots of all processes; whoever is forked after it was made shares it."""

    def __init__(self, slots: int, memory: Optional[mmap.mmap] = None) -> None:
        """Map memory for so many processes, all unused; OSError if there is none.  Or use `memory`, in which
        another one was made."""
        self.slots = slots
        self.memory = memory or mmap.mmap(-1, slots * SLOT_BYTES)   # shared and anonymous: no file

    def slot(self, at: int) -> Slot:
        """The slot number `at`; IndexError if there is none."""
        if not 0 <= at < self.slots:
            raise IndexError(f"slot {at} of {self.slots}")
        return Slot(self, self.memory, at * SLOT_BYTES)

    def rows(self) -> List[Row]:
        """What all processes say, by generation and number."""
        used = [self.slot(at).row() for at in range(self.slots) if self._state(at) != UNUSED]
        # One may have been cleared meanwhile.
        return sorted((row for row in used if row.state != UNUSED),
                      key=lambda row: (row.generation, row.number, row.pid))

    def _state(self, at: int) -> int:
        return int(STATE.unpack_from(self.memory, at * SLOT_BYTES + STATE_AT)[0])


class Slot:
    """The place of one process on a scoreboard."""

    def __init__(self, board: Scoreboard, memory: mmap.mmap, offset: int) -> None:
        """`memory` is that of `board`, the slot begins at `offset`."""
        self.board = board
        self._memory = memory
        self._offset = offset

    def row(self) -> Row:
        """What the slot says; all zero, and so UNUSED, if nobody has it."""
        return Row(*LAYOUT.unpack(self._memory[self._offset:self._offset + LAYOUT.size]))

    def write(self, row: Row) -> None:
        """Say `row`; struct.error if a field takes more than 64 bits."""
        # In one piece: pack_into() would first fill the place with zeros, and so say that it is unused.
        self._memory[self._offset:self._offset + LAYOUT.size] = LAYOUT.pack(*row)

    def clear(self) -> None:
        """Nobody has this slot any more."""
        self.write(Row(0, 0, 0, 0, UNUSED))
