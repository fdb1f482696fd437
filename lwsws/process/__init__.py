"""Layer 7: the serving process: its start order, privileges, signals and end."""
