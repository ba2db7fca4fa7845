"""An ``asyncio`` cache as tests of the others call it."""
import asyncio
import inspect
import threading
from typing import Any

from kvcache import AsyncFound


class Blocking:
    """The calls of an object whose calls are coroutines; each waits for its end, in an event loop of its own thread."""

    def __init__(self, inner: Any, loop: Any = None):
        self._inner, self._owns = inner, loop is None
        self._loop = loop or asyncio.new_event_loop()
        if self._owns:
            self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
            self._thread.start()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        return (lambda *arguments, **named: self._wait(value(*arguments, **named))) if inspect.iscoroutinefunction(value) else value

    def __enter__(self) -> "Blocking":
        return self

    def __exit__(self, *_: object) -> None:
        if self._owns:
            self._wait(self._inner.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(60)
            self._loop.close()

    def _wait(self, coroutine: Any) -> Any:
        result = asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)
        return Blocking(result, self._loop) if isinstance(result, AsyncFound) else result
