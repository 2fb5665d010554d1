"""The sinks that ``METRICS`` names, each a class without arguments.

Its instances are told of every count by the methods of :class:`Sink`. Or they declare
``reads_totals = True``, read ``metrics.totals()`` when they need them, and add nothing to an event.
Sinks are made when the app is ready: where they write, every series is at 0 before the first event.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, Iterable, Mapping
from inspect import iscoroutinefunction
from typing import Any, Protocol

from django.core.signals import setting_changed
from django.dispatch import receiver

from clerk_auth.conf import derived, get_config
from clerk_auth.conf.imports import import_named
from clerk_auth.logs import is_defect, log

__all__ = [
    "Sink", "connect", "connect_configured", "connect_early", "increment", "make_anew", "set_gauge",
    "stop_telling",
]  # fmt: skip


class Sink(Protocol):
    """Where numbers go; an error in a sink is logged once and never reaches a request.

    Every sink may have ``close()``, which is called when it is replaced and when the process ends.
    A forked child makes sinks of its own, and does not close its parent's.
    """

    def increment(self, name: str, by: int, labels: Mapping[str, str]) -> None:
        """Add ``by`` to the counter ``name``; ``labels`` as of ``metrics.find_series``."""

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Set the gauge ``name``, Unix seconds; it has labels where there are several instances."""


_factories: tuple[Callable[[], Any], ...] = ()
made: tuple[Any, ...] = ()
# Those that are told. `counts` looks here first, to save the call where there are none.
connected: tuple[Sink, ...] = ()
_failed: set[int] = set()


def increment(name: str, by: int, labels: Mapping[str, str]) -> None:
    """Tell the sinks, as :meth:`Sink.increment`."""
    for sink in connected:
        try:
            sink.increment(name, by, labels)
        except BaseException as error:
            _report(sink, error)


def set_gauge(name: str, value: float, labels: Mapping[str, str]) -> None:
    """Tell the sinks, as :meth:`Sink.set`."""
    for sink in connected:
        try:
            sink.set(name, value, labels)
        except BaseException as error:
            _report(sink, error)


def stop_telling(sink: Sink) -> None:
    """Tell a sink of nothing more; it will still be closed."""
    global connected
    connected = tuple(other for other in connected if other is not sink)


def connect(paths: Iterable[str]) -> None:
    """Replace the sinks by those that ``paths`` name; ``ImportError`` changes nothing.

    One that cannot be made is logged and left out.
    """
    global _factories
    factories = tuple(import_named("METRICS", path) for path in paths)
    _close()
    _factories = factories
    make_anew()


@derived
def connect_configured() -> None:
    """Connect the sinks that the settings name, once until the settings change."""
    connect(get_config().metrics)


def connect_early() -> None:
    """Connect them before the first token, which will raise what is wrong with the settings."""
    try:
        connect_configured()
    except Exception:
        connect(())


def make_anew() -> None:
    """Make the sinks again without closing the old ones.

    In a forked child, threads, sockets and buffers of the old ones belong to the parent.
    """
    global connected, made
    _failed.clear()
    sinks = []
    for factory in _factories:
        try:
            sinks.append(_make(factory))
        except BaseException as error:
            _report(factory, error)
    made = tuple(sinks)
    # Declared, not only there: a mock has every attribute.
    connected = tuple(s for s in made if getattr(s, "reads_totals", False) is not True)


@receiver(setting_changed, dispatch_uid="clerk_auth.metrics.sinks")
def _connect_again(*, setting: str, **_: object) -> None:
    # conf was imported before, so its receiver has already forgotten the old setting.
    if setting == "CLERK_AUTH":
        connect_early()


def _close() -> None:
    global connected, made
    closed, made, connected = made, (), ()
    for sink in closed:
        try:
            getattr(sink, "close", lambda: None)()
        except BaseException as error:
            _report(sink, error)


def _make(factory: Callable[[], Any]) -> Any:
    sink = factory()
    # One that lacks a method fails, and is reported, when it is told of something.
    if any(iscoroutinefunction(getattr(sink, name, None)) for name in ("increment", "set")):
        raise TypeError("coroutine functions of a sink are never awaited")
    return sink


def _report(failed: object, error: BaseException) -> None:
    if not is_defect(error):
        raise error
    if id(failed) not in _failed:
        _failed.add(id(failed))
        name = getattr(failed, "__qualname__", type(failed).__qualname__)
        log(logging.ERROR, "metrics_sink_failed", sink=name, error=type(error).__name__)


atexit.register(_close)
