"""Load from wrk: one thread on the core of the load, with a Lua script of our own where needed."""

from __future__ import annotations

import re
import subprocess
from typing import NamedTuple, Sequence

from bench.processes import on_core
from bench.servers import Running
from bench.subjects import HOST, TLS, find

GRACE_SECONDS = 30  # on top of the time a run should take
PATHS = 1000  # different small files
PIPELINED = 16  # requests sent at once

# Pages asked for in no order by browsers and users that differ, as a busy site sees it: hardly any two
# requests have the same bytes.
VARIED = """
local agents = {
  "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36",
  "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
  "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 Version/17.5 Safari/605.1.15",
}
local languages = { "en-GB,en;q=0.5", "de,en-US;q=0.7,en;q=0.3", "fr-FR,fr;q=0.9", "ja,en;q=0.8" }
local accepts = { "text/html,application/xml;q=0.9,*/*;q=0.8", "image/avif,image/webp,*/*" }

init = function()
  math.randomseed(4)
end

request = function()
  local page = math.random(0, LAST)
  local user = math.random(1, 500)
  return "GET /many/" .. page .. ".html HTTP/1.1\\r\\nHost: localhost"
    .. "\\r\\nUser-Agent: " .. agents[user % #agents + 1]
    .. "\\r\\nAccept: " .. accepts[page % #accepts + 1]
    .. "\\r\\nAccept-Language: " .. languages[user % #languages + 1]
    .. "\\r\\nAccept-Encoding: gzip, deflate, br"
    .. "\\r\\nReferer: http://localhost/many/" .. (page + user) % LAST .. ".html"
    .. "\\r\\nCookie: session=" .. user * 7919 .. "; theme=dark\\r\\n\\r\\n"
end
""".replace("LAST", str(PATHS - 1))

PIPELINE = f"""
local block
init = function()
  local one = wrk.format("GET", nil)
  block = string.rep(one, {PIPELINED})
end
request = function() return block end
"""


class Load(NamedTuple):
    """What one run of wrk did: `seconds` is the wall clock, `cpu` the server's own time."""

    requests: int
    seconds: float
    cpu: float
    errors: int


def run(
    server: Running, path: str, seconds: float, connections: int, fields: Sequence[str] = (), script: str = ""
) -> Load:
    """Ask for `path` over and over; `fields` are request header lines, `script` is Lua text."""
    command = [find("wrk") or "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    for field in fields:
        command += ["-H", field]
    if script:
        file = server.scratch / "script.lua"
        file.write_text(script)
        command += ["-s", str(file)]
    scheme = "https" if server.subject.kind == TLS else "http"
    before = server.cpu_seconds()
    with on_core(server.cores.load):
        done = subprocess.run(
            [*command, f"{scheme}://{HOST}:{server.port}{path}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds + GRACE_SECONDS,
            check=False,
        )
    return parse(done.stdout, server.cpu_seconds() - before)


TIME_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def parse(report: str, cpu: float) -> Load:
    """Read what wrk printed; RuntimeError if it is no report."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m),", report)
    if total is None:
        raise RuntimeError(f"wrk failed: {report.strip()}")
    errors = 0
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    if bad:
        errors += int(bad[1])
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
    if sockets:
        errors += sum(int(count) for count in sockets.groups())
    return Load(int(total[1]), float(total[2]) * TIME_UNITS[total[3]], cpu, errors)
