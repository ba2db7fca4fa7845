"""Engines are optional: what is missing is said in one sentence, when it is needed. And whatever goes wrong here, an engine
that calls gets an answer."""
from __future__ import annotations

import functools
import logging
import threading
import time
from importlib import import_module
from types import ModuleType
from typing import Any, Callable, Dict, List, TypeVar

from .forks import renews_after_fork

logger = logging.getLogger("kvcache")
F = TypeVar("F", bound=Callable[..., Any])

#: How often the same complaint is repeated, with a count of what was left out; and how many kinds are told apart.
REPEAT_SECONDS = 60.0
MAX_KINDS = 256


def engine_module(module: str, user: str, needs: str) -> ModuleType:
    """A module of an engine, or an ``ImportError`` that says which version has it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"kvcache: {user} needs {needs} ({module} could not be imported: {error})") from error


class Complaints:
    """Log lines about what an engine does again and again: each kind once, then once a minute with a count."""

    def __init__(self, seconds: float = REPEAT_SECONDS):
        self._seconds = seconds
        self._told: Dict[Any, List[float]] = {}  # kind: when it was told last, and how many were not told since
        self.after_fork()
        renews_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    def warn(self, kind: Any, message: str, *arguments: Any, trace: bool = False) -> None:
        """Logs a warning, unless one of its kind was logged just now; ``trace`` adds the exception that is handled."""
        now = time.monotonic()
        with self._lock:
            if kind not in self._told and len(self._told) >= MAX_KINDS:
                kind = None  # the rest are one kind
            told = self._told.get(kind)
            if told is not None and now - told[0] < self._seconds:
                told[1] += 1
                return
            left_out = int(told[1]) if told else 0
            self._told[kind] = [now, 0]
        if left_out:
            message += " (and %d times since it was told last)"
            arguments += (left_out,)
        # The way to the mistake is worth its lines once.
        logger.warning(message, *arguments, exc_info=trace and told is None)


#: Of all engines of this process.
complaints = Complaints()


def never_raises(default: Callable[[], Any]) -> Callable[[F], F]:
    """For what an engine calls in its hot path: a mistake of ours is logged, once for each kind and minute, and becomes the
    answer that costs the engine only a recomputation."""
    def decorate(function: F) -> F:
        @functools.wraps(function)
        def guarded(*arguments: Any, **named: Any) -> Any:
            try:
                return function(*arguments, **named)
            except Exception as error:
                complaints.warn((function.__qualname__, type(error)), "%s failed, the engine goes on without the cache: %s: %s",
                                function.__qualname__, type(error).__name__, error, trace=True)
                return default()
        return guarded  # type: ignore[return-value]
    return decorate
