"""wsgi in a real server: an application of the administrator's own directory, a large body each way, and a
reload that takes the changed application."""

from __future__ import annotations

import hashlib
import http.client
from pathlib import Path
from typing import Any, Dict, Tuple

from tests.interop.conftest import Serve
from tests.support.server import Server
from tests.support.waiting import wait_until

SIZE = 3_000_000

APPLICATION = '''
import hashlib, os
from wsgiref.validate import validator

def app(environ, start_response):
    body, digest = environ["wsgi.input"], hashlib.sha256()
    while True:
        data = body.read(65536)
        if not data:
            break
        digest.update(data)
    answer = [("Content-Type", "text/plain"), ("X-Version", "VERSION"), ("X-Directory", os.getcwd()),
              ("X-Digest", digest.hexdigest())]
    start_response("200 OK", answer)
    return (b"%1023d\\n" % number for number in range(int(environ["QUERY_STRING"] or 1)))

application = validator(app)
'''


def write_application(folder: Path, version: str) -> None:
    """The application, which tells its version."""
    folder.mkdir(exist_ok=True)
    (folder / "lwsws_test_site.py").write_text(APPLICATION.replace("VERSION", version))


def ask(server: Server, target: str, body: Any = None) -> Tuple[http.client.HTTPResponse, bytes]:
    """The answer, and its body; `body` is sent chunked if it is no bytes."""
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    client.request("POST" if body else "GET", target, body)
    answer = client.getresponse()
    data = answer.read()
    client.close()
    return answer, data


def test_an_application(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    write_application(folder, "1")
    pmo: Dict[str, str] = {"app": "lwsws_test_site:application", "path": str(folder), "chdir": str(folder)}
    mount = {"mountpoint": "/", "origin": "callback://wsgi", "pmo": [pmo]}
    server = serve([{"ws-protocols": [{"wsgi": {"threads": "2"}}], "mounts": [mount]}])
    sent = bytes(range(256)) * (SIZE // 256)
    for body in (sent, iter([sent[:SIZE // 2], sent[SIZE // 2:]])):
        answer, data = ask(server, "/a?2000", body)
        assert (answer.status, answer.getheader("X-Digest")) == (200, hashlib.sha256(sent).hexdigest())
        assert data == b"".join(b"%1023d\n" % number for number in range(2000))
    assert answer.getheader("X-Directory") == str(folder)
    write_application(folder, "2 of them")
    server.reload()
    wait_until(lambda: ask(server, "/")[0].getheader("X-Version") == "2 of them", "the changed application")
