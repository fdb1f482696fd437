"""TLS contexts: from settings to the `SSLContext` that a vhost's connections are wrapped with.

Each vhost has a context of its own, chosen before OpenSSL sees a byte, because a change of contexts in the
middle of a handshake takes over the certificate but not the demand for one of the client (LESSONS T1), and
would let a session of one vhost be resumed at another (LESSONS T2).  A context has its own ticket keys and
its own session cache, so by being separate it keeps sessions apart.

    TLS 1.2 and 1.3; by default only ciphers with forward secrecy and authenticated encryption
    no renegotiation, no compression, one ticket; none where clients must show a certificate
    a FIN without close_notify is the end of the stream, as with a plain socket

A name in the ClientHello that is another one for OpenSSL than it was for us is refused: see NamedObject.
"""

from __future__ import annotations

import ssl
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple, Union

from lwsws.net.regular_file import FileState
from lwsws.net.tls_files import (
    ALPN,
    CA,
    CERTIFICATE,
    CIPHERS,
    CURVE,
    KEY,
    OPTIONS,
    PemFiles,
    TlsError,
)
from lwsws.net.tls_object import NamedObject
from lwsws.wire.certificate import Certificate

# For TLS 1.2: ephemeral keys and authenticated encryption; those of TLS 1.3 have both.
DEFAULT_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

# RFC 8446 B.4.
TLS13_CIPHERS = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
                 "TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256")

# OpenSSL knows these curves by older names.
CURVE_NAMES = {"P-256": "prime256v1", "secp256r1": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}

# Bits that Python 3.9 has no names for.  The second one is new in OpenSSL 3 and means something else before.
VERIFY_PARTIAL_CHAIN = 0x80000
IGNORE_UNEXPECTED_EOF = 0x80

# What no configuration can take away: both are ways to attack (CVE-2012-4929, CVE-2011-1473).
PROTECTION = int(ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION)

# Bits that name versions.  They work through minimum_version and maximum_version here, for Python warns of
# these bits; versions before 1.2 are off whatever they say.
_VERSION_BITS = int(ssl.OP_NO_SSLv2 | ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
                    | ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3)


class ServerSettings(NamedTuple):
    """How a vhost serves TLS: paths of PEM files and words as OpenSSL has them, "" for its own choice."""

    certificate: str
    key: str
    ca: str = ""
    ciphers: str = ""
    curve: str = ""
    options_set: int = 0
    options_clear: int = 0
    alpn: Tuple[str, ...] = ()
    client_certificates: bool = False

    @property
    def files(self) -> List[str]:
        """The files that its context is made of."""
        return [path for path in (self.certificate, self.key, self.ca) if path]


class ClientSettings(NamedTuple):
    """How a vhost speaks TLS to others; without `ca` it trusts whom this system trusts."""

    ca: str = ""
    certificate: str = ""
    key: str = ""
    ciphers: str = ""
    curve: str = ""
    options_set: int = 0
    options_clear: int = 0


Settings = Union[ServerSettings, ClientSettings]
Step = Callable[[ssl.SSLContext, Settings, PemFiles], None]


class ServerTls:
    """The TLS side of one vhost, as it is now.

    `context` is for the next connection, None as long as there is no certificate; `certificate` is None
    then too, or if it could not be taken apart; `files` are the states of the files that were loaded.
    """

    __slots__ = ("name", "settings", "context", "certificate", "files")

    def __init__(self, name: str, settings: ServerSettings, context: Optional[ssl.SSLContext] = None,
                 certificate: Optional[Certificate] = None, files: Tuple[FileState, ...] = ()) -> None:
        """`name` is the vhost's."""
        self.name = name
        self.settings = settings
        self.context = context
        self.certificate = certificate
        self.files = files


# Contexts.


def server_context(settings: ServerSettings, files: Optional[PemFiles] = None) -> ssl.SSLContext:
    """The context for connections that we accept, of what `files` reads; TlsError if it cannot be had."""
    context, faults = try_server_context(settings, files)
    if faults:
        raise faults[0]
    return context


def try_server_context(settings: ServerSettings,
                       files: Optional[PemFiles] = None) -> Tuple[ssl.SSLContext, List[TlsError]]:
    """The same with all that is wrong, in which case the context is of no use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # RFC 8446 4.6.1 leaves the number to us; OpenSSL would send two, and a browser uses one.
    context.num_tickets = 1
    faults = _configure(context, settings, files or PemFiles())
    if settings.client_certificates:
        _demand_certificates(context)
    if settings.alpn:
        faults += _set_alpn(context, settings.alpn)
    context.sslobject_class = NamedObject
    context.sni_callback = check_name
    return context, faults


def client_context(settings: ClientSettings, files: Optional[PemFiles] = None) -> ssl.SSLContext:
    """The context for connections that we make, which checks certificate and name; TlsError as above."""
    context, faults = try_client_context(settings, files)
    if faults:
        raise faults[0]
    return context


def try_client_context(settings: ClientSettings,
                       files: Optional[PemFiles] = None) -> Tuple[ssl.SSLContext, List[TlsError]]:
    """The same with all that is wrong, in which case the context is of no use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    faults = _configure(context, settings, files or PemFiles())
    context.set_alpn_protocols(["http/1.1"])
    if not settings.ca:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context, faults


def _configure(context: ssl.SSLContext, settings: Settings, files: PemFiles) -> List[TlsError]:
    """Do what contexts of both kinds need; returns all that is wrong."""

    def apply(*steps: Step) -> List[TlsError]:
        return _apply(steps, context, settings, files)

    faults = apply(_set_options, _set_ciphers, _set_curve, _load_ca)
    unusable = apply(_look_at_certificate)
    if not unusable or settings.key != settings.certificate:
        unusable += apply(_look_at_key)
    return faults + (unusable or apply(_load_pair))


def _apply(steps: Sequence[Step], context: ssl.SSLContext, settings: Settings,
           files: PemFiles) -> List[TlsError]:
    faults = []
    for step in steps:
        try:
            step(context, settings, files)
        except TlsError as error:
            faults.append(error)
    return faults


def _set_options(context: ssl.SSLContext, settings: Settings, _files: PemFiles) -> None:
    """Versions and option bits; as in the original, what is cleared is cleared though it is set as well."""
    wanted = settings.options_set & ~settings.options_clear
    # Python's own choice has OP_CIPHER_SERVER_PREFERENCE among others.
    options = int(context.options) | wanted & ~_VERSION_BITS
    if ssl.OPENSSL_VERSION_INFO >= (3,):
        options |= IGNORE_UNEXPECTED_EOF
    options &= ~(settings.options_clear & ~_VERSION_BITS)
    try:
        context.options = ssl.Options(options | PROTECTION)
    except (OverflowError, ValueError) as error:
        raise TlsError(OPTIONS, f"this system has no such option bits: {error}") from None
    no_tls12, no_tls13 = wanted & ssl.OP_NO_TLSv1_2, wanted & ssl.OP_NO_TLSv1_3
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if no_tls12 else ssl.TLSVersion.TLSv1_2
    if no_tls12 and no_tls13:
        raise TlsError(OPTIONS, "TLS 1.2 and 1.3 are both switched off, and there are no other versions here")
    if no_tls13:
        context.maximum_version = ssl.TLSVersion.TLSv1_2


def _set_ciphers(context: ssl.SSLContext, settings: Settings, _files: PemFiles) -> None:
    try:
        context.set_ciphers(settings.ciphers or DEFAULT_CIPHERS)
    except ssl.SSLError:
        reason = f"OpenSSL has no cipher for TLS 1.2 that {settings.ciphers!r} stands for"
        raise TlsError(CIPHERS, f"{reason}: `openssl ciphers -v` lists those it has") from None


def _set_curve(context: ssl.SSLContext, settings: Settings, _files: PemFiles) -> None:
    if not settings.curve:
        return
    try:
        context.set_ecdh_curve(CURVE_NAMES.get(settings.curve, settings.curve))
    except (ValueError, ssl.SSLError):
        reason = f"OpenSSL has no curve {settings.curve!r} for the key exchange"
        raise TlsError(CURVE, f"{reason}: write one name, such as prime256v1 or secp384r1") from None


def _look_at_certificate(_context: ssl.SSLContext, settings: Settings, files: PemFiles) -> None:
    if settings.certificate:
        files.content(CERTIFICATE, settings.certificate)


def _look_at_key(_context: ssl.SSLContext, settings: Settings, files: PemFiles) -> None:
    if settings.certificate:
        files.content(KEY, settings.key)


def _load_pair(context: ssl.SSLContext, settings: Settings, files: PemFiles) -> None:
    certificate, key = settings.certificate, settings.key
    if not certificate:
        return

    def refuse() -> str:    # OpenSSL would ask for the password on the terminal
        raise TlsError(KEY, f"the private key in {key!r} is encrypted, and there is nobody to ask for its "
                            "password: `openssl pkey -in OLD -out NEW` takes it off")

    try:
        with files.in_memory(certificate) as one, files.in_memory(key) as other:
            context.load_cert_chain(one, other, password=refuse)
    except ssl.SSLError as error:
        raise _pair_fault(certificate, key, error, files) from None
    except OSError as error:
        raise TlsError(CERTIFICATE, f"cannot read {certificate!r} and {key!r}: {error.strerror}",
                       error.errno or 0) from None


def _pair_fault(certificate: str, key: str, error: ssl.SSLError, files: PemFiles) -> TlsError:
    """What is wrong with a pair, of which OpenSSL says `error`."""
    # A key of another kind than the certificate's finds no certificate to go with.
    if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        return TlsError(KEY, f"{key!r} is not the key of the certificate in {certificate!r}")
    try:
        with files.in_memory(certificate) as name:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(name)
    except (ssl.SSLError, OSError):
        return TlsError(CERTIFICATE, f"the certificate in {certificate!r} is damaged ({describe(error)})")
    if not error.reason:
        return TlsError(KEY, f"the private key in {key!r} is damaged ({describe(error)})")
    return TlsError(CERTIFICATE, f"OpenSSL refuses the certificate in {certificate!r} or its key in {key!r}: "
                                 f"{describe(error)}")


def describe(error: ssl.SSLError) -> str:
    """What OpenSSL says, without the places in its source."""
    if error.reason:
        return error.reason.lower().replace("_", " ")
    text = str(error.args[-1]) if error.args else "unknown"
    return text.partition("] ")[2].partition(" (_ssl")[0] or text


def _load_ca(context: ssl.SSLContext, settings: Settings, files: PemFiles) -> None:
    # For connections that we accept, also where clients need no certificate: OpenSSL completes the chain
    # that it sends from these, as it does for the original.
    if not settings.ca:
        return
    files.content(CA, settings.ca)
    try:
        with files.in_memory(settings.ca) as name:
            context.load_verify_locations(name)
    except (ssl.SSLError, OSError) as error:
        reason = describe(error) if isinstance(error, ssl.SSLError) else error.strerror
        raise TlsError(CA, f"cannot load the authorities in {settings.ca!r}: {reason}") from None
    # Whoever is in that file is trusted, an authority below another one too.
    context.verify_flags = ssl.VerifyFlags(int(context.verify_flags) | VERIFY_PARTIAL_CHAIN)


def _demand_certificates(context: ssl.SSLContext) -> None:
    context.verify_mode = ssl.CERT_REQUIRED
    # A session that is resumed by a ticket brings the certificate of its first handshake, expired or not.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET


def _set_alpn(context: ssl.SSLContext, names: Sequence[str]) -> List[TlsError]:
    try:
        context.set_alpn_protocols(list(names))
    except (ssl.SSLError, UnicodeEncodeError):
        return [TlsError(ALPN, "the name of an application protocol has 1 to 255 ASCII characters")]
    return []


def check_name(tls: object, name: Optional[str], context: ssl.SSLContext) -> Optional[int]:
    """The sni_callback: None if OpenSSL read the server name that we chose the context by, else an alert."""
    found = "" if name is None else name.lower().removesuffix(".")
    if isinstance(tls, NamedObject) and tls.expected_name == found:
        return None
    return int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)


# Names of ciphers.


def _words(text: str) -> List[str]:
    """The parts of a list of ciphers, which may be separated in several ways."""
    for separator in ",; ":
        text = text.replace(separator, ":")
    return [word for word in text.split(":") if word]


def unknown_ciphers(text: str) -> List[str]:
    """The words of a list of ciphers that stand for none of TLS 1.2, which OpenSSL passes over in silence."""
    words = _words(text)
    if not words:
        return []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    unknown = []
    for word in words:
        if word[0] in "!-+@":   # to take some away or to sort; as harmless as a word that fits nothing
            continue
        try:
            context.set_ciphers(word)
        except ssl.SSLError:
            unknown.append(word)
    return unknown


def check_tls13_ciphers(text: str) -> str:
    """Which names in a list of TLS 1.3 ciphers are unknown, for people; "" if none is."""
    unknown = [word for word in _words(text) if word not in TLS13_CIPHERS]
    if not unknown:
        return ""
    return f"no TLS 1.3 cipher is called {', '.join(unknown)}: there are {', '.join(TLS13_CIPHERS)}"
