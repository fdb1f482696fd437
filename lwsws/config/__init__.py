"""Layer 2: configuration text to immutable records.  Knows no sockets and opens nothing but its files."""
