"""Layer 4: what the bytes on a connection mean at the moment (http now; ws and raw to come)."""
