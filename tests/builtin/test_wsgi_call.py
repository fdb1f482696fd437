"""One call of an application: what PEP 3333 wants of both sides, piece by piece and without a network."""

from __future__ import annotations

import io
import sys
import threading
from typing import Any, Callable, Iterable, List, Optional, Tuple
from wsgiref.util import FileWrapper

import pytest

from lwsws.builtin.wsgi_answer import ROOM, Answer, Batch, ClientGone
from lwsws.builtin.wsgi_call import FILE_BLOCK, Call
from lwsws.builtin.wsgi_streams import HIGH, LOW, BodyStream, ErrorStream

Headers = List[Tuple[str, str]]
Give = Callable[[Callable[..., Any]], Iterable[bytes]]


class Run:
    """A call that is over: what it has sent, told and logged, and how it ended."""

    def __init__(self, give: Give, method: str = "GET") -> None:
        self.logged: List[str] = []
        self.told = 0
        self.error: Optional[BaseException] = None
        answer = Answer(self._tell)
        call = Call(lambda environ, start_response: give(start_response), {"REQUEST_METHOD": method}, answer,
                    ErrorStream(self.logged.append))
        try:
            call.run()
        except (TypeError, ValueError, RuntimeError, KeyError) as error:
            self.error = error
        self.batch: Batch = answer.take()

    def _tell(self) -> None:
        self.told += 1


def given(pieces: Iterable[bytes], *headers: Tuple[str, str], status: str = "200 OK") -> Give:
    """An application that gives `pieces`."""
    def give(start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(status, list(headers))
        return pieces
    return give


@pytest.mark.parametrize("method, pieces, headers, length, data", [
    ("GET", [b"a", b"", b"bc"], (), 3, b"abc"),
    ("GET", (b"a", b"bc"), (), 3, b"abc"),
    ("GET", iter([b"a", b"bc"]), (), None, b"abc"),
    ("GET", iter([]), (), 0, b""),
    ("GET", [], (), 0, b""),
    ("GET", iter([b"a", b"bc"]), (("content-length", "3"),), 3, b"abc"),
    ("HEAD", [b"abc"], (), 3, b""),
    ("HEAD", [], (), None, b""),
    ("HEAD", [], (("Content-Length", "7"),), 7, b""),
    ("HEAD", iter([b"abc"]), (), None, b""),
])
def test_the_length_of_an_answer(method: str, pieces: Iterable[bytes], headers: Any, length: Optional[int],
                                 data: bytes) -> None:
    run = Run(given(pieces, *headers), method)
    assert run.error is None and run.batch.head is not None
    assert (run.batch.head.length, run.batch.data, run.batch.ended) == (length, data, True)
    assert run.batch.head.fields == []


def test_an_answer_whose_length_is_known_is_told_once() -> None:
    assert Run(given([b"a", b"b"])).told == 1


@pytest.mark.parametrize("pieces", [[b"abc", b"def"], iter([b"abc", b"def"]), iter([b"abcdef"])])
def test_what_is_longer_than_its_length_is_cut_off(pieces: Iterable[bytes]) -> None:
    run = Run(given(pieces, ("Content-Length", "3")))
    assert run.error is None
    assert (run.batch.data, run.batch.ended) == (b"abc", True)


@pytest.mark.parametrize("pieces", [[], [b"ab"], iter([b"ab"])])
def test_what_is_shorter_than_its_length_has_no_end(pieces: Iterable[bytes]) -> None:
    run = Run(given(pieces, ("Content-Length", "3")))
    assert "shorter than its Content-Length" in str(run.error) and not run.batch.ended


@pytest.mark.parametrize("status, headers", [
    (200, []), (b"200 OK", []), ("OK", []), ("2000 OK", []), ("100 Continue", []), ("200 O\rK", []),
    ("600 No", []), ("200 \u20ac", []), ("", []),
    ("200 OK", ()), ("200 OK", None), ("200 OK", [["A", "b"]]), ("200 OK", [("A",)]), ("200 OK", [("A", 1)]),
    ("200 OK", [("A", b"b")]), ("200 OK", [("A b", "c")]), ("200 OK", [("A:", "c")]), ("200 OK", [("", "c")]),
    ("200 OK", [("A", "b\r\nSet-Cookie: c")]), ("200 OK", [("A", "b\n")]), ("200 OK", [("A", "\0")]),
    ("200 OK", [("A", "\u20ac")]), ("200 OK", [("Connection", "close")]), ("200 OK", [("upgrade", "x")]),
    ("200 OK", [("Transfer-Encoding", "chunked")]), ("200 OK", [("Content-Length", "1, 1")]),
    ("200 OK", [("Content-Length", "-1")]), ("200 OK", [("Content-Length", "\u0663")]),
    ("200 OK", [("Content-Length", "1"), ("content-length", "1")]),
])
def test_a_head_that_cannot_be_sent(status: Any, headers: Any) -> None:
    """LESSONS 3.9: nothing of an application's making is between the lines of an answer."""
    def give(start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(status, headers)
        return [b"x"]

    run = Run(give)
    assert isinstance(run.error, (TypeError, ValueError))
    assert run.batch.head is None and not run.batch.ended


@pytest.mark.parametrize("pieces", [["text"], iter([b"a", "text"]), [bytearray(b"x")], iter([None]), 5, None])
def test_a_body_that_is_not_of_bytes(pieces: Any) -> None:
    assert isinstance(Run(given(pieces)).error, TypeError)


@pytest.mark.parametrize("pieces", [[b"x"], iter([b"x"]), [], iter([])])
def test_a_body_without_a_head(pieces: Iterable[bytes]) -> None:
    run = Run(lambda start_response: pieces)
    assert isinstance(run.error, RuntimeError) and run.batch.head is None


def test_a_head_that_comes_with_the_first_piece() -> None:
    def give(start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        yield b"x"

    assert Run(give).batch.data == b"x"


def test_a_second_head_needs_a_reason() -> None:
    def give(start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        start_response("500 No", [])
        return []

    assert isinstance(Run(give).error, RuntimeError)


@pytest.mark.parametrize("written", [b"", b"x"])
def test_a_fault_takes_the_place_of_a_head_that_was_not_sent(written: bytes) -> None:
    def give(start_response: Callable[..., Any]) -> Iterable[bytes]:
        write = start_response("200 OK", [("A", "b")])
        write(written)
        try:
            raise KeyError("late")
        except KeyError:
            start_response("500 Sorry", [], sys.exc_info())
            return [b"sorry"]

    run = Run(give)
    assert run.batch.head is not None
    if written:
        assert isinstance(run.error, KeyError) and not run.batch.ended
    else:
        assert (run.batch.head.status, run.batch.head.fields, run.batch.data) == (500, [], b"sorry")


def test_a_file_is_read_in_larger_blocks() -> None:
    class File(io.BytesIO):
        """Knows what it was asked for."""

        sizes: List[int] = []

        def read(self, size: Optional[int] = -1) -> bytes:
            self.sizes.append(size or 0)
            return super().read(size)

    file = File(bytes(100_000))
    run = Run(given(FileWrapper(file)))
    assert len(run.batch.data) == 100_000 and set(file.sizes) == {FILE_BLOCK}
    assert file.closed


def test_close_comes_after_a_fault() -> None:
    class Body:
        """Closed, or not."""

        closed = False

        def __iter__(self) -> Any:
            raise KeyError("here")

        def close(self) -> None:
            """Note it."""
            self.closed = True

    body = Body()
    assert isinstance(Run(given(body)).error, KeyError)
    assert body.closed


def test_a_request_that_is_over_is_not_begun() -> None:
    def application(*args: Any) -> Iterable[bytes]:
        raise KeyError("called")

    answer = Answer(lambda: None)
    answer.break_off()
    call = Call(application, {"REQUEST_METHOD": "GET"}, answer, ErrorStream(print))
    call.run()
    assert call.began


# Between the threads.


def test_the_thread_waits_for_room() -> None:
    told = threading.Event()
    answer = Answer(told.set)
    sent: List[int] = []

    def send() -> None:
        for number in range(3):
            answer.send(bytes(ROOM))
            sent.append(number)
        answer.send(b"", True)

    thread = threading.Thread(target=send)
    thread.start()
    total = 0
    while True:
        assert told.wait(10)
        told.clear()
        batch = answer.take()
        assert len(batch.data) <= ROOM and len(sent) <= total // ROOM + 1
        total += len(batch.data)
        if batch.ended:
            break
        answer.taken(len(batch.data))
    thread.join(10)
    assert total == 3 * ROOM


def test_a_thread_that_waits_hears_that_the_client_is_gone() -> None:
    begun = threading.Event()
    answer = Answer(begun.set)
    errors: List[Exception] = []

    def send() -> None:
        try:
            answer.send(bytes(ROOM))
            answer.send(b"x")
        except ClientGone as error:
            errors.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    assert begun.wait(10)
    answer.break_off()
    thread.join(10)
    assert len(errors) == 1


def test_a_body_is_held_back_and_let_go() -> None:
    resumed: List[str] = []
    body = BodyStream([b"ab", b"cd"], lambda: resumed.append("resumed"))
    assert not body.feed(bytes(HIGH - 4))
    assert body.feed(b"x")
    reader = io.BufferedReader(body, 1000)
    assert reader.read(5) == b"abcd\0"
    assert resumed == []
    assert len(reader.read(HIGH - LOW)) == HIGH - LOW
    assert len(reader.read(4000)) == 4000
    assert resumed == ["resumed"]
    body.end()
    assert len(reader.read()) == HIGH + 1 - 5 - (HIGH - LOW) - 4000
    assert reader.read(1) == b""


def test_a_body_that_never_comes_to_its_end() -> None:
    body = BodyStream([b"ab"], lambda: None)
    body.break_off()
    reader = io.BufferedReader(body)
    assert reader.read1(2) == b"ab"
    with pytest.raises(ClientGone):
        reader.read(1)


def test_lines_for_the_log() -> None:
    lines: List[str] = []
    errors = ErrorStream(lines.append)
    assert errors.write("a") == 1
    assert lines == []
    errors.write("b\n\nc")
    assert lines == ["ab", ""]
    errors.write("x" * 5000)
    assert lines[2] == "c" + "x" * 2047
    errors.end()
    assert len(lines) == 3
