"""Signals: facts for whoever subscribed; nothing is sent when nobody did.

They are sent with ``send_robust``: a receiver that fails cannot change a verdict.
"""

from __future__ import annotations

from django.dispatch import Signal

token_verified = Signal()
"""A token was verified. Sender: ``Verifier``; ``claims``: the ``Claims``."""

token_rejected = Signal()
"""A token was refused, or could not be checked. Sender: ``Verifier``; ``error``."""

keys_refreshed = Signal()
"""A key set was fetched from Clerk. Sender: the key source; ``key_set``, ``generation``."""

keys_refresh_failed = Signal()
"""A fetch failed. Sender: the key source; ``reason``: a label of ``jwks_fetch_errors``."""


def send(signal: Signal, sender: type, **facts: object) -> None:
    """Send ``signal`` if somebody listens."""
    # Not has_listeners, which takes a lock at each call.
    if signal.receivers:
        signal.send_robust(sender, **facts)
