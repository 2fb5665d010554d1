"""What error reports may not show: the locals of public entries, and of all that they call.

Django's reports hide the locals below a frame of this form (Django, ``sensitive_variables``), and
error trackers those whose name they know, such as ``token``. Django's own decorator holds the
arguments of a call under names that no tracker hides; this one holds them under none.

From the frame of a coroutine or a generator that has failed, no way leads up to its caller. So
what such frames hold is not hidden but cleared.
"""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, cast

__all__ = ["clear_locals", "hide_locals"]

P = ParamSpec("P")
T = TypeVar("T")


def hide_locals(function: Callable[P, T]) -> Callable[P, T]:
    """Keep the locals of ``function``, and of all that it calls, out of error reports."""
    # By this name, also among its variables, and by the attribute, Django's reports know the frame.
    if iscoroutinefunction(function):

        @functools.wraps(function)
        async def sensitive_variables_wrapper(*func_args: Any, **func_kwargs: Any) -> Any:
            call: list[Any] = [sensitive_variables_wrapper, func_args, func_kwargs]
            del func_args, func_kwargs
            handled = sys.exception()
            try:
                return await function(*call.pop(1), **call.pop())
            except BaseException as error:
                _clear(error, handled)
                raise

    else:

        @functools.wraps(function)
        def sensitive_variables_wrapper(*func_args: Any, **func_kwargs: Any) -> Any:
            call: list[Any] = [sensitive_variables_wrapper, func_args, func_kwargs]
            del func_args, func_kwargs
            return function(*call.pop(1), **call.pop())

    sensitive_variables_wrapper.sensitive_variables = "__ALL__"  # type: ignore[attr-defined]
    return cast("Callable[P, T]", sensitive_variables_wrapper)


def clear_locals(function: Callable[P, T]) -> Callable[P, T]:
    """Clear the locals of ``function``, which runs generators, where it fails."""

    @functools.wraps(function)
    def clearing(*args: P.args, **kwargs: P.kwargs) -> T:
        handled = sys.exception()
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            _clear(error, handled)
            raise

    return clearing


def _clear(error: BaseException, handled: BaseException | None) -> None:
    """Clear the frames that ``error`` has left; what was ``handled`` before it is not ours."""
    found: BaseException | None = error
    while found is not None and found is not handled:
        traceback.clear_frames(found.__traceback__)
        found = found.__context__
