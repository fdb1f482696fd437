"""The part of the table of keys (keys.py) for the entries of "mounts" and of "ws-protocols"."""

from __future__ import annotations

from lwsws.config.kinds import (
    ADDRESSES,
    ANYTHING,
    BOOL,
    CHOICE,
    HEADERS,
    HOUR,
    INDEX,
    MAX_SIZE,
    MOUNTPOINT,
    NEVER,
    NUMBER,
    ORIGIN,
    ORIGINS,
    PAIRS,
    PATH,
    SUFFIXES,
    TEXT,
    TEXTS,
    TYPES,
    YEAR,
    Key,
    Topics,
)

OURS = "Not in the original."

MOUNT: Topics = (
    ("Where and what", (
        Key("mountpoint", MOUNTPOINT, None,
            "The path from which on the mount answers; the longest one that fits a request wins.",
            '"/"', default_text="required", strict=True,
            differs="A slash at its end does no harm; in the original such a mount served its root only."),
        Key("origin", ORIGIN, None,
            "What answers: files (file://), a redirect (>http://, >https://), a program (cgi://), another "
            "server (http://, https://) or a plugin (callback://).",
            '"file:///var/www/warmcat.com"', default_text="required", strict=True,
            differs="^http:// and ^https://, as the specification writes redirects, work as well."),
        Key("default", INDEX, "index.html", 'The file that stands for a directory; "/" means the default.',
            '"index.html"'),
        Key("exact-match", BOOL, False, "Answer for the mountpoint alone, not for what lies below it.",
            '"1"'),
        Key("append-path", BOOL, False, "Redirects: add the rest of the path to the target.", '"1"',
            differs="The query is kept as well."),
        Key("headers", HEADERS, (),
            "Headers for the answers of this mount; they replace those of the vhost with the same name.",
            '[{"X-Frame-Options": "SAMEORIGIN"}]'),
        Key("keepalive-timeout", NUMBER, None, "Like the vhost's, after a request to this mount.",
            '"5"', aliases=("keeplive-timeout", "keepalive_timeout"), low=1, high=YEAR, unit="seconds",
            default_text="the vhost's"),
        Key("max-body", NUMBER, None, "Like the vhost's, for requests to this mount.",
            '"1048576"', high=MAX_SIZE, unit="bytes", default_text="the vhost's", differs=OURS),
        Key("basic-auth", PATH, "",
            "File of users and passwords, one user:password in a line; only these get in.  Use it with TLS "
            "only.  WebSockets of the vhost's protocols are not guarded by mounts, see the option of the "
            "same name in Protocols; those that a proxy mount passes on are.",
            '"/var/www/balogins-private"',
            differs="Passwords may be hashed, `lwsws passwd` writes such lines."),
        Key("auth-mask", NUMBER, 0, "A number handed to callback protocols.", '"1"'),
        Key("no-ws-upgrades", BOOL, False, "Refuse WebSockets below this mountpoint.", '"1"',
            differs="Had no effect in the original."),
    )),
    ("Files", (
        Key("extra-mimetypes", TYPES, (),
            'Media types for further suffixes; "*" stands for all others, and an empty type sends no '
            "Content-Type.", '{".zip": "application/zip"}',
            differs="Unknown suffixes get 415 as the specification says; newer originals send octet-stream."),
        Key("follow-symlinks", CHOICE, "inside",
            'Links: "inside" follows those that stay below the origin, "yes" all, "no" none.',
            '"inside"', choices=("inside", "yes", "no"),
            differs="Not in the original, which follows all."),
        Key("dotfiles", BOOL, False,
            "Serve files and directories whose name begins with a dot; .well-known always is.", '"1"',
            differs="Not in the original, which serves them."),
        Key("cache-max-age", NUMBER, 0, "How long clients may keep the content; with `cache-reuse` only.",
            '"60"', unit="seconds"),
        Key("cache-reuse", BOOL, False,
            "Allow clients to keep the content at all; otherwise it is sent with no-store.", '"1"'),
        Key("cache-revalidate", BOOL, False, "Clients must ask whether it changed once its age is reached.",
            '"1"'),
        Key("cache-intermediaries", BOOL, False, "Caches on the way may keep it too.", '"1"'),
        Key("cache-no", BOOL, False,
            "Clients may keep it but must ask each time whether it changed (no-cache).", '"1"'),
        Key("interpret", SUFFIXES, (),
            "Files of this suffix go through this protocol plugin; where the origin is a directory of "
            "programs (cgi://), they are run by this interpreter, given by its full path.",
            '{".shtml": "protocol-lws-messageboard"}',
            differs="The original knows no interpreters."),
    )),
    ("Programs and plugins", (
        Key("cgi-timeout", NUMBER, 5,
            "How long a program may neither send nor take a byte; then it is ended.  It may run for as long "
            "as it does, or as its client is what it waits for.",
            '"30"', low=1, high=YEAR, unit="seconds",
            differs="In the original, how long it may run."),
        Key("cgi-env", PAIRS, (), "Further environment variables for the program.",
            '[{"CGIT_CONFIG": "/etc/cgitrc/site"}]'),
        Key("cgi-chroot", PATH, "",
            "Directory that the program is confined to; the paths of `origin` and `cgi-chdir` are inside "
            "it.  Needs root, or user namespaces.", '"/srv/cgi"'),
        Key("cgi-chdir", PATH, "", "Directory that the program is started in.",
            '"/var/www/cgi-bin"', default_text="the directory of the program",
            differs="Without it, the original starts programs in /tmp."),
        Key("cgi-limit", NUMBER, 64,
            "Most programs of the mount that run at once; further requests get 503.", '"16"', low=1,
            differs=OURS),
        Key("pmo", PAIRS, (), "Per-mount options for the plugin of a callback:// origin.",
            '[{"myname": "myvalue"}]'),
    )),
    ("Other servers (http://, https://)", (
        Key("more-origins", ORIGINS, (),
            "Further origins with the same content: requests go to each in turn, and one that cannot be "
            "connected to is left out for a while.", '["http://10.0.0.3:8080/"]', differs=OURS),
        Key("proxy-keep-host", BOOL, False,
            "Send the client's Host to the origin.  Otherwise it is the host of the origin, with its port.",
            '"1"', differs="Not in the original, which sends the origin's name with its own port."),
        Key("proxy-forwarded-from", ADDRESSES, (),
            "Addresses and networks of proxies in front of this server, whose X-Forwarded-For, -Proto, -Host "
            "and Forwarded are passed on with ours; those of others are dropped.  `unix` stands for all "
            "peers of a unix socket.", '["10.0.0.1"]', differs=OURS),
        Key("proxy-rewrite-links", BOOL, True,
            "Let links in HTML that begin with / or the origin's URL lead to the mount, as redirects and "
            "paths of cookies always do.", '"no"',
            differs="The original has the code, but cannot switch it on."),
        Key("proxy-connect-timeout", NUMBER, 5, "How long it may take to connect to the origin.",
            '"5"', low=1, high=HOUR, unit="seconds", differs=OURS),
        Key("proxy-timeout", NUMBER, 15,
            "How long the origin may take to begin its answer once it has the request; then 504.",
            '"60"', low=1, high=YEAR, unit="seconds", differs="Fixed in the original."),
        Key("proxy-idle-timeout", NUMBER, 60,
            "How long the origin may pause, in the middle of its answer or in taking the request.",
            '"60"', low=1, high=YEAR, unit="seconds", differs=OURS),
    )),
    ("Of the original, without effect here", (
        Key("protocol", ANYTHING, None, "Parsed and ignored by the original as well.",
            '"http"', served=NEVER),
        Key("interceptor-path", ANYTHING, None, "Login page, where the original was built with JOSE.",
            '"/login"', served=NEVER),
    )),
)

PROTOCOL: Topics = (
    ("Options that the server looks at", (
        Key("status", TEXT, "", 'Customary, "ok"; without effect, but it keeps the object from being empty.',
            '"ok"'),
        Key("default", BOOL, False, "Use this protocol for WebSocket clients that name no subprotocol.",
            '"1"'),
        Key("raw", BOOL, False,
            "Use this protocol for raw connections where `listen-accept-protocol` is not given.", '"1"'),
        Key("basic-auth", PATH, "",
            "File of users and passwords, asked for before the upgrade, as on a mount.",
            '"/var/www/balogins-private"'),
        Key("allowed-origins", TEXTS, (), "Web origins whose pages may connect; \"self\" is the "
            "host and port of the request itself.  All if not given.", '["self", "https://warmcat.com"]',
            differs="Not in the original, which asks nobody."),
        Key("max-message", NUMBER, 1 << 20,
            "Longest message that a WebSocket client may send, once decompressed; a longer one ends the "
            "session with close code 1009.", '"65536"', low=1, high=MAX_SIZE, unit="bytes", differs=OURS,
            default_text="1048576, unless the protocol has its own"),
        Key("max-fragments", NUMBER, 131072, "Most fragments that one message may come in.", '"1024"',
            low=1, differs=OURS),
        Key("deflate", BOOL, True, "Compress messages for clients that can do it (permessage-deflate).",
            '"0"', differs="The original never does."),
    )),
)
