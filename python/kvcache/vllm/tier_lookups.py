"""Look-ups of a tier: one request a step, answered by a thread."""
from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, Dict, Iterable, List, Optional, Set

from ..cache import Cache
from ..forks import renews_after_fork
from ..hashing import Namespace
from .tier_options import TierOptions
from .workers import BoundedWorkers


# A batch that has waited so long is asked without waiting for the end of the step.
BATCH_SECONDS = 0.005


@dataclass
class Known:
    """What is known of a key: nothing yet (None), or whether it is stored, until when; and which requests asked."""
    is_asked: bool = False
    stored: Optional[bool] = None
    until: float = 0.0
    requests: Set[str] = field(default_factory=set)


class TierLookups:
    """Answers per key. The engine asks key by key and in the order of a prompt, so the keys of a step are asked as one
    chain: up to the first that is not stored, and then the rest."""

    def __init__(self, cache: Cache, space: Namespace, options: TierOptions, name: Callable[[Any], bytes]):
        self._cache, self._space, self._options, self._name = cache, space, options, name
        self._threads = BoundedWorkers("tier-match", 1, options.queue)
        self._lock = threading.Lock()
        self._known: Dict[Any, Known] = {}
        self._requests: Dict[str, Dict[Any, None]] = {}  # keys in the order in which they were asked for
        self._batch: List[Any] = []
        self._batch_began = 0.0
        renews_after_fork(self)

    def after_fork(self) -> None:
        """In a child: answers that are on their way come to the parent, so everything is asked again."""
        self._lock, self._batch = threading.Lock(), []
        for known in self._known.values():
            known.is_asked, known.stored = False, None

    def find(self, key: Any, request_id: str) -> Optional[bool]:
        """Whether a key is stored; None while that is not known."""
        now = time.monotonic()
        with self._lock:
            known = self._known.setdefault(key, Known())
            known.requests.add(request_id)
            self._requests.setdefault(request_id, {})[key] = None
            if not known.is_asked or (known.stored is not None and known.until < now):
                known.is_asked, known.stored = True, None
                self._batch_began = self._batch_began if self._batch else now
                self._batch.append(key)
            is_late = bool(self._batch) and now - self._batch_began > BATCH_SECONDS
        if is_late:
            self.ask()
        return known.stored

    def ask(self) -> None:
        """Sends what was asked since the last time."""
        with self._lock:
            batch, self._batch = self._batch, []
        if batch and not self._threads.submit(partial(self._answer, batch)):
            self._set({key: False for key in batch})

    def forget_as_missing(self, keys: Iterable[Any]) -> None:
        """Notes that keys could not be loaded, whatever the index says."""
        self._set({key: False for key in keys})

    def end(self, request_id: str) -> List[Any]:
        """A request is over: forgets what only it asked for. Returns the keys that it has asked for, in their order."""
        with self._lock:
            keys = list(self._requests.pop(request_id, ()))
            for key in keys:
                known = self._known.get(key)
                if known is not None:
                    known.requests.discard(request_id)
                    if not known.requests:
                        del self._known[key]
        return keys

    def stop(self) -> None:
        self._threads.stop(self._options.cache.match_timeout * 2)

    def _answer(self, batch: List[Any]) -> None:
        answers = {key: False for key in batch}
        try:
            start = 0
            while start < len(batch):
                hashes = [self._name(key) for key in batch[start:]]
                failures = self._cache.statistics.failed_calls
                count = self._cache.match(self._space, hashes).count
                answers.update((key, True) for key in batch[start:start + count])
                if self._cache.statistics.failed_calls != failures:
                    break  # nobody answers: everything else is a miss, without asking on
                start += count + 1
        finally:
            self._set(answers)

    def _set(self, answers: Dict[Any, bool]) -> None:
        until = time.monotonic() + self._options.lookup_life
        with self._lock:
            for key, stored in answers.items():
                known = self._known.get(key)
                # Nobody waits for keys whose requests are over.
                if known is not None:
                    known.stored, known.until = stored, until
