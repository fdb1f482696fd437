"""The scoreboard: shared by processes, and readable whatever stands in it."""

from __future__ import annotations

import os
import struct

import pytest

from lwsws.server.scoreboard import (
    DEPRECATED,
    LAYOUT,
    SERVING,
    SLOT_BYTES,
    STARTING,
    STATE_NAMES,
    STOPPING,
    UNUSED,
    Row,
    Scoreboard,
)

ROW = Row(4711, 3, 1, 1_790_000_000, SERVING, 4, 3, 2**40, 1, 4, 2)


def in_another_process(work: object) -> int:
    """The exit code of a child that calls `work`; 1 if that raises."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            assert callable(work)
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_new_board_has_no_rows() -> None:
    board = Scoreboard(3)
    assert board.rows() == []
    assert board.slot(2).row().state == UNUSED


def test_what_is_written_is_read() -> None:
    board = Scoreboard(2)
    board.slot(1).write(ROW)
    assert board.rows() == [ROW] == [board.slot(1).row()]
    assert LAYOUT.size <= SLOT_BYTES
    board.slot(1).clear()
    assert board.rows() == []


def test_rows_come_by_generation_and_number() -> None:
    board = Scoreboard(4)
    for at, (generation, number) in enumerate([(2, 1), (1, 0), (2, 0), (1, 1)]):
        board.slot(at).write(Row(100 + at, generation, number, 0))
    assert [(row.generation, row.number) for row in board.rows()] == [(1, 0), (1, 1), (2, 0), (2, 1)]


@pytest.mark.parametrize("at", [-1, 2])
def test_a_slot_that_there_is_not(at: int) -> None:
    with pytest.raises(IndexError):
        Scoreboard(2).slot(at)


def test_processes_share_it() -> None:
    board = Scoreboard(2)
    board.slot(0).write(Row(0, 1, 0, 5))
    slot = board.slot(0)

    def child() -> None:
        slot.write(slot.row()._replace(pid=os.getpid(), state=SERVING))
        board.slot(1).write(ROW)

    assert in_another_process(child) == 0
    first, second = board.rows()
    assert first.pid not in (0, os.getpid())
    assert first == (first.pid, 1, 0, 5, SERVING, 0, 0, 0, 0, 0, 0)
    assert second == ROW


def test_whatever_stands_there_is_a_row() -> None:
    """Half an old row and half a new one, and what a process writes that went mad."""
    board = Scoreboard(1)
    board.slot(0).write(ROW)
    half = LAYOUT.pack(*Row(-1, -1, -1, -1))[:44]
    board.memory[:len(half)] = half
    (row,) = board.rows()
    assert row.generation == -1 and row.busy == ROW.busy
    for _ in range(200):
        board.memory[:] = os.urandom(SLOT_BYTES)
        for row in board.rows():
            assert all(-2**63 <= field < 2**63 for field in row)
            assert row.state_name in STATE_NAMES


def test_a_number_that_is_too_large_leaves_the_row_as_it_was() -> None:
    slot = Scoreboard(1).slot(0)
    slot.write(ROW)
    with pytest.raises(struct.error):
        slot.write(ROW._replace(accepted=2**63))
    assert slot.row() == ROW


def test_a_reader_sees_no_gap_while_another_writes() -> None:
    """A row that is written again and again is there at any moment."""
    board = Scoreboard(1)
    slot = board.slot(0)
    slot.write(ROW)

    def child() -> None:
        for number in range(20_000):
            slot.write(ROW._replace(accepted=number))

    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(0)
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        (row,) = board.rows()
        assert row[:5] == ROW[:5]


def test_states_have_names() -> None:
    names = [ROW._replace(state=state).state_name for state in (STARTING, SERVING, DEPRECATED, STOPPING)]
    assert names == ["starting", "serving", "deprecated", "stopping"]
    assert ROW._replace(state=77).state_name == ROW._replace(state=-1).state_name == "unused"
