"""A serving process asks its parent for what it may not do itself, and only for that."""

from __future__ import annotations

import errno
import os
import select
import shutil
import time
from pathlib import Path
from threading import Thread
from typing import Callable, Iterator, List, Tuple, Union

import pytest

import lwsws.process.link
from lwsws.config.model import GlobalConfig, VhostConfig
from lwsws.net.channel import ChildEnd, ParentEnd, channel_pair
from lwsws.net.keeper import LOG, READ, Keeper
from lwsws.net.listening import SocketStore, Terms
from lwsws.net.regular_file import NotRegular, TooLarge, file_state
from lwsws.net.tls import ServerSettings
from lwsws.process.link import ParentLink
from lwsws.process.requests import MAX_FDS, Requests
from lwsws.server.certificates import file_states, load_anew, load_tls
from tests.process.asking import local, nothing, parent_thread, serve_all
from tests.support.certificates import Certificates

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, which the parent has and the child not")

UID = 64711

Pair = Callable[[], Tuple[ChildEnd, ParentEnd]]


@pytest.fixture(name="pair")
def make_pair() -> Iterator[Pair]:
    """Makes channels that are closed at the end."""
    made: List[Union[ParentEnd, ChildEnd]] = []

    def pair() -> Tuple[ChildEnd, ParentEnd]:
        theirs, ours = channel_pair()
        made.extend((theirs, ours))
        return ours, theirs

    yield pair
    for channel in made:
        channel.close()


@pytest.fixture(name="store")
def make_store() -> Iterator[SocketStore]:
    """The sockets of the parent."""
    made = SocketStore()
    yield made
    made.close()


@pytest.fixture(name="link")
def make_link(store: SocketStore) -> Iterator[ParentLink]:
    """A link to a parent that answers."""
    theirs, thread = parent_thread(store)
    made = ParentLink(theirs)
    yield made
    made.close()
    thread.join()


@pytest.fixture(name="place")
def make_place(tmp_path: Path) -> Path:
    """A directory that only root may enter."""
    place = tmp_path / "place"
    place.mkdir(0o700)
    (place / "key").write_bytes(b"secret")
    return place


def test_it_is_a_keeper(link: ParentLink) -> None:
    keeper: Keeper = link
    made = keeper.listen(local(), Terms())
    link.seal()
    made += keeper.listen(local(), Terms())
    assert [sock.getblocking() for sock in made] == [False, False]
    assert len({sock.getsockname() for sock in made}) == 1
    with pytest.raises(PermissionError):
        keeper.listen(local(1), Terms())
    keeper.release(local())
    with pytest.raises(PermissionError):
        keeper.listen(local(), Terms())
    for sock in made:
        sock.close()


def test_more_sockets_than_go_with_one_message(link: ParentLink, store: SocketStore) -> None:
    count = MAX_FDS + 1
    for sock in store.take(local(), Terms(count), set()):     # an older generation had more processes
        sock.close()
    made = link.listen(local(), Terms())
    assert len({sock.fileno() for sock in made}) == count
    link.seal()     # and what comes next is understood
    for sock in made:
        sock.close()


def test_what_is_allowed_to_us_needs_no_parent(place: Path, pair: Pair) -> None:
    link = ParentLink(pair()[0])     # nobody answers
    assert link.read(str(place / "key"), 6) == b"secret"
    assert link.state(str(place / "key")) == file_state(str(place / "key"))
    assert link.state(str(place / "no")) == (errno.ENOENT,)
    os.close(link.open_log(str(place / "a.log")))
    with pytest.raises(FileNotFoundError):
        link.read(str(place / "no"), 6)
    with pytest.raises(TooLarge):
        link.read(str(place / "key"), 5)


def as_somebody_else(work: Callable[[ParentLink], object], answers: int = 1000,
                     then_gone: bool = True) -> str:
    """What `work` returns, as text, in a child that gives up root and whose parent is this process; after so
    many `answers` the parent is gone, or (not `then_gone`) only silent."""
    ours, theirs = channel_pair()
    requests = Requests(ours, SocketStore(), set(), 0, nothing, nothing)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            os.write(writing, str(work(ParentLink(theirs))).encode())
        except OSError as error:
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    theirs.close()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        while answers > 0:
            select.select([requests], [], [])
            if not requests.serve():
                break
            answers -= 1
        if then_gone:
            requests.close()
        os.waitpid(child, 0)
        requests.close()
        assert requests.breached == ""
        return pipe.read().decode()


def give_up_root(link: ParentLink) -> None:
    link.seal()
    os.setgroups([])
    os.setgid(UID)
    os.setuid(UID)


@needs_root
def test_what_is_forbidden_comes_from_the_parent(place: Path) -> None:
    key, log = str(place / "key"), str(place / "a.log")

    def work(link: ParentLink) -> Tuple[object, ...]:
        link.allow(READ, key)
        link.allow(LOG, log)
        give_up_root(link)
        fd = link.open_log(log)
        os.write(fd, b"line\n")
        return link.read(key, 6), link.state(key), file_state(key)

    expected = b"secret", file_state(key), (errno.EACCES,)
    assert as_somebody_else(work) == str(expected)
    assert (place / "a.log").read_bytes() == b"line\n"


def outcome(call: Callable[..., object], *arguments: object) -> str:
    """The error that comes, as text."""
    try:
        return f"no error: {call(*arguments)!r}"
    except OSError as error:
        return f"{type(error).__name__}({error.errno}): {error.strerror}"


@needs_root
def test_errors_are_those_of_the_file(place: Path) -> None:
    (place / "large").write_bytes(b"x" * 9)
    names = "no", "large", ".", "key"
    (place / "key").chmod(0)

    def work(link: ParentLink) -> List[str]:
        for name in names[:3]:
            link.allow(READ, f"{place}/{name}")
        give_up_root(link)
        return [outcome(link.read, f"{place}/{name}", 8) for name in names]

    assert as_somebody_else(work) == str([
        f"FileNotFoundError({errno.ENOENT}): No such file or directory",
        f"{TooLarge.__name__}({errno.EFBIG}): larger than 8 bytes",
        f"{NotRegular.__name__}({errno.EINVAL}): not a regular file",
        f"PermissionError({errno.EACCES}): Permission denied"])     # never announced


@needs_root
def test_what_the_parent_refuses_has_both_reasons(place: Path) -> None:
    key, log = str(place / "key"), str(place / "a.log")
    os.link(key, log)

    def work(link: ParentLink) -> List[object]:
        link.allow(READ, key)
        link.allow(LOG, log)
        place.chmod(0o2702)     # others may change it, but not enter
        give_up_root(link)
        return [outcome(link.read, key, 9), outcome(link.open_log, log), link.state(key)]

    reason = f"PermissionError({errno.EACCES}): Permission denied, also through the parent process: "
    assert as_somebody_else(work) == str([
        f"{reason}others than root may change {place}",
        f"{reason}the file has several names (hard links)", (errno.EACCES,)])


@needs_root
def test_without_a_parent_there_is_the_own_reason(place: Path) -> None:
    key = str(place / "key")

    def work(link: ParentLink) -> List[object]:
        link.allow(READ, key)
        give_up_root(link)
        return [outcome(link.read, key, 9), outcome(link.read, key, 9), link.state(key)]

    told = as_somebody_else(work, answers=2)
    reason = f"PermissionError({errno.EACCES}): Permission denied, also through the parent process: "
    assert told.count(reason) == 2
    assert told.endswith(f", ({errno.EACCES},)]")
    assert "the parent process is gone" in told or "Broken pipe" in told


@needs_root
def test_who_looks_at_many_files_is_told_that_nobody_answers(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state in its place would be that of one file, and the next question waited for as long."""
    monkeypatch.setattr(lwsws.process.link, "REPLY_SECONDS", 0.01)
    key = str(place / "key")

    def work(link: ParentLink) -> str:
        link.allow(READ, key)
        give_up_root(link)
        return outcome(link.state, key)

    expected = f"TimeoutError({errno.ETIMEDOUT}): the parent process does not answer"
    assert as_somebody_else(work, answers=2, then_gone=False) == expected


@needs_root
def test_a_renewed_key_that_only_root_may_read(place: Path, certificates: Certificates) -> None:
    """LESSONS T9."""
    for pair, names in ((certificates.a, ("crt", "key.pem")), (certificates.b, ("new.crt", "new.key"))):
        for source, name in zip((pair.cert, pair.key), names):
            shutil.copy(source, place / name)
            (place / name).chmod(0o600)
    vhost = VhostConfig(host_ssl_cert=f"{place}/crt", host_ssl_key=f"{place}/key.pem")

    def work(link: ParentLink) -> List[object]:
        tls = load_tls(vhost, GlobalConfig(), link)
        for path in tls.settings.files:
            link.allow(READ, path)
        for old, new in (("crt", "new.crt"), ("key.pem", "new.key")):
            (place / new).replace(place / old)
        give_up_root(link)
        told: List[object] = [file_states(tls.settings.files, link) != tls.files]
        anew = load_anew(tls.settings, time.time, link)
        assert anew.certificate is not None
        told += [anew.context is not None, *anew.certificate.names]
        return [*told, load_anew(tls.settings._replace(key="/no"), time.time, link).fault]

    assert as_somebody_else(work) == str([True, True, "b.test", "there is no file '/no'"])


@needs_root
def test_who_is_refused_is_told_what_helps(place: Path, certificates: Certificates) -> None:
    shutil.copy(certificates.a.cert, place / "crt")
    settings = ServerSettings(f"{place}/crt", f"{place}/crt")

    def work(link: ParentLink) -> str:
        give_up_root(link)
        return load_anew(settings, time.time, link).fault

    assert as_somebody_else(work) == (
        f"cannot read '{place}/crt': Permission denied. The new files can be loaded by a reload (HUP), or "
        f"once the server's user {UID} may read them (chgrp {UID} and chmod g+r)")


def test_a_parent_that_does_not_answer_is_not_waited_for(pair: Pair, store: SocketStore) -> None:
    theirs, ours = pair()
    requests, link = Requests(ours, store, set(), 0, nothing, nothing), ParentLink(theirs)
    theirs.set_timeout(0.01)
    for what in (link.seal, lambda: link.listen(local(), Terms())):
        with pytest.raises(TimeoutError) as caught:
            what()
        assert caught.value.errno == errno.ETIMEDOUT
    theirs.set_timeout(5)
    # It answers after all: the answer to an old question is not taken for that to a new one.
    thread = Thread(target=serve_all, args=[requests])
    thread.start()
    with pytest.raises(PermissionError, match="not asked for before"):
        link.listen(local()._replace(host="127.0.0.2"), Terms())
    link.close()
    thread.join()
    requests.close()


@pytest.mark.parametrize("answer", [["fault"], ["fault", "x", "y"], ["what"], ["ok"], ["ok", "x"]])
def test_answers_that_are_none(pair: Pair, answer: List[str]) -> None:
    ours, theirs = pair()
    theirs.tell(answer)
    with pytest.raises(OSError, match="cannot be understood") as caught:
        ParentLink(ours).seal()
    assert caught.value.errno == errno.EPROTO


def test_names_that_are_none(pair: Pair) -> None:
    link = ParentLink(pair()[0])
    with pytest.raises(OSError, match="a NUL in a name"):
        link.allow(READ, "/a\0b")
    with pytest.raises(OSError, match="cannot be understood"):
        link.allow(READ, "/\ud800")
