"""protocol-post-demo: the original's page byte for byte, and files on their way to the disk."""

from __future__ import annotations

import hashlib
import re
import resource
import stat
import tempfile
import tracemalloc
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import pytest

from lwsws.builtin.post_demo import PostDemo
from lwsws.core.options import OptionError, Options
from lwsws.server.plugin_server import PluginServer
from tests.support.forms import field, multipart
from tests.support.http_sessions import VHOST, CallbackSite, open_targets, post
from tests.support.peer import Answer, Peer

BOUNDARY = "Content-Type: multipart/form-data; boundary=----b1"
URLENCODED = "Content-Type: application/x-www-form-urlencoded"

NULL = (b"0", b"NULL")
TEXT = (field(b"text"), b"t")


class Demo:
    """A site with the protocol at /call."""

    def __init__(self, directory: Path) -> None:
        self.site = CallbackSite(directory)
        self.uploads = directory / "uploads"
        self.uploads.mkdir()

    def serve(self, *options: Tuple[str, str], max_body: int = 1 << 30) -> Peer:
        """A client of it with these options."""
        bench = self.site.bench
        demo = PostDemo()
        demo.server = PluginServer(bench.reactor, bench.workers, lambda hide: {})
        demo.init(VHOST, Options([("status", "ok"), *options]))
        self.site.serve(demo, max_body=max_body)
        return bench.connect()

    def keeping(self, *options: Tuple[str, str]) -> Peer:
        """The same, where files are kept."""
        return self.serve(("upload-dir", str(self.uploads)), *options)

    @property
    def kept(self) -> List[bytes]:
        """The contents of the files that are there."""
        return [path.read_bytes() for path in self.uploads.iterdir()]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """The site; no file may be left open at its end."""
    demo = Demo(tmp_path)
    yield demo
    for connection in list(demo.site.bench.context.connections):
        connection.abort()
    demo.site.bench.run()
    assert open_targets("/upload-") == []
    demo.site.bench.close()


def send(peer: Peer, body: bytes, *fields: str) -> Answer:
    """POST `body` and take the answer."""
    peer.send(post(body, *fields))
    return peer.answer()


def cells(answer: Answer) -> Dict[bytes, Tuple[bytes, bytes]]:
    """Length and value by name, as the page shows them."""
    assert answer.status == 200
    rows = re.findall(rb"<tr><td><b>(\w+)</b></td><td>(\d+)</td><td>(.*?)</td></tr>", answer.body, re.DOTALL)
    assert [name for name, _, _ in rows] == [b"text", b"send", b"file", b"upload"]
    return {name: (length, value) for name, length, value in rows}


def file_line(answer: Answer) -> bytes:
    """What the page says of the file."""
    found = re.search(rb"<br>(.*)</body>", answer.body)
    assert found is not None
    return found.group(1)


def told(name: bytes, data: bytes) -> bytes:
    """What the page has to say of a file."""
    digest = hashlib.sha256(data).hexdigest().encode()
    return b"<b>filename:</b> %b, <b>length</b> %d, <b>SHA-256</b> %b" % (name, len(data), digest)


# The pages of the original.

BEGINNING = (b"<!DOCTYPE html><html lang=\"en\"><head><meta charset=utf-8 http-equiv=\"Content-Language\" "
             b"content=\"en\"/><title>LWS Server Status</title></head><body><h1>Form results (after "
             b"urldecoding)</h1><table><tr><td>Name</td><td>Length</td><td>Value</td></tr>")
NOTHING = (b"<tr><td><b>text</b></td><td>0</td><td>NULL</td></tr><tr><td><b>send</b></td><td>0</td>"
           b"<td>NULL</td></tr><tr><td><b>file</b></td><td>0</td><td>NULL</td></tr><tr><td><b>upload</b></td>"
           b"<td>0</td><td>NULL</td></tr>")
END = b"</table><br><b>filename:</b> , <b>length</b> 0</body></html>"


def row(name: bytes, value: bytes) -> Tuple[bytes, bytes]:
    """A row without a value, and with one."""
    return (b"<tr><td><b>%b</b></td><td>0</td><td>NULL</td></tr>" % name,
            b"<tr><td><b>%b</b></td><td>%d</td><td>%b</td></tr>" % (name, len(value), value))


@pytest.mark.parametrize("body, fields, wanted", [
    (b"text=hello&send=SEND", [URLENCODED], {b"text": b"hello", b"send": b"SEND"}),
    (b"zzz=1", [URLENCODED], {}),
    (b"", [URLENCODED], {}),
    (b"text=a", [], {b"text": b"a"}),
    (b'{"a":1', ["Content-Type: application/json"], {}),
    ((b'------b1\r\nContent-Disposition: form-data; name="text"\r\n\r\nhello\r\n------b1\r\n'
      b'Content-Disposition: form-data; name="send"\r\n\r\ngo\r\n------b1--\r\n'), [BOUNDARY],
     {b"text": b"hello", b"send": b"go"}),
    (b'------b1\r\nContent-Disposition: form-data; name="text"\r\n\r\nl1\r\nl2\r\n------b1--\r\n', [BOUNDARY],
     {b"text": b"l1\r\nl2"}),
    (b'------b1\r\nContent-Disposition: form-data; name="text"\r\n\r\nhel', [BOUNDARY], {}),
])
def test_the_pages_of_the_original(demo: Demo, body: bytes, fields: List[str],
                                   wanted: Dict[bytes, bytes]) -> None:
    peer = demo.serve()
    rows = NOTHING
    for name, value in wanted.items():
        rows = rows.replace(*row(name, value))
    for _ in range(2):
        answer = send(peer, body, *fields)
        assert answer.body == BEGINNING + rows + END
        assert answer.get("content-type") == "text/html"


# Values.


def test_values_are_escaped_and_counted_in_bytes(demo: Demo) -> None:
    answer = send(demo.serve(), b"text=%3Cb%3E%26%22%27%C3%A9+%ff&send=%00", URLENCODED)
    assert cells(answer)[b"text"] == (b"10", "&lt;b&gt;&amp;&quot;&#x27;é �".encode())
    assert cells(answer)[b"send"] == (b"1", "�".encode())


@pytest.mark.parametrize("body, fields", [
    (b"text=one&text=two&text=", [URLENCODED]),
    (multipart(b"----b1", (field(b"text"), b"one"), (field(b"text"), b"two")), [BOUNDARY]),
])
def test_the_first_of_several_values_counts(demo: Demo, body: bytes, fields: List[str]) -> None:
    assert cells(send(demo.serve(), body, *fields))[b"text"] == (b"3", b"one")


def test_a_long_value(demo: Demo) -> None:
    assert cells(send(demo.serve(), b"text=" + b"v" * 3000, URLENCODED))[b"text"] == (b"3000", b"v" * 3000)


@pytest.mark.parametrize("body, fields, status", [
    (b"text=%zz", [URLENCODED], 400),
    (b"text=%4", [URLENCODED], 400),
    (b"x", ["Content-Type: multipart/form-data"], 400),
    (b"x", ['Content-Type: multipart/form-data; boundary="'], 400),
    (multipart(b"----b1", (b"X: y", b"")), [BOUNDARY], 400),
    (multipart(b"----b1", (field(b"a"), b"1")) + b"x" * 10000, [BOUNDARY], 400),
    (b"a&" * 100 + b"text=x", [URLENCODED], 413),
    (b"text=" + b"x" * (1 << 20) + b"x", [URLENCODED], 413),
])
def test_forms_that_are_refused(demo: Demo, body: bytes, fields: List[str], status: int) -> None:
    peer = demo.serve()
    peer.send(post(body, *fields))
    answer = peer.answer()
    assert answer.status == status
    assert answer.get("content-type") == "text/html"
    assert b"<h1>The form cannot be taken</h1><p>" in answer.body
    assert cells(send(demo.site.bench.connect(), b"text=a", URLENCODED))[b"text"] == (b"1", b"a")


def test_what_a_refusal_quotes_is_escaped(demo: Demo) -> None:
    answer = send(demo.serve(), b"x", 'Content-Type: multipart/form-data; boundary=a; <script>')
    assert answer.status == 400
    assert b"<script>" not in answer.body


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/call", "/call/deep/er"])
def test_other_methods_are_not_allowed(demo: Demo, method: str, path: str) -> None:
    peer = demo.serve()
    for _ in range(2):
        answer = peer.ask(f"{method} {path} HTTP/1.1\nHost: localhost", method)
        assert (answer.status, answer.get("allow")) == (405, "POST")


def test_a_put_with_a_body_is_not_allowed_either(demo: Demo) -> None:
    peer = demo.serve()
    peer.send(post(b"text=a").replace(b"POST", b"PUT", 1))
    assert peer.answer().status == 405
    assert cells(send(peer, b"text=b"))[b"text"] == (b"1", b"b")


# Files.


def test_the_page_shows_the_file(demo: Demo) -> None:
    data = b"file content 12"
    file = (field(b"file", b"a.txt", b"text/plain"), data)
    body = multipart(b"----b1", TEXT, file, (field(b"upload"), b"Up"))
    answer = send(demo.serve(), body, BOUNDARY)
    assert cells(answer) == {b"text": (b"1", b"t"), b"send": NULL, b"file": NULL, b"upload": (b"2", b"Up")}
    assert file_line(answer) == told(b"a.txt", data)


@pytest.mark.parametrize("sent, wanted", [
    (b"../../etc/passwd", b"passwd"),
    (b"C:\\x\\a.txt", b"a.txt"),
    (b"<i>&amp;'.txt", b"&lt;i&gt;&amp;amp;&#x27;.txt"),
    (b"", b""),
    ("日.txt".encode(), "日.txt".encode()),
])
def test_the_name_of_the_file_is_only_shown(demo: Demo, sent: bytes, wanted: bytes) -> None:
    answer = send(demo.keeping(), multipart(b"----b1", (field(b"file", sent), b"data")), BOUNDARY)
    assert file_line(answer) == told(wanted, b"data")
    assert demo.kept == [b"data"]
    (path,) = demo.uploads.iterdir()
    assert re.fullmatch(r"upload-\w{8,}", path.name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_was_not_chosen_is_none(demo: Demo) -> None:
    """As browsers send it."""
    body = multipart(b"----b1", (field(b"file", b"", b"application/octet-stream"), b""))
    answer = send(demo.keeping(), body, BOUNDARY)
    assert file_line(answer) == b"<b>filename:</b> , <b>length</b> 0"
    assert demo.kept == []


def test_an_empty_file_is_one(demo: Demo) -> None:
    answer = send(demo.keeping(), multipart(b"----b1", (field(b"file", b"empty"), b"")), BOUNDARY)
    assert file_line(answer) == told(b"empty", b"")
    assert demo.kept == [b""]


def test_of_several_files_the_first_counts(demo: Demo) -> None:
    files = (field(b"file", b""), b""), (field(b"a", b"1"), b"one"), (field(b"b", b"2"), b"2")
    body = multipart(b"----b1", *files)
    assert file_line(send(demo.keeping(), body, BOUNDARY)) == told(b"1", b"one")
    assert demo.kept == [b"one"]


def test_files_have_names_of_their_own(demo: Demo) -> None:
    peer = demo.keeping()
    for number in range(5):
        send(peer, multipart(b"----b1", (field(b"file", b"same"), b"%d" % number)), BOUNDARY)
    assert sorted(demo.kept) == [b"0", b"1", b"2", b"3", b"4"]


def test_without_a_directory_nothing_is_left(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(demo.uploads))
    peer = demo.serve()
    body = multipart(b"----b1", (field(b"file", b"a"), b"x" * 1000))
    request = post(body, BOUNDARY)
    peer.send(request[:-500])
    (target,) = open_targets("/upload-")
    assert target.startswith(f"{demo.uploads}/upload-")
    assert target.endswith(" (deleted)")
    assert list(demo.uploads.iterdir()) == []
    peer.send(request[-500:])
    assert file_line(peer.answer()) == told(b"a", b"x" * 1000)
    assert list(demo.uploads.iterdir()) == []
    assert open_targets("/upload-") == []


@pytest.mark.parametrize("end", ["client gone", "half-closed", "malformed", "stalled"])
def test_an_unfinished_file_is_deleted(demo: Demo, end: str) -> None:
    peer = demo.keeping()
    body = multipart(b"----b1", (field(b"file", b"a"), b"x" * 1000))
    peer.send(post(body[:-500], BOUNDARY, announced=len(body)))
    assert len(demo.kept) == 1
    if end == "client gone":
        peer.connection.abort()
        demo.site.bench.run()
    elif end == "half-closed":
        peer.half_close()
        assert peer.answer().status == 400
    elif end == "malformed":
        peer.send(b"\r\n------b1x\r\n".ljust(500, b"x"))
        assert peer.answer().status == 400
    else:
        demo.site.bench.advance(5)
        assert peer.answer().status == 408
    assert demo.kept == []


def test_the_file_of_a_form_refused_later_is_deleted(demo: Demo) -> None:
    body = multipart(b"----b1", (field(b"file", b"a"), b"data"), (b"X: y", b""))
    assert send(demo.keeping(), body, BOUNDARY).status == 400
    assert demo.kept == []


def test_a_form_that_ends_early_keeps_what_is_complete(demo: Demo) -> None:
    peer = demo.keeping()
    body = multipart(b"----b1", TEXT, (field(b"file", b"a"), b"data"))
    answer = send(peer, body[: body.rindex(b"--\r\n")], BOUNDARY)
    assert (cells(answer)[b"text"], file_line(answer)) == ((b"1", b"t"), told(b"a", b"data"))
    answer = send(peer, body[: body.rindex(b"ta\r\n")], BOUNDARY)
    assert cells(answer)[b"text"] == (b"1", b"t")
    assert file_line(answer) == b"<b>filename:</b> , <b>length</b> 0"
    assert demo.kept == [b"data"]


def test_a_file_larger_than_what_may_be_in_memory(demo: Demo) -> None:
    peer = demo.keeping()
    piece = bytes(range(256)) * 512
    count = 400     # 50 MiB
    before, behind = multipart(b"----b1", TEXT, (field(b"file", b"big"), b"|")).split(b"|")
    length = len(before) + count * len(piece) + len(behind)
    peer.send(post(before, BOUNDARY, announced=length))
    tracemalloc.start()
    try:
        for _ in range(count):
            peer.send(piece)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
    peer.send(behind)
    assert file_line(peer.answer()) == told(b"big", piece * count)
    assert [path.stat().st_size for path in demo.uploads.iterdir()] == [count * len(piece)]


def test_pipelined_forms(demo: Demo) -> None:
    peer = demo.keeping()
    forms = [multipart(b"----b1", (field(b"file", b"%d" % number), b"x" * number)) for number in range(5)]
    peer.send(b"".join(post(form, BOUNDARY) for form in forms))
    for number in range(5):
        assert file_line(peer.answer()) == told(b"%d" % number, b"x" * number)


# Limits and disks.


def test_the_longest_file(demo: Demo) -> None:
    peer = demo.keeping(("max-upload", "1000"))
    answer = send(peer, multipart(b"----b1", (field(b"file", b"a"), b"x" * 1000)), BOUNDARY)
    assert file_line(answer) == told(b"a", b"x" * 1000)
    answer = send(peer, multipart(b"----b1", (field(b"file", b"a"), b"x" * 1001)), BOUNDARY)
    assert answer.status == 413
    assert b"over 1000 bytes" in answer.body
    assert demo.kept == [b"x" * 1000]


def test_the_most_fields(demo: Demo) -> None:
    peer = demo.serve(("max-fields", "2"))
    assert cells(send(peer, b"a=1&text=b", URLENCODED))[b"text"] == (b"1", b"b")
    assert send(peer, b"a=1&b=2&text=b", URLENCODED).status == 413


def test_a_body_over_the_limit_of_the_mount(demo: Demo) -> None:
    peer = demo.serve(max_body=100)
    assert send(peer, b"x" * 101, BOUNDARY).status == 413


def test_a_disk_without_room_is_507(demo: Demo, capfd: pytest.CaptureFixture[str]) -> None:
    """A limit on the size of files fails in the same way, and needs no disk of its own."""
    peer = demo.keeping()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        peer.send(post(multipart(b"----b1", (field(b"file", b"a"), b"x" * 200_000)), BOUNDARY))
        answer = peer.answer()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert answer.status == 507
    assert b"There is no room for the file." in answer.body
    assert "a file cannot be written" in capfd.readouterr().err
    assert demo.kept == []


def test_a_directory_that_is_gone_is_507(demo: Demo, capfd: pytest.CaptureFixture[str]) -> None:
    peer = demo.keeping()
    demo.uploads.rmdir()
    answer = send(peer, multipart(b"----b1", (field(b"file", b"a"), b"x")), BOUNDARY)
    assert answer.status == 507
    assert "No such file or directory" in capfd.readouterr().err
    assert cells(send(demo.site.bench.connect(), b"text=a"))[b"text"] == (b"1", b"a")


@pytest.mark.parametrize("options, name, why", [
    ([("upload-dir", "uploads")], "upload-dir", '"uploads" is no absolute path'),
    ([("upload-dir", "/nonexistent/x")], "upload-dir", "No such file or directory"),
    ([("upload-dir", "/dev/null")], "upload-dir", "no file can be made"),
    ([("max-upload", "0")], "max-upload", "is no whole number from 1"),
    ([("max-upload", "1 MB")], "max-upload", "is no whole number"),
    ([("max-fields", "-1")], "max-fields", "is no whole number from 1"),
])
def test_options_that_cannot_work(options: List[Tuple[str, str]], name: str, why: str) -> None:
    with pytest.raises(OptionError) as caught:
        PostDemo().init(VHOST, Options(options))
    assert caught.value.name == name
    assert why in caught.value.why
