"""Engines are optional: what is missing is said in one sentence, when it is needed."""
from __future__ import annotations

import functools
import logging
from importlib import import_module
from types import ModuleType
from typing import Any, Callable, TypeVar

logger = logging.getLogger("kvcache")
F = TypeVar("F", bound=Callable[..., Any])


def engine_module(module: str, user: str, needs: str) -> ModuleType:
    """A module of an engine, or an ``ImportError`` that says which version has it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"kvcache: {user} needs {needs} ({module} could not be imported: {error})") from error


def never_raises(default: Callable[[], Any]) -> Callable[[F], F]:
    """For what an engine calls in its hot path: a mistake of ours is logged and becomes the answer that costs the engine
    only a recomputation."""
    def decorate(function: F) -> F:
        @functools.wraps(function)
        def guarded(*arguments: Any, **named: Any) -> Any:
            try:
                return function(*arguments, **named)
            except Exception:
                logger.exception("%s failed; the engine goes on without the cache", function.__qualname__)
                return default()
        return guarded  # type: ignore[return-value]
    return decorate
