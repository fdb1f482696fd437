"""Layer 3: what a connection, a role, an exchange, a handler and a vhost are."""
