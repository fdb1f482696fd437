"""Lets the connections of a context know of the end, as the service does."""

from __future__ import annotations

from lwsws.core.context import Context


def wind_down(context: Context) -> None:
    """A newer process has taken over."""
    context.winding_down = True


def tell_all(context: Context) -> None:
    """The server stops."""
    wind_down(context)
    context.stopping = True
    for connection in list(context.connections):
        connection.role.shutdown()
