"""The benchmark: lwsws beside nginx, lighttpd and http.server, on this machine, in one run."""
