"""Settings of a cache, and of the engines' connectors, with their defaults. Whatever is wrong is told with its key and with what
was expected."""
from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Dict, Iterable, Mapping, Optional, Tuple, Type, TypeVar, Union

from .connection import parse_endpoint
from .files import Kept, read_file
from .hashing import MAX_TEXT_BYTES
from .tls import Tls

T = TypeVar("T", bound="EngineOptions")
TLS_SETTINGS = tuple("tls_" + item.name for item in fields(Tls))


@dataclass(frozen=True)
class CacheOptions:
    """How a cache reaches its silos. Times are in seconds."""

    #: ``unix:path``, ``tcp:host:port`` or ``tls:host:port``, in order of preference: the first that answers is used.
    endpoints: Tuple[str, ...] = ("tcp:127.0.0.1:7400",)
    tenant: str = "default"
    #: The tenant's secret. ``from_mapping`` also takes ``secret_env``, the name of an environment variable that holds it.
    secret: bytes = b""
    #: A file with the secret in its first line instead. It is read for every new connection, so that a secret is exchanged
    #: without a restart.
    secret_file: str = ""
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
    #: The same for the first of them, which may have to wait until a connection is made; it counts once, whether a silo was there or not.
    first_match_timeout: float = 1.0
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
        check_types(self, skip=("endpoints", "secret", "tls"))
        if isinstance(self.endpoints, str):
            raise ValueError(f"endpoints: a list of texts was expected, and is one text; write [{self.endpoints!r}]")
        if not isinstance(self.endpoints, (list, tuple)):
            raise ValueError(f"endpoints: a list of texts was expected, and is {self.endpoints!r}")
        check_text(self, "tenant", 1)
        if not self.endpoints:
            raise ValueError("endpoints: name at least one, for example tcp:127.0.0.1:7400")
        for endpoint in self.endpoints:
            parse_endpoint(endpoint)
        if not isinstance(self.secret, bytes):
            raise ValueError(f"secret: bytes were expected, and is a {type(self.secret).__name__}")
        if self.secret and self.secret_file:
            raise ValueError("secret and secret_file: one of them was expected, and both are set")
        try:
            object.__setattr__(self, "_kept_secret", Kept("secret_file", self._read_secret))
        except OSError as error:
            raise ValueError(f"secret_file: {error}") from error
        check_positive(self, "connections", "control_connections", "connect_timeout", "match_timeout", "first_match_timeout",
                       "load_timeout", "store_timeout", "breaker_failures", "breaker_delay", "read_threads")
        check_range(self, "locate_bytes")

    def secret_of_now(self) -> bytes:
        """The secret; that of the file, where there is one, as it is now."""
        kept: Kept[bytes] = getattr(self, "_kept_secret")
        return kept.now()

    def _read_secret(self) -> bytes:
        if not self.secret_file:
            return self.secret
        found = next(filter(None, (line.strip() for line in read_file(self.secret_file).splitlines())), None)
        if found is None:
            raise OSError(f"{self.secret_file!r} has no line with a secret")
        return found

    @classmethod
    def names(cls) -> Tuple[str, ...]:
        """The keys that ``from_mapping`` knows."""
        return tuple(item.name for item in fields(cls) if item.name != "tls") + ("secret_env",) + TLS_SETTINGS

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> CacheOptions:
        """Options from an engine's JSON: ``endpoints`` may be one text, with commas; unknown keys are errors."""
        check_known(settings, cls.names())
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


@dataclass(frozen=True)
class EngineOptions:
    """What the connectors of all engines are told. Keys that are not here are those of ``CacheOptions``."""

    cache: CacheOptions = field(default_factory=CacheOptions)
    #: Names that the blocks go under; by default those of the engine's model.
    model: str = ""
    revision: str = ""
    #: Makes blocks of otherwise equal engines different, for example when weights were changed in place.
    salt: str = ""
    #: Further fields of the namespace, by name: what the engine does not say of itself.
    fields: Mapping[str, str] = field(default_factory=dict)
    copies: int = 1
    persisted: bool = False
    #: Life of what is stored; 0 for as long as memory lasts.
    ttl_seconds: float = 0

    def __post_init__(self) -> None:
        check_types(self, skip=("cache", "fields"))
        for name in ("model", "revision", "salt"):
            check_text(self, name)
        if not isinstance(self.fields, Mapping) or not all(isinstance(text, str) for pair in self.fields.items() for text in pair):
            raise ValueError(f"fields: texts by name were expected, and is {self.fields!r}")
        check_range(self, "copies", 1, 16)
        check_range(self, "ttl_seconds", most=1 << 52)

    @classmethod
    def from_mapping(cls: Type[T], settings: Mapping[str, Any]) -> T:
        """Options from the engine's JSON; unknown keys are errors."""
        own = {item.name for item in fields(cls)} - {"cache"}
        check_known(settings, (*own, *CacheOptions.names()))
        mine: Dict[str, Any] = {name: value for name, value in settings.items() if name in own}
        return cls(cache=CacheOptions.from_mapping({k: v for k, v in settings.items() if k not in own}), **mine)


def check_known(settings: Mapping[str, Any], known: Iterable[str]) -> None:
    """``ValueError`` with the nearest name for keys that nobody reads."""
    if not isinstance(settings, Mapping):
        raise ValueError(f"settings by name were expected, and there is {settings!r}")
    names = sorted(known)
    for name in settings:
        if name not in names:
            near = get_close_matches(str(name), names, 1)
            raise ValueError(f"unknown setting {name}{f', perhaps {near[0]}' if near else ''}; there are {', '.join(names)}")


def check_types(options: Any, skip: Iterable[str] = ()) -> None:
    """``ValueError`` for settings of another type than their default. A whole number may stand for any number."""
    for item in fields(options):
        kind = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}.get(str(item.type))
        value = getattr(options, item.name)
        fits = {"a whole number": isinstance(value, int) and not isinstance(value, bool),
                "a number": isinstance(value, (int, float)) and not isinstance(value, bool) and value == value,
                "true or false": isinstance(value, bool), "a text": isinstance(value, str)}
        if item.name not in skip and not fits.get(kind or "", True):
            raise ValueError(f"{item.name}: {kind} was expected, and is {value!r}")


def check_positive(options: Any, *names: str) -> None:
    """``ValueError`` for numbers that are not more than 0."""
    for name in names:
        if not getattr(options, name) > 0:
            raise ValueError(f"{name}: must be more than 0, and is {getattr(options, name)!r}")


def check_range(options: Any, name: str, least: int = 0, most: Union[int, float] = float("inf")) -> None:
    """``ValueError`` for a number out of its bounds."""
    if not least <= getattr(options, name) <= most:
        expected = f"{least} to {most}" if most < float("inf") else f"{least} or more"
        raise ValueError(f"{name}: {expected} was expected, and is {getattr(options, name)!r}")


def check_choice(options: Any, name: str, *choices: str) -> None:
    """``ValueError`` for a text that is none of some."""
    if getattr(options, name) not in choices:
        raise ValueError(f"{name}: {' or '.join(map(repr, choices))} was expected, and is {getattr(options, name)!r}")


def check_text(options: Any, name: str, least: int = 0) -> None:
    """``ValueError`` for a text that can be no name: too long, or with halves of characters."""
    text = getattr(options, name)
    if not least <= len(text.encode(errors="surrogatepass")) <= MAX_TEXT_BYTES or any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError(f"{name}: a text of {least} to {MAX_TEXT_BYTES} bytes was expected, and is {text!r}")


def endpoint_list(endpoints: Union[str, Any]) -> Tuple[str, ...]:
    """Endpoints from one text with commas, or from a list."""
    parts = endpoints.split(",") if isinstance(endpoints, str) else endpoints
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"endpoints: a text or a list of texts was expected, and is {endpoints!r}")
    return tuple(part.strip() for part in parts if part.strip())
