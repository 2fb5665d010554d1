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

    # By this name, also among its variables, and by the attribute, Django's reports know the frame.
    @functools.wraps(function)
    def sensitive_variables_wrapper(*func_args: Any, **func_kwargs: Any) -> Any:
        call: list[Any] = [sensitive_variables_wrapper, func_args, func_kwargs]
        del func_args, func_kwargs
        return function(*call.pop(1), **call.pop())

    sensitive_variables_wrapper.sensitive_variables = "__ALL__"  # type: ignore[attr-defined]
    return cast("Callable[P, T]", sensitive_variables_wrapper)
