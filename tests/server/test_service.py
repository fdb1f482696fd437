"""The service on real sockets: what it binds, what it cannot, and what it waits for."""

from __future__ import annotations

import errno
import os
import socket
import stat

import pytest

from lwsws.net.bind_retry import RETRY_SECONDS
from lwsws.server.service import BindError, Service
from tests.server.support import BODY, REQUEST, Disable, Host
from tests.support.server import connect, file_mount, free_ports

# What is bound.


def test_it_serves_on_the_port_by_name(host: Host, port: int) -> None:
    (host.home / "b").mkdir()
    (host.home / "b" / "a.txt").write_text("of b\n")
    of_b = [file_mount(host.home / "b")]
    host.started({"port": port}, {"name": "b.test", "port": port, "mounts": of_b})
    for name, body in ((b"a.test", BODY), (b"b.test", b"of b\n"), (b"c.test", BODY)):
        client = host.connect(port)
        client.sendall(REQUEST.replace(b"a.test", name))
        assert host.received(client).endswith(b"\r\n\r\n" + body)


def test_ipv4_and_ipv6_are_two_sockets(host: Host, port: int) -> None:
    service = host.started({"port": port, "interface": ""})
    families = [item.endpoint.family for item in service.site.listening]
    assert families == [socket.AF_INET, socket.AF_INET6]
    host.connect(port)
    host.until(lambda: service.context.connections)
    assert [connection.peer for connection in service.context.connections] == ["127.0.0.1"]


def test_a_unix_socket_is_for_its_owner_only_and_goes_with_the_server(host: Host) -> None:
    """LESSONS 3.35."""
    path = host.home / "s"
    owner = "4711:4712" if os.getuid() == 0 else f"{os.getuid()}:{os.getgid()}"
    service = host.started({"unix-socket": "1", "interface": str(path), "unix-socket-perms": owner})
    info = path.stat()
    assert stat.S_IMODE(info.st_mode) == 0o600
    assert f"{info.st_uid}:{info.st_gid}" == owner
    client = host.connect(str(path))
    client.sendall(REQUEST)
    assert host.received(client).endswith(BODY)
    service.stop()
    assert not path.exists()


def test_nothing_is_accepted_before_start(host: Host, port: int) -> None:
    service = host.service({"port": port})
    service.open()
    client = host.connect(port)
    client.sendall(REQUEST)
    host.reactor.run_once(0)
    assert not service.context.connections
    service.start()
    assert host.received(client).endswith(BODY)


def test_what_is_wrong_with_a_password_file_is_said_at_the_start(
    host: Host, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """And not at the first login, when the log is far away from the change."""
    (host.home / "pw").write_text("joe:$2b$12$abcdefghijklmnopqrstuu\n")
    (host.home / "pw").chmod(0o600)
    mounts = [file_mount(host.docroot, basic_auth=str(host.home / "pw"))]
    service = host.service({"port": port, "mounts": mounts})
    service.open()
    assert capfd.readouterr().err == ""
    service.start()
    assert str(host.home / "pw") in capfd.readouterr().err


# What cannot be bound.


def refusal(service: Service) -> str:
    """The words of the BindError, which name file, line and column."""
    with pytest.raises(BindError) as caught:
        service.open()
    where, _, reason = str(caught.value).partition(": ")
    assert where == str(service.site.listening[-1].configs[0].where)
    assert where.rsplit(":", 2)[1:] > ["0", "0"]
    return reason


def test_a_port_that_somebody_else_has(host: Host, port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        reason = refusal(host.service({"port": port}))
    assert reason == f"cannot listen on 127.0.0.1:{port}: Address already in use"


def test_a_port_that_somebody_else_has_is_not_ours_by_accident(host: Host, port: int) -> None:
    """Another vhost listens on another port of this address."""
    free, = free_ports(1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        reason = refusal(host.service({"port": free}, {"name": "b.test", "port": port}))
    assert reason == f"cannot listen on 127.0.0.1:{port}: Address already in use"


def test_an_address_that_another_vhost_has_with_all_others(host: Host, port: int) -> None:
    reason = refusal(host.service({"port": port, "interface": ""}, {"name": "b.test", "port": port}))
    assert reason.startswith(f"cannot listen on 127.0.0.1:{port}: Address already in use (another vhost of ")
    assert reason.endswith("give them the same interface)")


def test_a_file_in_place_of_the_socket_is_left_alone(host: Host) -> None:
    path = host.home / "precious"
    path.write_text("precious")
    service = host.service({"unix-socket": "1", "interface": str(path)})
    assert refusal(service) == f"cannot listen on unix:{path}: exists and is no socket"
    assert path.read_text() == "precious"


@pytest.mark.parametrize("error, at_bind", [(errno.EAFNOSUPPORT, False), (errno.EADDRNOTAVAIL, True)])
def test_without_ipv6_the_rest_is_served(
    host: Host, port: int, disable: Disable, capfd: pytest.CaptureFixture[str], error: int, at_bind: bool
) -> None:
    disable(socket.AF_INET6, error, at_bind)
    service = host.service({"port": port, "interface": ""})
    service.open()
    assert [service.is_open(item) for item in service.site.listening] == [True, False]
    service.start()
    assert f"no IPv6 on this system: not listening on [::]:{port}" in capfd.readouterr().err
    client = host.connect(port)
    client.sendall(REQUEST)
    assert host.received(client).endswith(BODY)


def test_an_ipv6_address_that_was_asked_for_is_missed(host: Host, port: int, disable: Disable) -> None:
    disable(socket.AF_INET6, errno.EAFNOSUPPORT, False)
    assert "Address family not supported" in refusal(host.service({"port": port, "interface": "::1"}))


@pytest.mark.parametrize("number, hint", [(80, True), (1023, True), (1024, False)])
def test_low_ports_need_privileges(host: Host, disable: Disable, number: int, hint: bool) -> None:
    disable(socket.AF_INET, errno.EACCES, True)
    reason = refusal(host.service({"port": number}))
    assert reason == f"cannot listen on 127.0.0.1:{number}: Permission denied" + (
        " (ports below 1024 need root or CAP_NET_BIND_SERVICE)" if hint else "")


# What is not there yet.


def test_an_interface_without_an_address_is_waited_for_while_others_serve(
    host: Host, port: int, disable: Disable, capfd: pytest.CaptureFixture[str]
) -> None:
    late, = free_ports(1)
    unable = disable(socket.AF_INET, errno.EADDRNOTAVAIL, True)
    path = str(host.home / "s")
    service = host.started({"unix-socket": "1", "interface": path},
                           {"port": late, "interface": "lo", "noipv6": "1"})
    client = host.connect(path)
    client.sendall(REQUEST)
    assert host.received(client).endswith(BODY)
    said = capfd.readouterr().err
    assert f"lo port {late} (IPv4): its address does not exist; looking for it every 2 s" in said
    unable.error = 0
    host.clock.advance(RETRY_SECONDS)
    host.reactor.run_once(0)
    client = host.connect(late)
    client.sendall(REQUEST)
    assert host.received(client).endswith(BODY)
    assert service.context.connections


def test_after_stop_nothing_is_waited_for(host: Host, port: int, disable: Disable) -> None:
    unable = disable(socket.AF_INET, errno.EADDRNOTAVAIL, True)
    service = host.started({"port": port, "interface": "lo", "noipv6": "1"})
    service.stop()
    unable.error = 0
    host.clock.advance(RETRY_SECONDS)
    host.reactor.run_once(0)
    with pytest.raises(ConnectionRefusedError):
        connect(("127.0.0.1", port))


def test_an_address_that_nobody_has_yet_is_waited_for(host: Host, port: int) -> None:
    host.started({"port": port}, {"name": "b.test", "port": port, "interface": "192.0.2.1"})
    client = host.connect(port)
    client.sendall(REQUEST)
    assert host.received(client).endswith(BODY)
