"""Prints docs/configuration.md from the table of keys: `python3 -m lwsws.config.document`.

The introduction is written here, everything about single keys comes from keys.py.  A test compares
the file with what this prints, so neither can fall behind.
"""

from __future__ import annotations

import sys
from typing import Iterator, Tuple

from lwsws.config import kinds
from lwsws.config.keys import GLOBAL, VHOST
from lwsws.config.keys_mount import MOUNT, PROTOCOL
from lwsws.config.kinds import Key, Topics
from lwsws.config.report import default_words
from lwsws.config.sources import LEFTOVER_ENDINGS

INTRODUCTION = """\
<!-- Printed by `make docs` from lwsws/config/keys.py: change it there. -->
# Configuration

lwsws reads the file `conf` and then the files in `conf.d`, in the order of their names, from
`/etc/lwsws` or the directory given with `-c`. `lwsws -t` checks them without starting anything,
`lwsws -T` prints what is in force, and `lwsws --explain URL` tells what a request would meet. The files are
read at the start, and again on SIGHUP: see [operations.md](operations.md).

```
# /etc/lwsws/conf: settings of the server
{
  "global": {
    "server-string": "myserver v1",   # comments run to the end of the line
    "timeout-secs": "5"
  }
}

# /etc/lwsws/conf.d/example.com: one file for each site, by custom
{
  "vhosts": [{
    "name": "example.com",
    "port": "80",
    "mounts": [{
      "mountpoint": "/",
      "origin": "file:///var/www/example.com",
      "default": "index.html"
    }]
  }]
}
```

## The language

* The files are JSON in UTF-8, in which `#` begins a comment that runs to the end of the line. Inside a
  string it is an ordinary character. There are no trailing commas and no other comments.
* `_lws_ddir_` in a string stands for the directory of the installed data, as often as it occurs.
* Every file may have a `global` section and `vhosts`. Vhosts add up. Of a `global` key that is given again
  in a later file, the later value counts; lists (`plugin-dir`, `reject-service-keywords`) add up.
* Numbers may be written as `5` or `"5"`.
* Yes is `true`, a number other than 0, or `on`, `yes`, `true` in any case; everything else is no, and
  reported if it is not `false`, `0`, `off` or `no`.
* A key that is given twice in one object counts with its last value, and is reported if the values differ.
  Headers, options, flags and lists add up instead.
* Names and values (headers, environment, options) are written as a list of objects or as one object.
* Files in `conf.d` are passed over, with a notice, if their name begins with `.` or `#`, or ends in
  {endings}:
  editors and package tools leave such files.

## What is reported

All faults of all files are reported together, each with file, line, column and the path of the key:

```
/etc/lwsws/conf.d/example.com:8:17: vhosts[0].mounts[0].origin: unsupported protocol:// in the origin \
"/var/www": for files write "file:///var/www", for a program "cgi:///var/www"
```

A fault after which the server could not do what is meant (no port, no origin, a wrong JSON type) keeps it
from starting. Others (an unknown key, a number out of range) are warnings at start, and the key is left out
or has its default; for `lwsws -t` they are errors.

Under "differs" stands what is not as in the original lwsws.
"""

MOUNT_INTRODUCTION = """\
The mount with the longest mountpoint that fits the path of a request, on whole path segments, answers it.
What answers depends on the beginning of its `origin`:

| origin | what it does |
|---|---|
| `file:///var/www/site` | serves the files below that directory |
| `>https://host/path` | redirects there; `>http://`, `^http://` and `^https://` work alike |
| `cgi:///path/program` | runs the program, or the programs in a directory, see [cgi.md](cgi.md) |
| `http://host:port/path`, `https://...` | passes the request on to that server, see [proxy.md](proxy.md) |
| `http://+/path/of.sock:/path` | the same, through a unix socket; `http://+@name:/path` an abstract one |
| `callback://name` | hands it to a protocol of the vhost's `ws-protocols`, see [plugins.md](plugins.md) |
| `callback://wsgi` | calls a Python application, see [wsgi.md](wsgi.md) |
"""

PROTOCOL_INTRODUCTION = """\
`ws-protocols` is a list of objects: `[{ "name": { "option": "value", ... }, ... }]`. Most options are the
plugin's own; these are read by the server. An option may be given several times, or with a list of values.
"""

BUNDLED_OPTIONS = """
### Options of the bundled protocols

| protocol | option | |
|---|---|---|
| `dumb-increment-protocol` | | none |
| `lws-mirror-protocol` | | none; clients choose a world of their own by `?mirror=name` in the URL |
| `lws-status` | | none |
| `lws-server-status` | `update-ms` | milliseconds between two messages, from 100; default 5000 |
| | `hide-vhosts` | yes: say nothing of vhosts and their mounts |
| | `filespath` | a file whose first 255 bytes are told in each message; several times |
| `protocol-post-demo` | `upload-dir` | where uploads are kept; without it they are deleted after the answer |
| | `max-upload` | longest file in bytes; without it `max-body` of the mount limits all |
| | `max-fields` | most entries of a form; default 100 |
| `lws-echo` | | none |
| `raw-proxy` | `onward` | who takes over: `ipv4:address:port`, `ipv6:[address]:port`, `unix:/path` |
| `raw-test` | | none |
| `lws-acme-client` | `auth-path`, `cert-path`, `key-path`, `directory-url`, `common-name`, `email` \
| a certificate from an ACME server: see [acme.md](acme.md), also for those that are not needed |
| `wsgi` | `threads` | requests of the vhost that applications answer at once; default 8 |
| | | what it runs says the `pmo` of the mount: `app`, `path`, `chdir`, `timeout`, see [wsgi.md](wsgi.md) |
"""

SECTIONS: Tuple[Tuple[str, str, Topics], ...] = (
    ("Global", 'Keys of `"global": { ... }`.\n', GLOBAL),
    ("Vhosts", 'Keys of each object in `"vhosts": [ { ... } ]`.\n', VHOST),
    ("Mounts", MOUNT_INTRODUCTION, MOUNT),
    ("Protocols", PROTOCOL_INTRODUCTION, PROTOCOL),
)


def document() -> str:
    """The text of docs/configuration.md."""
    endings = ", ".join(f"`{ending}`" for ending in LEFTOVER_ENDINGS)
    parts = [INTRODUCTION.replace("{endings}", endings)]
    for title, introduction, topics in SECTIONS:
        parts.append(f"\n## {title}\n\n{introduction}")
        for topic, keys in topics:
            parts.append(f"\n### {topic}\n\n")
            parts.extend(_entries(keys))
    return "".join(parts) + BUNDLED_OPTIONS


def _entries(keys: Tuple[Key, ...]) -> Iterator[str]:
    if all(key.served == kinds.NEVER and key.kind == kinds.ANYTHING for key in keys):
        yield "Accepted, so that such configurations load:\n\n"
        for key in keys:
            yield f"* `{key.name}`: {key.doc}\n"
        return
    for key in keys:
        yield "".join(f"{line}\n" for line in _entry(key))


def _entry(key: Key) -> Iterator[str]:
    """The lines about one key."""
    yield f"* **`{key.name}`** ({_type(key)}; {_default(key)}{_time(key)}): {key.doc}"
    if key.aliases:
        yield f"  * also written {' or '.join(f'`{alias}`' for alias in key.aliases)}"
    if key.differs:
        yield f"  * differs: {key.differs}"
    yield f'  * example: `"{key.name}": {key.example}`'


def _type(key: Key) -> str:
    if key.kind == kinds.CHOICE:
        return " or ".join(f"`{choice}`" for choice in key.choices)
    if key.kind not in (kinds.NUMBER, kinds.COUNT):
        return key.kind
    unit = f" of {key.unit}" if key.unit else ""
    return f"{key.kind}{unit}, from {key.low}" + (f" to {key.high}" if key.high < kinds.MAX_INT else "")


def _default(key: Key) -> str:
    words = default_words(key)
    return words if words == "required" or words.startswith("required,") else f"default {words}"


def _time(key: Key) -> str:
    return "; *no effect*" if key.served == kinds.NEVER else ""


if __name__ == "__main__":
    sys.stdout.write(document())
