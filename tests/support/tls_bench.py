"""TLS and raw vhosts on a bench, each with a page that tells its name, and what a client meets there."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional

from tests.support.certificates import Certificates, Pair
from tests.support.docroot import file_mount
from tests.support.peer import Bench
from tests.support.tls_peer import TlsPeer

MakeBench = Callable[..., Bench]

RAW = {"listen-accept-role": "raw-skt", "listen-accept-protocol": "raw-test"}
FALLBACK = {**RAW, "fallback-listen-accept": "1"}
HTTP = b"GET /who HTTP/1.1\r\nHost: a.test\r\n\r\n"

# Seconds in which a peer that is looked at is looked at again.
LOOK_AGAIN = 0.05


@contextmanager
def benches(tmp_path: Path) -> Iterator[MakeBench]:
    """Gives a function that makes the bench of some vhosts, each with a page /who that holds its name."""
    made = []

    def make(*vhosts: Dict[str, Any], **settings: Any) -> Bench:
        complete = []
        for vhost in vhosts:
            name = vhost.get("name", "a.test")
            root = tmp_path / name
            root.mkdir(exist_ok=True)
            (root / "who.txt").write_text(name)
            who = file_mount("/", root, extra_mimetypes={"*": "text/plain"})
            (root / "who").write_text(name)
            complete.append({"name": name, "mounts": [who], **vhost})
        bench = Bench(tmp_path, *complete, **settings)
        made.append(bench)
        return bench

    yield make
    for bench in made:
        bench.close()


def tls(pair: Pair, **keys: Any) -> Dict[str, Any]:
    """The keys of a TLS vhost."""
    named = {name.replace("_", "-"): value for name, value in keys.items()}
    return {"host-ssl-cert": str(pair.cert), "host-ssl-key": str(pair.key), **named}


def met(bench: Bench, certificates: Certificates, name: Optional[str], host: str) -> str:
    """The page that a TLS client gets, or the status."""
    answer = TlsPeer(bench.connect(), certificates.ca, name).handshake().get("/who", host=host)
    return answer.body.decode() if answer.status == 200 else str(answer.status)
