"""The benchmark: lwsws beside nginx, lighttpd, http.server and haproxy, on this machine, in one run."""
