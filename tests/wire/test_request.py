"""The interpretation of a head: host, body framing, keep-alive, expectation."""

from __future__ import annotations

from typing import List, Optional, Tuple

import pytest

from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.headers import Headers
from lwsws.wire.request import Request

Fields = List[Tuple[str, str]]

HOST = ("Host", "a.example")


def request(
    *fields: Tuple[str, str], method: str = "GET", target: str = "/", version: str = "1.1"
) -> Request:
    return Request(method, target, version, Headers(fields))


def status_of(*fields: Tuple[str, str], method: str = "GET", target: str = "/", version: str = "1.1") -> int:
    with pytest.raises(RemoteProtocolError) as caught:
        request(*fields, method=method, target=target, version=version)
    assert len(caught.value.why) < 150
    return caught.value.status


def test_a_plain_request() -> None:
    seen = request(HOST, target="/%61?b")
    assert (seen.method, seen.target, seen.version) == ("GET", "/%61?b", "1.1")
    assert (seen.form, seen.path, seen.query) == ("origin", "/a", "b")
    assert (seen.host, seen.host_name, seen.host_port) == ("a.example", "a.example", None)
    assert seen.keep_alive
    assert not seen.has_body
    assert (seen.content_length, seen.chunked, seen.expect_continue) == (0, False, False)


@pytest.mark.parametrize(
    "value, name, port",
    [
        ("", "", None),
        ("A.Example.:8080", "a.example", 8080),
        ("[::1]:80", "[::1]", 80),
        (".", "", None),
    ],
)
def test_host(value: str, name: str, port: Optional[int]) -> None:
    """LESSONS 3.5: `host` is as it was sent, the name is fit for comparing."""
    seen = request(("host", value))
    assert (seen.host, seen.host_name, seen.host_port) == (value, name, port)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [HOST, HOST],
        [HOST, ("HOST", "b.example")],
        [("Host", ""), ("Host", "")],
        [("Host", "a.example, b.example")],
        [("Host", "a.example b.example")],
        [("Host", "user@a.example")],
        [("Host", "a.example:http")],
        [("Host", "a.example/")],
    ],
)
def test_one_valid_host_is_required(fields: Fields) -> None:
    """LESSONS 3.5, RFC 9112 3.2."""
    assert status_of(*fields) == 400


def test_http_1_0_may_lack_a_host_but_not_send_a_bad_one() -> None:
    assert request(version="1.0").host == ""
    assert request(version="1.0").host_name == ""
    assert status_of(HOST, HOST, version="1.0") == 400
    assert status_of(("Host", "a b"), version="1.0") == 400


def test_the_host_of_the_target_wins() -> None:
    """RFC 9112 3.2.2."""
    seen = request(("Host", "other.example"), target="http://A.example:81/x")
    assert (seen.host, seen.host_name, seen.host_port, seen.path) == ("A.example:81", "a.example", 81, "/x")
    # The field has to be there and valid all the same.
    assert status_of(target="http://a.example/") == 400
    assert status_of(("Host", "a b"), target="http://a.example/") == 400
    assert status_of(HOST, target="http://a:b/") == 400
    assert request(target="http://a.example/", version="1.0").host_name == "a.example"


@pytest.mark.parametrize("length, expected", [("0", 0), ("5", 5), ("007", 7), ("9" * 19, 10**19 - 1)])
def test_content_length(length: str, expected: int) -> None:
    seen = request(HOST, ("Content-Length", length), method="POST")
    assert (seen.content_length, seen.chunked) == (expected, False)
    assert seen.has_body == (expected > 0)


@pytest.mark.parametrize(
    "length",
    ["", "+5", "-5", "0x5", "5_0", "5.0", "5 ", " 5", "5,", "5, 5", "5,5", "5 5", "\xb2", "a", "1" * 20],
)
def test_a_content_length_that_is_not_one_number(length: str) -> None:
    """LESSONS 3.1 and F6."""
    assert status_of(HOST, ("Content-Length", length)) == 400


@pytest.mark.parametrize("other", ["5", "6", ""])
def test_a_second_content_length_is_refused_even_if_equal(other: str) -> None:
    """LESSONS 3.1."""
    assert status_of(HOST, ("Content-Length", "5"), ("content-length", other)) == 400


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "CHUNKED"])
def test_chunked(coding: str) -> None:
    seen = request(HOST, ("Transfer-Encoding", coding), method="POST")
    assert (seen.chunked, seen.content_length, seen.has_body) == (True, None, True)


@pytest.mark.parametrize(
    "coding",
    ["", "identity", "gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "chunked,", "chunked;q=1"]
    + ["xchunked", '"chunked"', "chunked\x0b", "chunked\xa0", "\xe7hunked"],
)
def test_any_other_transfer_coding(coding: str) -> None:
    """LESSONS 3.2: never fall back to the length."""
    assert status_of(HOST, ("Transfer-Encoding", coding)) == 501


def test_two_transfer_encodings() -> None:
    """LESSONS 3.2."""
    chunked = ("Transfer-Encoding", "chunked")
    assert status_of(HOST, chunked, chunked) == 501
    assert status_of(HOST, chunked, ("transfer-encoding", "")) == 501


@pytest.mark.parametrize("coding", ["chunked", "identity", ""])
def test_transfer_encoding_with_content_length(coding: str) -> None:
    """LESSONS 3.1 and 3.2."""
    assert status_of(HOST, ("Content-Length", "5"), ("Transfer-Encoding", coding)) == 400
    assert status_of(HOST, ("Transfer-Encoding", coding), ("Content-Length", "x")) == 400


def test_transfer_encoding_in_http_1_0() -> None:
    """LESSONS 3.2, RFC 9112 6.1."""
    assert status_of(HOST, ("Transfer-Encoding", "chunked"), version="1.0") == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_http_1_0_needs_a_length_for_a_body(method: str) -> None:
    assert status_of(method=method, version="1.0") == 411
    assert request(("Content-Length", "0"), method=method, version="1.0").content_length == 0
    assert request(HOST, method=method).content_length == 0


@pytest.mark.parametrize(
    "version, connection, expected",
    [
        ("1.1", None, True),
        ("1.1", "", True),
        ("1.1", "keep-alive", True),
        ("1.1", "close", False),
        ("1.1", "Close", False),
        ("1.1", "a, close", False),
        ("1.1", "keep-alive, close", False),
        ("1.1", "closed", True),
        ("1.0", None, False),
        ("1.0", "keep-alive", True),
        ("1.0", "Keep-Alive", True),
        ("1.0", "te, keep-alive", True),
        ("1.0", "keep-alive, close", False),
        ("1.0", "keep-alive-not", False),
    ],
)
def test_keep_alive(version: str, connection: Optional[str], expected: bool) -> None:
    """RFC 9112 9.3."""
    fields = [HOST] if connection is None else [HOST, ("Connection", connection)]
    assert request(*fields, version=version).keep_alive is expected


def test_close_in_any_connection_field_counts() -> None:
    assert not request(HOST, ("Connection", "keep-alive"), ("Connection", "close")).keep_alive


@pytest.mark.parametrize(
    "fields, version, expected",
    [
        ([("Expect", "100-continue"), ("Content-Length", "5")], "1.1", True),
        ([("Expect", "100-Continue"), ("Transfer-Encoding", "chunked")], "1.1", True),
        ([("Expect", "100-continue")], "1.1", False),
        ([("Expect", "100-continue"), ("Content-Length", "0")], "1.1", False),
        ([("Expect", "100-continue"), ("Content-Length", "5")], "1.0", False),
    ],
)
def test_expect_continue(fields: Fields, version: str, expected: bool) -> None:
    """RFC 9110 10.1.1."""
    assert request(HOST, *fields, version=version).expect_continue is expected


@pytest.mark.parametrize("expectation", ["", "200-ok", "100-continue, x", "100-continue=1"])
def test_other_expectations(expectation: str) -> None:
    assert status_of(HOST, ("Expect", expectation), ("Content-Length", "5")) == 417


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.0"])
def test_an_upgrade_changes_nothing_here(upgrade: str) -> None:
    """LESSONS 3.11: h2c is not even looked at."""
    fields = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", upgrade), ("HTTP2-Settings", "AAMAAABk")]
    seen = request(HOST, *fields)
    assert seen.keep_alive
    assert not seen.has_body


def test_faults_of_the_target_come_out() -> None:
    assert status_of(HOST, target="/%00") == 400
    assert status_of(HOST, method="CONNECT", target="a.example:443") == 501
