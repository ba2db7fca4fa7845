"""Settings of a cache, with their defaults."""
from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any, Mapping, Optional, Tuple, Union

from .connection import parse_endpoint
from .tls import Tls


TLS_SETTINGS = tuple("tls_" + field.name for field in fields(Tls))


@dataclass(frozen=True)
class CacheOptions:
    """How a cache reaches its silos. Times are in seconds."""

    #: ``unix:path``, ``tcp:host:port`` or ``tls:host:port``, in order of preference: the first that answers is used.
    endpoints: Tuple[str, ...] = ("tcp:127.0.0.1:7400",)
    tenant: str = "default"
    #: The tenant's secret. ``from_mapping`` also takes ``secret_env``, the name of an environment variable that holds it.
    secret: bytes = b""
    #: Whom to trust at ``tls:`` endpoints, and what to show. ``from_mapping`` takes ``tls_ca``, ``tls_server_name``,
    #: ``tls_certificate`` and ``tls_key``.
    tls: Optional[Tls] = None
    #: Connections for bytes, to each silo.
    connections: int = 4
    #: Connections for small requests, to each silo.
    control_connections: int = 2
    #: Longest time for one attempt to connect, also where the call has more.
    connect_timeout: float = 1.0
    #: Deadline of match, locate, pin, delete and stat.
    match_timeout: float = 0.1
    #: Deadline of a read.
    load_timeout: float = 5.0
    #: Deadline of a put.
    store_timeout: float = 30.0
    #: Failures in a row after which a silo is left alone, and for how long at first; the delay doubles up to 30 s.
    breaker_failures: int = 3
    breaker_delay: float = 1.0
    #: Reads of at least this many bytes ask where the blocks are and read from several silos at once; 0 for never.
    locate_bytes: int = 8 << 20
    #: Threads that read in parallel, for all calls together.
    read_threads: int = 4

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ValueError("endpoints: name at least one, for example tcp:127.0.0.1:7400")
        for endpoint in self.endpoints:
            parse_endpoint(endpoint)
        for name in ("connections", "control_connections", "connect_timeout", "match_timeout", "load_timeout",
                     "store_timeout", "breaker_failures", "breaker_delay", "read_threads"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: must be more than 0, and is {getattr(self, name)!r}")
        if self.locate_bytes < 0:
            raise ValueError("locate_bytes: must be 0 or more")

    @classmethod
    def names(cls) -> Tuple[str, ...]:
        """The keys that ``from_mapping`` knows."""
        return tuple(field.name for field in fields(cls) if field.name != "tls") + ("secret_env",) + TLS_SETTINGS

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> CacheOptions:
        """Options from an engine's JSON: ``endpoints`` may be one text, with commas; unknown keys are errors."""
        known = cls.names()
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise ValueError(f"unknown settings {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        values = dict(settings)
        if "endpoints" in values:
            values["endpoints"] = endpoint_list(values["endpoints"])
        variable = values.pop("secret_env", None)
        if variable is not None:
            if variable not in os.environ:
                raise ValueError(f"secret_env: there is no environment variable {variable}")
            values["secret"] = os.environ[variable]
        tls = {name[len("tls_"):]: str(values.pop(name)) for name in TLS_SETTINGS if name in values}
        if tls:
            values["tls"] = Tls(**tls)
        if isinstance(values.get("secret"), str):
            values["secret"] = values["secret"].encode()
        return cls(**values)


def check_names(model: str, revision: str, salt: str) -> None:
    """The texts of a namespace that an engine's settings contain; beside the salt there is a digest in the same field."""
    for name, text, most in (("model", model, 256), ("revision", revision, 256), ("salt", salt, 200)):
        if len(text.encode()) > most:
            raise ValueError(f"{name}: at most {most} bytes, and has {len(text.encode())}")


def endpoint_list(endpoints: Union[str, Any]) -> Tuple[str, ...]:
    """Endpoints from one text with commas, or from a list."""
    parts = endpoints.split(",") if isinstance(endpoints, str) else endpoints
    return tuple(part.strip() for part in parts if part.strip())
