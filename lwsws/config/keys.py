"""The one table of every configuration key: what it is called, takes, means, and how it differs.

    GLOBAL    keys of "global": { ... }
    VHOST     keys of each entry of "vhosts": [ { ... } ]
    MOUNT     keys of each entry of "mounts": [ { ... } ]
    PROTOCOL  options of each entry of "ws-protocols" that the server itself looks at

Each is a list of topics, each with its keys.  The loader reads, checks and names keys by this
table alone, docs/configuration.md is printed from it (document.py), and the record of model.py has
a field for each key that has an effect.  The columns are those of `Key` in kinds.py, and values.py
has the function that reads a value of each kind.
"""

from __future__ import annotations

from typing import Dict

from lwsws.config.keys_mount import MOUNT, OURS, PROTOCOL
from lwsws.config.kinds import (
    ADDRESSES,
    ANYTHING,
    BOOL,
    COUNT,
    FLAGS,
    HEADERS,
    HOUR,
    KEYWORDS,
    LIST,
    MAX_ID,
    MAX_SIZE,
    NAME,
    NEVER,
    NUMBER,
    OWNER,
    PATH,
    SWITCH,
    TEXT,
    TEXTS,
    URI,
    VALUE,
    YEAR,
    Key,
    Topics,
)
from lwsws.config.model import DEFAULT_FALLBACK_WAIT, DEFAULT_MAX_BODY, MAX_PROCESSES

# The kinds of origin that this version serves.
SERVED_ORIGINS = ("file", "redirect", "callback", "cgi", "proxy")

# What is spoken here of the names of RFC 7301 6 for HTTP.
SPOKEN_ALPN = ("http/1.1", "http/1.0")

# Whom the limits count as one: an IPv6 network gives a client as many addresses as it likes.
ONE_CLIENT = "one client address (of IPv6: one /64) in each process"

GLOBAL: Topics = (
    ("What the server says and allows", (
        Key("server-string", VALUE, "", "The Server header of every answer; without it none is sent.",
            '"myserver v1"'),
        Key("reject-service-keywords", KEYWORDS, (),
            "A request whose User-Agent contains one of these words (case matters) gets this error and no "
            "more.", '[{"scumbot": "404 Not Found"}]',
            differs="User-Agents of any length are searched; the original ignored those over 383 bytes."),
        Key("max-head-bytes", NUMBER, 16384,
            "Longest request line and headers together; longer ones get 431.",
            '"16384"', low=1024, high=1048576, unit="bytes",
            differs="Not in the original, which hung up."),
        Key("max-connections", NUMBER, 0,
            "Most connections that are open at once in each process; 0 derives it from RLIMIT_NOFILE.",
            '"5000"', differs=OURS),
        Key("ip-limit-ah", NUMBER, 0,
            f"Most requests under way at once for {ONE_CLIENT}; with one more, its connection is closed at "
            "once.  0 is no limit.", '"20"'),
        Key("ip-limit-wsi", NUMBER, 0,
            f"Most connections open at once for {ONE_CLIENT}; further ones are closed at once.  0 is no "
            "limit.", '"50"'),
        Key("rlimit-nofile", NUMBER, 0,
            "Number of files and sockets that may be open in each process (RLIMIT_NOFILE); 0 raises it to "
            "the hard limit.", '"10000"'),
    )),
    ("Timeouts", (
        Key("timeout-secs", NUMBER, 5,
            "How long a client may take for the head of a request, and for each next part of its body; of "
            "that, 100 bytes a second must come on average, but for 20 s.",
            '"5"', low=1, high=YEAR, unit="seconds"),
        Key("send-timeout", NUMBER, 60, "A client that takes no byte of its answer for so long is cut off.",
            '"60"', low=1, high=YEAR, unit="seconds", differs=OURS),
        Key("shutdown-timeout", NUMBER, 10, "How long SIGTERM waits for answers that are being sent.",
            '"10"', high=YEAR, unit="seconds", differs=OURS),
        Key("deprecate-timeout", NUMBER, 0,
            "How long a process that was replaced by a reload may keep its connections, as its own "
            "configuration says; 0 is without end.",
            '"3600"', high=YEAR, unit="seconds", differs=OURS),
        Key("ws-pingpong-secs", NUMBER, 300,
            "WebSocket connections idle for so long are pinged, and closed when they do not answer; 0 never "
            "pings.", '"200"', high=YEAR, unit="seconds",
            differs="Works as the specification says; the original parses and ignores it."),
    )),
    ("Processes, threads and users", (
        Key("username", TEXT, "", "Serve as this user when started as root.", '"www-data"'),
        Key("groupname", TEXT, "", "Serve as this group when started as root.", '"www-data"'),
        Key("uid", NUMBER, None, "Serve as this user, given by number.",
            '"33"', high=MAX_ID, default_text="none", strict=True),
        Key("gid", NUMBER, None, "Serve as this group, given by number.",
            '"33"', high=MAX_ID, default_text="none", strict=True),
        Key("count-threads", NUMBER, 1,
            "Number of worker threads, which do what would block: looking up names, hashing passwords, "
            "starting programs.", '"2"', low=1, high=256,
            differs="One thread serves all connections, as many as there are; the original serves with "
                    "each."),
        Key("count-processes", COUNT, 1,
            'Number of serving processes that share the ports; "auto" is one for each CPU that it may use.  '
            "Limits, status and what protocols share count for each of them, see "
            "[operations.md](operations.md).",
            '"auto"', low=1, high=MAX_PROCESSES, differs=OURS),
        Key("sandbox", BOOL, False,
            "Let the kernel (Landlock) confine the serving processes to the configured files and ports, see "
            "[operations.md](operations.md).", '"yes"', differs=OURS),
        Key("sandbox-read", TEXTS, (),
            "Further files and directories that may be read in the sandbox, as programs (cgi://) need them.",
            '["/etc/php"]', differs=OURS),
        Key("sandbox-write", TEXTS, (),
            "Further directories in which anything may be read, written, made and removed in the sandbox.",
            '["/srv/git"]', differs=OURS),
        Key("plugin-dir", TEXTS, (),
            "Further directories with protocol plugins; may be given in several files.",
            '"/usr/local/share/lwsws/plugins"'),
        Key("init-ssl", BOOL, False, "Was needed before TLS could be used; TLS is ready without it here.",
            '"yes"', served=NEVER),
        Key("default-alpn", TEXT, "http/1.1",
            "What TLS vhosts without `alpn` offer as application protocols, the best first, with commas.",
            '"http/1.1"',
            differs='The original offers "h2,http/1.1"; there is no HTTP/2 here, and what is not spoken here '
                    "is left out."),
    )),
    ("Of the original, without effect here", (
        Key("count-async-threads", ANYTHING, None, "Threads for file access.", '"2"', served=NEVER),
        Key("cpd-bypass", ANYTHING, None, "Captive portal detection.", '"1"', served=NEVER),
        Key("quic-pad-crypto", ANYTHING, None, "QUIC setting.", '"1"', served=NEVER),
        Key("allow-early-data", ANYTHING, None, "QUIC setting.", '"1"', served=NEVER),
        Key("quic-only-latest", ANYTHING, None, "QUIC setting.", '"1"', served=NEVER),
        Key("quic-early-key-update", ANYTHING, None, "QUIC setting.", '"1"', served=NEVER),
    )),
)

VHOST: Topics = (
    ("Where it listens", (
        Key("name", NAME, "default",
            "The host name that clients use: matched with the Host header and the TLS server name, upper "
            "and lower case alike; it stands for its subdomains too.",
            '"warmcat.com"', default_text="the word default",
            differs="The original compared upper and lower case, and took a prefix of the name for the "
                    "name."),
        Key("port", NUMBER, 0,
            "The TCP port; vhosts with the same port share it and are told apart by name, the first one "
            "answers for unknown names.",
            '"443"', low=1, high=65535, strict=True,
            default_text="required, but not with unix-socket, nor listen-fd: 443 with TLS, else 80"),
        Key("interface", TEXT, "",
            "Network interface or address to listen on, all if not given; one that does not exist yet is "
            "waited for.  With `unix-socket`: the path of the socket.", '"eth0"'),
        Key("unix-socket", BOOL, False, "Listen on the unix socket whose path is the `interface`.", '"1"'),
        Key("unix-socket-perms", OWNER, "", "User and group that own the unix socket; its mode is 0600.",
            '"www-data:www-data"',
            differs="Mode 0600 as the specification says; the original used 0660, or 0777 less umask "
                    "without it."),
        Key("noipv6", BOOL, False, "Do not listen on IPv6.", '"on"'),
        Key("ipv6only", SWITCH, None, '"on" listens on IPv6 only, "off" on IPv4 only; both if not given.',
            '"on"', default_text="both",
            differs='"off" means IPv4 only as the specification says; the original kept both.'),
        Key("listen-fd", TEXT, "",
            "Listen on the socket that systemd passes under this name (FileDescriptorName=), whatever its "
            "address; then `port` is only what redirects to this vhost say.",
            '"web"', differs=OURS, strict=True),
        Key("fo-listen-queue", NUMBER, 0, "Length of the TCP Fast Open queue; 0 leaves Fast Open off.",
            '"16"'),
        Key("strict-host-check", BOOL, False,
            "Refuse requests for unknown names with 421 instead of letting the first vhost of the port "
            "answer.", '"1"',
            differs="Holds for every request; the original looked at WebSocket and h2c upgrades only."),
        Key("proxy-protocol-from", ADDRESSES, (),
            "Addresses and networks of proxies that announce the client's address with the PROXY protocol, "
            "version 1 or 2; their connections must begin with it.  `unix` stands for all peers of a unix "
            "socket.  Of vhosts that share an address the first one's count.",
            '["10.0.0.1", "192.168.0.0/16"]', differs=OURS),
    )),
    ("What it serves", (
        Key("mounts", LIST, (), "What stands behind the parts of the URL space, see Mounts.",
            '[{"mountpoint": "/", "origin": "file:///var/www"}]'),
        Key("headers", HEADERS, (), "Headers for every answer of the vhost, errors and redirects too.",
            '[{"X-Content-Type-Options": "nosniff"}]',
            differs="Sent in the order given; the original reversed it."),
        Key("sts", BOOL, False,
            "Send Strict-Transport-Security, which tells browsers to come back by https only.", '"1"'),
        Key("error-document-404", URI, "",
            "Page of this vhost that is shown, with status 404, for what is missing.", '"/404.html"',
            differs="Served in place; the original redirected to it."),
        Key("access-log", PATH, "", "File for the access log, in Apache's combined format.",
            '"/var/log/lwsws/warmcat.com-access.log"'),
        Key("keepalive-timeout", NUMBER, 60,
            "How long a connection is kept open for the next request.  If a proxy stands in front, its own "
            "timeout must be the shorter one.",
            '"60"', aliases=("keeplive-timeout", "keepalive_timeout"), low=1, high=YEAR, unit="seconds",
            differs="60 seconds as the specification says, in any of the three spellings; the original "
                    "kept to 5 and knew `keepalive_timeout` only."),
        Key("max-body", NUMBER, DEFAULT_MAX_BODY, "Longest body of a request; longer ones get 413.",
            '"1048576"', high=MAX_SIZE, unit="bytes",
            differs="Not in the original, where it is 100 MB."),
    )),
    ("TLS", (
        Key("host-ssl-cert", PATH, "",
            "Certificate with its chain (PEM); turns TLS on.  This file, the key and `host-ssl-ca` are "
            "looked at once a minute and on SIGUSR1, and when they have changed, loaded for new connections.",
            '"/etc/pki/tls/certs/warmcat.com.crt"'),
        Key("host-ssl-key", PATH, "", "Private key of the certificate (PEM), without password.",
            '"/etc/pki/tls/private/warmcat.com.key"', default_text="in the file of the certificate"),
        Key("host-ssl-ca", PATH, "",
            "Authorities (PEM) whose client certificates are good; the chain of our own certificate is "
            "completed from them too.",
            '"/etc/pki/tls/certs/warmcat.com.cer"',
            differs="TLS works without it, as in the original, though the specification asks for all three."),
        Key("client-cert-required", BOOL, False,
            "Refuse clients without a certificate signed by `host-ssl-ca`, during the handshake.", '"1"',
            differs="The original let any certificate pass, whoever signed it."),
        Key("ignore-missing-cert", BOOL, False,
            "Start although one of these files is missing; TLS begins when it is there, and with "
            "`lws-acme-client`, which gets it, at once with a placeholder.", '"1"',
            differs="The other vhosts are served then; in the original they were not."),
        Key("ciphers", TEXT, "", "Ciphers for TLS 1.2, as OpenSSL lists them.", '"ECDHE+AESGCM"',
            default_text="those with forward secrecy and AES-GCM or ChaCha20"),
        Key("tls13-ciphers", TEXT, "", "Ciphers for TLS 1.3.", '"TLS_AES_256_GCM_SHA384"',
            default_text="all",
            differs="The names are checked and have no effect: Python cannot choose among these ciphers."),
        Key("ecdh-curve", TEXT, "", "Elliptic curve of the key exchange, the only one then.",
            '"prime256v1"', default_text="those of OpenSSL, X25519 first",
            differs="The default of the original is prime256v1."),
        Key("alpn", TEXT, "", "Application protocols to offer, with commas; only http/1.1 and http/1.0 of "
            "them unless `apply-listen-accept` is given.",
            '"http/1.1"', default_text="those of `default-alpn`"),
        Key("allow-sni-mismatch", BOOL, False,
            "Answer requests for this vhost though the client named another one of this address when it "
            "began TLS, unless one of both requires client certificates.  Others get 421.", '"1"',
            differs="Not in the original, which always did."),
        Key("ssl-option-set", FLAGS, 0,
            "OpenSSL option bits to set, decimal; several are OR-ed, given as a list or by repeating the "
            "key.", '"268435456"', high=MAX_SIZE,
            differs="Versions before TLS 1.2, compression and renegotiation stay off whatever the bits."),
        Key("ssl-option-clear", FLAGS, 0,
            "OpenSSL option bits to clear, in the same way; a bit that is set as well is cleared.",
            '"268435456"', high=MAX_SIZE),
        Key("allow-non-tls", BOOL, False,
            "Do not hang up on clients without TLS on the TLS port; with one of the next two, or "
            "`fallback-listen-accept`.", '"1"'),
        Key("redirect-http", BOOL, False,
            "Redirect plain http on the TLS port to https; needs `allow-non-tls`.", '"1"'),
        Key("allow-http-on-https", BOOL, False,
            "Serve plain http on the TLS port; needs `allow-non-tls`.", '"1"',
            differs="Not together with `client-cert-required`, which it would undo."),
    )),
    ("TLS as a client, for proxy mounts", (
        Key("enable-client-ssl", BOOL, False, "Needed for mounts whose origin is https://.", '"1"'),
        Key("client-ssl-cert", PATH, "", "Certificate to show to the origin (PEM).",
            '"/etc/lwsws/client.crt"'),
        Key("client-ssl-key", PATH, "", "Private key of that certificate (PEM), without password.",
            '"/etc/lwsws/client.key"', default_text="in the file of the certificate"),
        Key("client-ssl-ca", PATH, "", "Authorities that the origin's certificate is checked with (PEM).",
            '"/etc/lwsws/origin-ca.crt"', default_text="those of the system"),
        Key("client-ssl-ciphers", TEXT, "", "Ciphers for TLS 1.2 to the origin.", '"ECDHE+AESGCM"',
            default_text="as for `ciphers`"),
        Key("client-tls13-ciphers", TEXT, "", "Ciphers for TLS 1.3 to the origin.",
            '"TLS_AES_256_GCM_SHA384"', default_text="all",
            differs="The names are checked and have no effect, as with `tls13-ciphers`."),
        Key("client-ecdh-curve", TEXT, "", "Elliptic curve of the key exchange with the origin.",
            '"prime256v1"', default_text="those of OpenSSL"),
        Key("ssl-client-option-set", FLAGS, 0, "OpenSSL option bits to set for connections to the origin.",
            '"268435456"', aliases=("client-ssl-option-set",), high=MAX_SIZE),
        Key("ssl-client-option-clear", FLAGS, 0,
            "OpenSSL option bits to clear for connections to the origin.",
            '"268435456"', aliases=("client-ssl-option-clear",), high=MAX_SIZE),
    )),
    ("WebSockets and raw connections", (
        Key("ws-protocols", LIST, (),
            "Protocol plugins that the vhost offers to WebSocket clients, raw connections and callback:// "
            "mounts, each with its options, see Protocols; none without it.",
            '[{"lws-mirror-protocol": {"status": "ok"}}]'),
        Key("disable-no-protocol-ws-upgrades", BOOL, False,
            "Refuse WebSocket clients that name no subprotocol.", '"1"'),
        Key("listen-accept-role", TEXT, "",
            "Role of connections that are not http, see the next keys: `raw-proxy` hands them on to the "
            "`onward` of the protocol, `raw-skt` gives them to the protocol itself.",
            '"raw-proxy"', default_text="raw-skt"),
        Key("listen-accept-protocol", TEXT, "", "Protocol plugin for that role.", '"raw-proxy"',
            default_text='the one marked `"raw": "1"`'),
        Key("apply-listen-accept", BOOL, False,
            "All connections of the vhost have that role; there is no http.  On a TLS port those that name "
            "the vhost, after the handshake; on a plain port the first vhost decides for all.",
            '"1"', aliases=("onlyraw",)),
        Key("fallback-listen-accept", BOOL, False,
            "Connections that turn out not to be http (or TLS) get that role, with all that they have sent. "
            "On a TLS port it needs `allow-non-tls`.  Of vhosts that share an address the first one that "
            "has it counts.", '"1"'),
        Key("fallback-wait", NUMBER, DEFAULT_FALLBACK_WAIT,
            "How long a client may say nothing until it gets that role, for protocols in which the server "
            "speaks first; with `fallback-listen-accept`, and 0 is never.",
            '"2"', high=HOUR, unit="seconds", differs=OURS),
    )),
    ("Of the original, without effect here", (
        Key("h2-half-closed-long-poll", ANYTHING, None, "HTTP/2 setting.", '"1"', served=NEVER),
        Key("quic-mtu", ANYTHING, None, "QUIC setting.", '"1200"', served=NEVER),
        Key("quic-preferred-addresses", ANYTHING, None, "QUIC setting.", '"1"', served=NEVER),
        Key("dht", ANYTHING, None, "Distributed hash table.", "[]", served=NEVER),
    )),
)

# The levels by the word used for them in messages.
LEVELS: Dict[str, Topics] = {"global": GLOBAL, "vhost": VHOST, "mount": MOUNT, "ws-protocols": PROTOCOL}


def _by_name(topics: Topics) -> Dict[str, Key]:
    return {name: key for _, keys in topics for key in keys for name in (key.name, *key.aliases)}


# level -> spelling -> key
KEYS: Dict[str, Dict[str, Key]] = {level: _by_name(topics) for level, topics in LEVELS.items()}
