"""The outcome of a reload: who asked hears it, and nobody else can say it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Iterator

import pytest

from lwsws.net.outcome import DONE, NAME, OutcomeListener, announce, is_alive, sender, waiting


@pytest.fixture
def listener() -> Iterator[OutcomeListener]:
    """Somebody who waits for a reload of this process."""
    made = OutcomeListener(os.getpid())
    yield made
    made.close()


def test_the_outcome_is_heard(listener: OutcomeListener) -> None:
    announce(os.getpid(), DONE, "generation 2 serves\nand so on")
    assert listener.wait(5) == (DONE, "generation 2 serves\nand so on")


def test_a_text_of_any_length(listener: OutcomeListener) -> None:
    announce(os.getpid(), DONE, "\u20ac" * 10000)
    outcome = listener.wait(5)
    assert outcome is not None
    assert outcome[0] == DONE and set(outcome[1]) == {"\u20ac"}


def test_nobody_listens() -> None:
    announce(os.getpid(), DONE, "to nobody")    # and nothing happens


def test_all_who_wait_are_told(listener: OutcomeListener) -> None:
    other = OutcomeListener(os.getpid())
    announce(os.getpid(), DONE, "x")
    assert listener.wait(5) == other.wait(5) == (DONE, "x")
    other.close()


def test_names_of_others_do_not_count(listener: OutcomeListener) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(f"\0{NAME}{os.getpid()}1-x")
        (name,) = waiting(os.getpid())
        assert name.startswith(f"@{NAME}{os.getpid()}-")


def test_others_are_not_believed(listener: OutcomeListener) -> None:
    name = waiting(os.getpid())[0].replace("@", "\0")
    send = f"socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'done\\nlie', {name!r})"
    subprocess.run([sys.executable, "-c", f"import socket; {send}"], check=True)
    assert listener.wait(0.05) is None
    announce(os.getpid(), DONE, "truth")
    assert listener.wait(5) == (DONE, "truth")


def test_a_process_that_is_gone_is_not_waited_for() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert not is_alive(process.pid)
    listener = OutcomeListener(process.pid)
    assert listener.wait(100) is None
    listener.close()


def test_what_names_no_sender() -> None:
    assert sender([]) == 0
    assert sender([(socket.SOL_SOCKET, socket.SCM_RIGHTS, bytes(16))]) == 0
    assert sender([(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, bytes(3))]) == 0
