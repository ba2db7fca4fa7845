"""What a caller knows of when blocks are used again, and how engines spell it."""
from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Iterable, Mapping, Optional

from .wire import FIELD_UNIT, HINT_FIELD, milliseconds

ENDS = ("", "tool_call", "end_of_turn", "one_shot")
KINDS = ("", "system_prompt", "document", "conversation")
NO_PRIORITY = 255


@dataclass(frozen=True)
class Hint:
    """Advice for what a full cache forgets first, among the blocks of the caller's own tenant. It may be lost."""

    #: How the answer of the request ended: ``tool_call``, ``end_of_turn``, ``one_shot``, or nothing said.
    end: str = ""
    #: 0 to 100: ten points above 50 make a block worth four times as much, ten below a fourth.
    priority: Optional[int] = None
    #: How long the blocks go last, from their last use on; 0 for nothing said.
    retention_seconds: float = 0
    #: What the tokens are: ``system_prompt``, ``document`` (or what a tool answered), ``conversation``. Carried and recorded only.
    kind: str = ""

    def __post_init__(self) -> None:
        for name, value, known in (("end", self.end, ENDS), ("kind", self.kind, KINDS)):
            if value not in known:
                raise ValueError(f"{name}: one of {', '.join(known[1:])} was expected, and is {value!r}")
        if self.priority is not None and not (isinstance(self.priority, int) and 0 <= self.priority <= 100):
            raise ValueError(f"priority: 0 to 100 was expected, and is {self.priority!r}")
        milliseconds(self.retention_seconds)

    @classmethod
    def of_cache_control(cls, ttl: str = "5m") -> Hint:
        """The hint that corresponds to ``cache_control`` of the form ``{"type": "ephemeral", "ttl": "5m"}``; the other is ``1h``."""
        seconds = {"5m": 300, "1h": 3600}.get(ttl)
        if seconds is None:
            raise ValueError(f"ttl: 5m or 1h was expected, and is {ttl!r}")
        return cls(retention_seconds=seconds)

    @classmethod
    def of_engine(cls, priority: Any = None, retention_seconds: Any = None) -> Optional[Hint]:
        """The hint of an engine's soft ``priority`` and ``retention_seconds`` (SGLang); None when neither is said. What is out of
        bounds is cut: advice is no error."""
        number = None if priority is None else max(0, min(100, int(priority)))
        seconds = 0.0 if retention_seconds is None else max(0.0, min(float(retention_seconds), 1e9))
        return None if number is None and not seconds else cls(priority=number, retention_seconds=seconds)

    @classmethod
    def of_kv_hints(cls, envelope: Any) -> Optional[Hint]:
        """The hint of vLLM's ``KvHintsEnvelope``; None when it says nothing that is known here. ``vllm.set_priority`` is a priority,
        retained for its ``ttl_seconds`` where it is above 50; ``kv.retain`` the highest priority and longest duration of its
        directives, which hold for the whole request."""
        priority: Optional[float] = None
        seconds = 0.0
        for action in _of(envelope, "actions") or ():
            payload = _of(action, "payload")
            kind = _of(action, "action_type")
            if kind == "vllm.set_priority":
                value = _of(payload, "value")
                if value is not None:
                    priority = value
                    seconds = float(_of(payload, "ttl_seconds") or 0) if value > 50 else 0.0
            elif kind == "kv.retain":
                directives: Iterable[Any] = _of(payload, "directives") or ()
                for directive in directives:
                    value = _of(directive, "priority")
                    if value is not None:
                        priority = value if priority is None else max(priority, value)
                    seconds = max(seconds, float(_of(directive, "duration") or 0))
        return cls.of_engine(priority, seconds)

    def field(self) -> bytes:
        """The hint as a tagged field of a request."""
        priority = NO_PRIORITY if self.priority is None else self.priority
        value = struct.pack("<HHIBBBxQ", HINT_FIELD, 0, 12, ENDS.index(self.end), priority, KINDS.index(self.kind),
                            milliseconds(self.retention_seconds))
        return value + bytes(-len(value) % FIELD_UNIT)


def field_of(hint: Optional[Hint]) -> bytes:
    """The tagged field of a request that may have a hint."""
    return b"" if hint is None else hint.field()


def _of(value: Any, name: str) -> Any:
    """A part of an engine's message, which is an object or its JSON."""
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
