"""Layer 6: builds vhosts, routes and listeners from a configuration, and runs them."""
