"""The short way of the http role: requests that are answered from memory by their very bytes.

A read that brings one whole remembered request costs one lookup and one write.  A read that brings
several, pipelined, is cut at the ends of the heads, and as many as are remembered are answered with
one write.  Nothing is parsed here: bytes that are remembered were parsed when they came first, and
requests with a body never are.
"""

from __future__ import annotations

from typing import List, Optional, Tuple

from lwsws.core.answers import Answer, Answers
from lwsws.core.connection import Connection

# Answers to pipelined requests are joined up to this size before they are written; the rest waits.
JOIN_LIMIT = 256 * 1024

HEAD_END = b"\r\n\r\n"


def send_remembered(conn: Connection, answers: Answers, data: bytes) -> Tuple[bytes, Optional[Answer]]:
    """Answer what is remembered of `data`: (bytes that are left, last answer sent if any).

    Nothing is answered while earlier answers wait in the output: a client that does not read must not
    fill it (LESSONS 3.40).
    """
    if conn.transport.size:
        return data, None
    answer = answers.get(data)
    if answer is None:
        end = data.find(HEAD_END) + len(HEAD_END)
        if end < len(HEAD_END) or end == len(data) or answers.get(data[:end]) is None:
            return data, None
        return _send_pipelined(conn, answers, data, end)
    conn.transport.write(answer.payload)
    answer.counts.requests += 1
    if answer.access_log is not None:
        answer.access_log.write(conn.peer, "", answer.log_tail)
    return b"", answer


def _send_pipelined(conn: Connection, answers: Answers, data: bytes,
                    end: int) -> Tuple[bytes, Optional[Answer]]:
    """The same for several requests; the first of them ends before `end`."""
    payloads: List[bytes] = []
    start = size = 0
    last: Optional[Answer] = None
    while end >= start + len(HEAD_END) and size < JOIN_LIMIT:
        answer = answers.get(data[start:end])
        if answer is None:
            break
        answer.counts.requests += 1
        if answer.access_log is not None:
            answer.access_log.write(conn.peer, "", answer.log_tail)
        last = answer
        payloads.append(answer.payload)
        size += len(answer.payload)
        start = end
        if not answer.keep_alive:
            break   # RFC 9112 9.6: nothing after a request that asked to close is answered
        end = data.find(HEAD_END, start) + len(HEAD_END)
    conn.transport.write(b"".join(payloads))
    return data[start:], last
