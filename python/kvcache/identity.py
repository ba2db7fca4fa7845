"""What an engine says of itself that changes the meaning of the bytes it caches, as fields of a namespace."""
from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any, Dict, Iterable

#: What a model's configuration says of where and by what it was loaded, not of the model.
_ABOUT_LOADING = ("transformers_version", "_name_or_path", "name_or_path", "_commit_hash")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def digest(content: Any) -> str:
    """A short text that stands for anything that JSON can hold; for the rest its text stands, without addresses in memory."""
    text = json.dumps(content, sort_keys=True, default=lambda value: _ADDRESS.sub("", str(value)))
    return sha256(text.encode()).hexdigest()[:32]


def settings_of(config: Any, names: Iterable[str]) -> Dict[str, Any]:
    """Those settings of a configuration that it has and that say something."""
    values = {name: getattr(config, name, None) for name in names}
    return {name: value for name, value in values.items() if value not in (None, "", {}, [], ()) and not callable(value)}


def model_config_fields(config: Any) -> Dict[str, Any]:
    """A Hugging Face configuration as the engine uses it, its overrides applied."""
    if config is None:
        return {}
    to_dict = getattr(config, "to_dict", None)
    values: Any = to_dict() if callable(to_dict) else vars(config)
    return {name: value for name, value in values.items() if name not in _ABOUT_LOADING}


def type_name(kind: Any) -> str:
    """The name of a type of numbers: ``float8_e4m3fn`` for ``torch.float8_e4m3fn``."""
    text = str(kind)
    return text[len("torch."):] if text.startswith("torch.") else text
