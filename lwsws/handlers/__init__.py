"""Layer 5: what answers an exchange, one module for each kind of mount origin."""
