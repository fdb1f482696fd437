"""lwsws: the libwebsockets web server, re-made in Python on the standard library alone."""

__version__ = "0.1.0"
