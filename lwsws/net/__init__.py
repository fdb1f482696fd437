"""Layer 1: the reactor, timers, workers, transports and listeners.  Only here are sockets used."""
