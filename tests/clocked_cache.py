"""A Django cache that lives by a test's clock, counts its calls and can fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache


class ClockedCache(BaseCache):
    """``fail`` is called with the method's name before each call, and may raise."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__({})
        self._now = now
        self.values: dict[str, tuple[Any, float]] = {}
        self.calls: Counter[str] = Counter()
        self.fail: Callable[[str], None] = lambda method: None

    def _enter(self, method: str, key: str) -> None:
        self.calls[method] += 1
        self.fail(method)
        if key in self.values and self.values[key][1] <= self._now():
            del self.values[key]

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        self._enter("get", key)
        return self.values.get(key, (default, 0))[0]

    def set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        self._enter("set", key)
        self.values[key] = value, self._now() + timeout

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        self._enter("add", key)
        if key in self.values:
            return False
        self.values[key] = value, self._now() + timeout
        return True

    def delete(self, key: str, version: int | None = None) -> bool:
        self._enter("delete", key)
        return self.values.pop(key, None) is not None

    def flush(self) -> None:
        """Lose everything."""
        self.values.clear()

    def find(self, name: str) -> str:
        """Return the key that ends in ``name``."""
        return next(key for key in self.values if key.endswith(f":{name}"))
