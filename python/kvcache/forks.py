"""What ``fork`` leaves behind: a child has its parent's sockets, which both would read, and its locks, which threads that it
does not have may hold. So in a child every object of this package begins anew: sockets are closed (the parent's stay as they
are), locks are new, threads start again when they are needed, and what was under way is the parent's alone."""
from __future__ import annotations

import logging
import os
import weakref
from typing import Any, List

logger = logging.getLogger("kvcache")

_objects: "weakref.WeakSet[Any]" = weakref.WeakSet()


def renews_after_fork(owner: Any) -> None:
    """Calls ``owner.after_fork()`` in every child that this process forks, as long as the object lives. It runs on the only
    thread of the child, before anything else does."""
    _objects.add(owner)


def _in_child() -> None:
    owners: List[Any] = list(_objects)
    for owner in owners:
        try:
            owner.after_fork()
        except Exception:
            logger.exception("%s could not begin anew after a fork", type(owner).__name__)


if hasattr(os, "register_at_fork"):  # not where processes cannot fork
    os.register_at_fork(after_in_child=_in_child)
