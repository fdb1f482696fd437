"""A real ACME CA on ports of its own of loopback: pebble, and pebble-challtestsrv as the DNS that it asks.

    with Pebble(tmp_path / "ca", http_port=site.port, tls_port=tls.port) as ca:
        ...                         a client of ca.directory_url, whose HTTPS is checked with ca.ca_file
        ca.root()                   what the certificates of this CA lead to
        ca.stop(); ca.start()       it is down, and up again, having forgotten everything but its address

All names have the address 127.0.0.1 there, and no TXT until one is set: by set_txt(), or by the script
that hook_script() writes.  The DNS stays up while the CA is down.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union

from tests.support.certificates import make_ca, make_certificate
from tests.support.programs import need
from tests.support.server import connect, free_ports
from tests.support.waiting import exit_code, wait_until

NOBODY = 9      # a port where nobody listens
SECONDS = 20.0  # to start, to end, or to answer
# A question for the address of "ready."; whoever answers anything to it is up.
QUESTION = b"\0\1\1\0\0\1\0\0\0\0\0\0\5ready\0\0\1\0\1"
# For a server that is not root any more: one that root has in a directory of his own is closed to it.
SYSTEM_PYTHON = "/usr/bin/python3"
HOOK = """\
#!{python} -IS
import json, sys, urllib.request
action, name, value = sys.argv[1:]
assert name.startswith("_acme-challenge.") and name.endswith(".") and len(value) == 43, sys.argv
with open({calls!r}, "a") as calls:
    calls.write(action + " " + name + " " + value + "\\n")
data = json.dumps({{"host": name, "value": value}}).encode()
url = {url!r} + {{"present": "/set-txt", "cleanup": "/clear-txt"}}[action]
urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(url, data, 10).close()
"""


def fetch(url: str, data: Optional[bytes] = None, ca_file: Optional[Path] = None) -> bytes:
    """The body of an answer, by no proxy; POST if there is `data`."""
    context = ssl.create_default_context(cafile=str(ca_file)) if ca_file is not None else None
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    with urllib.request.build_opener(*handlers).open(url, data, SECONDS) as answer:
        body: bytes = answer.read()
    return body


class Pebble:
    """Both programs, with their files in `directory`; a context manager that gives itself once they answer.

    `http_port` and `tls_port` of 127.0.0.1 are where it looks at http-01 and tls-alpn-01.  `nonce_reject` is
    how many of 100 good nonces it refuses; `eab` is the key id and the base64url key without which it takes
    no account; `authz_reuse` is for how many of 100 names it takes a valid authorization again (None: 50);
    `chain_length` is how many intermediates there are (None: 1); `va_sleep` lets it wait before each look, up
    to 5 seconds, or less than the number given; `always_valid` lets it look at nothing.
    """

    def __init__(
        self,
        directory: Path,
        *,
        http_port: int = NOBODY,
        tls_port: int = NOBODY,
        strict: bool = True,
        nonce_reject: int = 30,
        eab: Optional[Tuple[str, str]] = None,
        authz_reuse: Optional[int] = None,
        chain_length: Optional[int] = None,
        va_sleep: Union[bool, int] = False,
        always_valid: bool = False,
    ) -> None:
        self._programs = {name: need(name) for name in ("pebble", "pebble-challtestsrv")}
        self.directory = directory
        self.http_port, self.tls_port = http_port, tls_port
        directory.mkdir(parents=True, exist_ok=True)
        self._port, self._management, self._dns, dns_management = free_ports(4)
        self.directory_url = f"https://127.0.0.1:{self._port}/dir"
        self.management_url = f"https://127.0.0.1:{self._management}"  # of pebble
        self.dns_url = f"http://127.0.0.1:{dns_management}"            # of pebble-challtestsrv
        self._dns_management = dns_management
        ca = make_ca(directory)
        self.ca_file = ca.cert
        own = make_certificate(directory, "localhost", ["localhost", "127.0.0.1"], ca)
        self._write_config(own.cert, own.key, http_port, tls_port, eab)
        settings = {
            "PEBBLE_WFE_NONCEREJECT": nonce_reject,
            "PEBBLE_AUTHZREUSE": authz_reuse,
            "PEBBLE_CHAIN_LENGTH": chain_length,
            "PEBBLE_VA_NOSLEEP": 1 if va_sleep is False else None,
            "PEBBLE_VA_SLEEPTIME": None if isinstance(va_sleep, bool) else va_sleep,
            "PEBBLE_VA_ALWAYS_VALID": 1 if always_valid else None,
        }
        self._settings = {name: str(value) for name, value in settings.items() if value is not None}
        self._strict = strict
        self._processes: Dict[str, subprocess.Popen[bytes]] = {}

    def _write_config(
        self, cert: Path, key: Path, http_port: int, tls_port: int, eab: Optional[Tuple[str, str]]
    ) -> None:
        config: Dict[str, Any] = {
            "listenAddress": f"127.0.0.1:{self._port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(cert),
            "privateKey": str(key),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": eab is not None,
        }
        if eab is not None:
            config["externalAccountMACKeys"] = {eab[0]: eab[1]}
        (self.directory / "pebble.json").write_text(json.dumps({"pebble": config}, indent=1))

    # Up and down.

    def start(self) -> None:
        """Start the CA; it has new keys, and knows no account and no order."""
        config = str(self.directory / "pebble.json")
        arguments = ["-config", config, "-dnsserver", f"127.0.0.1:{self._dns}"]
        self._start("pebble", [*arguments, "-strict"] if self._strict else arguments, self._settings)
        wait_until(self._answers, "pebble", SECONDS)

    def stop(self) -> None:
        """End the CA: nothing listens at its address until start()."""
        self._end("pebble")

    def _start_dns(self) -> None:
        others = [word for kind in ("http01", "https01", "tlsalpn01") for word in (f"-{kind}", "")]
        addresses = ["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]
        ports = ["-dns01", f"127.0.0.1:{self._dns}", "-management", f"127.0.0.1:{self._dns_management}"]
        self._start("pebble-challtestsrv", [*addresses, *ports, *others], {})
        wait_until(self._dns_answers, "pebble-challtestsrv", SECONDS)

    def _start(self, program: str, arguments: Sequence[str], settings: Mapping[str, str]) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PEBBLE_")}
        with open(self.directory / f"{program}.log", "ab") as log:
            self._processes[program] = subprocess.Popen(
                [self._programs[program], *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environment, **settings},
            )

    def _answers(self) -> bool:
        self._check("pebble")
        try:
            fetch(self.directory_url, ca_file=self.ca_file)
            self.root()
        except OSError:
            return False
        return True

    def _dns_answers(self) -> bool:
        self._check("pebble-challtestsrv")
        try:
            connect(("127.0.0.1", self._dns_management)).close()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(0.2)
                sock.connect(("127.0.0.1", self._dns))
                sock.send(QUESTION)
                return bool(sock.recv(512))
        except OSError:
            return False

    def _check(self, program: str) -> None:
        code = self._processes[program].poll()
        assert code is None, f"{program} ended with {code}:\n{self.log(program)}"

    def _end(self, program: str) -> None:
        process = self._processes.pop(program, None)
        if process is None:
            return
        process.terminate()
        try:
            exit_code(process, SECONDS)
        finally:
            process.kill()  # which does nothing to one that has ended
            process.wait()

    # What a test asks of it.

    def root(self) -> str:
        """The root that issues now, as PEM."""
        return fetch(f"{self.management_url}/roots/0", ca_file=self.ca_file).decode()

    def log(self, program: str = "pebble") -> str:
        """What the CA has written so far, from its first start on; or what `pebble-challtestsrv` has."""
        return (self.directory / f"{program}.log").read_text("utf-8", "replace")

    def set_txt(self, name: str, value: str) -> None:
        """One more TXT of `name`."""
        self._dns_command("set-txt", name, value=value)

    def clear_txt(self, name: str) -> None:
        """No TXT of `name` any more."""
        self._dns_command("clear-txt", name)

    def add_a(self, name: str, address: str) -> None:
        """One more address of `name`, instead of 127.0.0.1."""
        self._dns_command("add-a", name, addresses=[address])

    def _dns_command(self, command: str, name: str, **more: object) -> None:
        host = name.rstrip(".") + "."
        fetch(f"{self.dns_url}/{command}", json.dumps({"host": host, **more}).encode())

    def hook_script(self, path: Path) -> Path:
        """Write a program for dns-01, to be called as `path present|cleanup _acme-challenge.NAME. VALUE`.

        It sets one TXT more, or clears all of the name; and it fails if it is called in any other way.
        """
        calls = self.directory / "hook.calls"
        calls.touch()
        calls.chmod(0o666)  # for a server that is not root any more
        python = SYSTEM_PYTHON if os.path.exists(SYSTEM_PYTHON) else sys.executable
        path.write_text(HOOK.format(python=python, calls=str(calls), url=self.dns_url))
        path.chmod(0o755)
        return path

    def hook_calls(self) -> List[List[str]]:
        """How the scripts have been called: for each call action, name and value."""
        return [line.split(" ") for line in (self.directory / "hook.calls").read_text().splitlines()]

    def __enter__(self) -> Pebble:
        is_ready = False
        try:
            self._start_dns()
            self.start()
            is_ready = True
            return self
        finally:
            if not is_ready:
                self._close()

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        fault: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if kind is not None:
            with suppress(OSError):
                sys.stderr.write(self.log())  # pytest shows it beside the failure
        self._close()

    def _close(self) -> None:
        try:
            self._end("pebble")
        finally:
            self._end("pebble-challtestsrv")
