"""What error reports may not show: the locals of public entries, and of all that they call.

Django's reports hide the locals below a frame of this form (Django, ``sensitive_variables``), and
error trackers those whose name they know, such as ``token``. Django's own decorator holds the
arguments of a call under names that no tracker hides; this one holds them under none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

__all__ = ["hide_locals"]

P = ParamSpec("P")
T = TypeVar("T")


def hide_locals(function: Callable[P, T]) -> Callable[P, T]:
    """Hide the locals of ``function``, which is not a coroutine function, from error reports."""

    # By this name, and by the attribute of what it refers to, Django's reports know the frame.
    @functools.wraps(function)
    def sensitive_variables_wrapper(*func_args: Any, **func_kwargs: Any) -> Any:
        sensitive_variables_wrapper.sensitive_variables = "__ALL__"  # type: ignore[attr-defined]
        call: list[Any] = [func_args, func_kwargs]
        del func_args, func_kwargs
        return function(*call.pop(0), **call.pop())

    return cast("Callable[P, T]", sensitive_variables_wrapper)
