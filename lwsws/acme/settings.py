"""What the options of `lws-acme-client` say: the keys of the original, and ours (docs/acme.md)."""

from __future__ import annotations

import hashlib
import os
import re
from typing import List, NamedTuple, Optional, Tuple

from lwsws.core.options import OptionError, Options
from lwsws.wire.acme import CHALLENGES, DNS_01, HTTP_01
from lwsws.wire.base64url import from_b64url

# The subject of a certificate is the CA's affair today: these are taken, and have no effect.
WITHOUT_EFFECT = ("country", "state", "locality", "organization")
KNOWN = ("auth-path", "cert-path", "key-path", "directory-url", "common-name", "email", "challenge",
         "alt-names", "ca-file", "renew-before", "eab-kid", "eab-hmac", "dns-hook", *WITHOUT_EFFECT)

# What is kept beside the certificate, or its key: see store.py and pending.py.
UPD, OLD, NEW, STATE = BESIDE = (".upd", ".old", ".new", ".acme")

# RFC 1035 2.3.4; a label as host names have it (RFC 1123 2.1).
MAX_NAME = 253
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*{_LABEL}")
# As many as the largest public CA puts into one certificate.
MAX_NAMES = 100
# RFC 8555 7.3: one address, and nothing that a mailto: URL takes for more.
_EMAIL = re.compile(r"[A-Za-z0-9.!#$'*+=^_`{|}~-]+@[A-Za-z0-9.-]+")
_SPAN = re.compile(r"([0-9]{1,5})([dh]?)")
HOUR = 3600.0
DAY = 24 * HOUR
# Of an external account; HS256 has no use for more.
MAX_HMAC = 512


class AcmeSettings(NamedTuple):
    """One certificate to have; `renew_before` in seconds, 0 for the usual time, `binding` as in Wanted."""

    auth_path: str
    cert_path: str
    key_path: str
    directory_url: str
    names: Tuple[str, ...]
    email: str
    challenge: str = HTTP_01
    ca_file: str = ""
    dns_hook: str = ""
    renew_before: float = 0.0
    binding: Optional[Tuple[str, bytes]] = None

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return self.names[0] if self.names else self.cert_path

    @property
    def mark(self) -> str:
        """Changes when something else is asked for, or asked of somebody else: what failed may do then."""
        parts = (self.directory_url, *self.names, self.email, self.challenge, self.dns_hook, self.ca_file,
                 "" if self.binding is None else self.binding[0])
        return hashlib.sha256("\n".join(parts).encode("utf-8")).hexdigest()[:16]


def read_files(options: Options) -> AcmeSettings:
    """Which files `options` name, and nothing else of them, for who only puts in place what waits there;
    OptionError."""
    auth, cert, key = (_path(options, name) for name in ("auth-path", "cert-path", "key-path"))
    if len({auth, *files_of(cert, key)}) < 1 + len(files_of(cert, key)):
        raise OptionError("auth-path", "account key, certificate and its key are three different files, and "
                                       f"others are kept beside these ({', '.join(BESIDE)})")
    return AcmeSettings(auth, cert, key, "", (), "")


def read_settings(options: Options) -> AcmeSettings:
    """The settings in `options`; OptionError says what they lack."""
    auth, cert, key = read_files(options)[:3]
    url = _required(options, "directory-url")
    if not url.lower().startswith("https://"):
        raise OptionError("directory-url", "must begin with https:// (RFC 8555 6.1)")
    challenge = options.get("challenge", HTTP_01)
    if challenge not in CHALLENGES:
        raise OptionError("challenge", f'"{challenge[:40]}" is none of {", ".join(CHALLENGES)}')
    names = _names(options, challenge)
    email = _required(options, "email")
    if _EMAIL.fullmatch(email) is None:
        raise OptionError("email", f'"{email[:60]}" is no address for e-mail')
    hook = options.get("dns-hook")
    if (challenge == DNS_01) != bool(hook):
        raise OptionError("dns-hook", f'has no use without "challenge": "{DNS_01}"' if hook else
                          f"is needed for {DNS_01}")
    return AcmeSettings(auth, cert, key, url, names, email, challenge, _optional_path(options, "ca-file"),
                        _optional_path(options, "dns-hook"), _span(options), _binding(options))


def files_of(cert_path: str, key_path: str) -> List[str]:
    """The files that belong to one certificate alone."""
    return [cert_path, key_path, cert_path + STATE,
            *(path + end for path in (cert_path, key_path) for end in (UPD, OLD, NEW))]


def _required(options: Options, name: str) -> str:
    value = options.get(name).strip()
    if not value:
        raise OptionError(name, "is needed")
    return value


def _path(options: Options, name: str) -> str:
    path = _required(options, name)
    if not path.startswith("/") or path.endswith("/"):
        raise OptionError(name, f'"{path[:60]}" is not the whole path of a file, from "/" on')
    return os.path.normpath(path)


def _optional_path(options: Options, name: str) -> str:
    return _path(options, name) if options.get(name) else ""


def _names(options: Options, challenge: str) -> Tuple[str, ...]:
    """The names of the certificate, the common name first."""
    found = [("common-name", _required(options, "common-name"))]
    for text in options.all("alt-names"):
        found += [("alt-names", name) for name in re.split(r"[,\s]+", text) if name]
    names = []
    for option, name in found:
        name = name.lower().removesuffix(".")
        # What ends in a number would be an IP address (RFC 1123 2.1).
        if _NAME.fullmatch(name) is None or len(name) > MAX_NAME or name.rpartition(".")[2].isdigit():
            raise OptionError(option, f'"{name[:60]}" is no DNS name: letters, digits, dashes and dots '
                                      "(other letters as xn--...)")
        if name.startswith("*.") and challenge != DNS_01:
            raise OptionError(option, f'a name with a wildcard needs "challenge": "{DNS_01}"')
        names.append(name)
    if len(set(names)) > MAX_NAMES:
        raise OptionError("alt-names", f"a certificate has at most {MAX_NAMES} names")
    return tuple(dict.fromkeys(names))


def _span(options: Options) -> float:
    """The seconds that `renew-before` stands for."""
    text = options.get("renew-before").strip()
    if not text:
        return 0.0
    match = _SPAN.fullmatch(text)
    if match is None or not int(match[1]):
        raise OptionError("renew-before", f'"{text[:40]}" is no time: write "30d" for 30 days, or "36h"')
    return int(match[1]) * (HOUR if match[2] == "h" else DAY)


def _binding(options: Options) -> Optional[Tuple[str, bytes]]:
    kid, text = options.get("eab-kid").strip(), options.get("eab-hmac").strip()
    if bool(kid) != bool(text):
        raise OptionError("eab-hmac" if kid else "eab-kid", "is needed, too: a CA gives both together")
    if not kid:
        return None
    try:
        # Some CAs write it in plain base64.
        key = from_b64url(text.replace("+", "-").replace("/", "_"))
    except ValueError:
        key = b""
    if not 1 <= len(key) <= MAX_HMAC:
        raise OptionError("eab-hmac", "is not base64url")
    return kid, key
