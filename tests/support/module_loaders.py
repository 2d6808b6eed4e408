"""Loaders as functions of a module: when they are called from Python, only such can be kept.

Cached loaders that are called go by the name by which their function can be found. So these stand
in for functions that a test makes.
"""

from __future__ import annotations

import inspect

_made = {}


def first(request, *args, **kwargs):
    return _made["first"](request, *args, **kwargs)


async def first_later(request, *args, **kwargs):
    return await _made["first"](request, *args, **kwargs)


def second(request, *args, **kwargs):
    return _made["second"](request, *args, **kwargs)


def of_module(function, name="first"):
    """A function of this module that does what the given one does, plain or async as it is."""
    _made[name] = function
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        type(function).__call__
    )
    return globals()[f"{name}_later" if is_async else name]
