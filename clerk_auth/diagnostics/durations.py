"""A span of time in words."""

from __future__ import annotations


def format_duration(seconds: float) -> str:
    """Write a span of at least 0 seconds as people say it: ``12 s``, ``3 h 5 min``, ``40 days``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} days"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
