"""Layer 0: byte formats.  Bytes go in, typed events come out; no I/O, no clock, no logging."""
