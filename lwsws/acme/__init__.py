"""Certificates from an ACME server: what keeps those of the configuration there, and in date."""
