"""What vLLM says of itself that changes the meaning of its blocks."""
from __future__ import annotations

import os
from enum import Enum
from importlib import import_module
from typing import Any, Dict

from ..identity import digest, model_config_fields, settings_of, type_name

#: Settings of the model that change what it computes, or in which order it keeps it.
_MODEL = ("dtype", "quantization", "hf_overrides", "rope_scaling", "rope_theta", "override_attention_dtype", "hf_config_path",
          "config_format", "code_revision", "model_impl", "disable_sliding_window", "convert")
#: Settings of the cache that do.
_CACHE = ("kv_cache_dtype_skip_layers", "calculate_kv_scales", "sliding_window")
_DRAFT = ("method", "model", "revision", "quantization")


def number_format(config: Any) -> str:
    """The engine's own name of the numbers in its cache: a dozen formats are registered as tensors of bytes."""
    name = str(getattr(config.cache_config, "cache_dtype", None) or "auto")
    if name == "auto":
        return type_name(getattr(config.model_config, "dtype", ""))
    return f"{name}/{_fp8()}" if "fp8" in name and _fp8() else name


def engine_fields(config: Any) -> Dict[str, str]:
    """Fields of the namespaces of every group and rank."""
    model, cache = config.model_config, config.cache_config
    resolved = model_config_fields(getattr(model, "hf_config", None))
    settings: Dict[str, Any] = {**settings_of(model, _MODEL), **settings_of(cache, _CACHE)}
    if "longrope" in str(resolved):
        # Its rotation depends on the longest prompt that the engine takes.
        settings["max_model_len"] = getattr(model, "max_model_len", None)
    if str(getattr(getattr(config, "load_config", None), "load_format", "")).endswith("dummy"):
        settings["weights"] = "dummy"
    fields = {"settings": digest(settings), "config": digest(resolved)}
    draft = getattr(config, "speculative_config", None)
    if draft is not None and getattr(draft, "model", None):
        # Its layers are cached beside the model's.
        fields["draft"] = digest([settings_of(draft, _DRAFT),
                                  model_config_fields(getattr(getattr(draft, "draft_model_config", None), "hf_config", None))])
    if getattr(cache, "calculate_kv_scales", False):
        # The scales follow from the first prompt that this engine happened to get, and lie nowhere in the cache.
        fields["scales"] = os.urandom(16).hex()
    return fields


def spec_fields(spec: Any) -> Dict[str, str]:
    """How the engine describes a layer's cache, but for what only says how memory is divided."""
    return {name: str(value) for name, value in getattr(spec, "__dict__", {}).items()
            if name not in ("block_size", "page_size_padded")
            and (isinstance(value, (int, float, str, Enum, type(None))) or type(value).__name__ == "dtype")}


def bytes_with_scales(spec: Any) -> int:
    """Bytes of a block of a layer whose format has scales for single tokens, which may lie beside the tensor that a connector is
    given; 0 for other formats."""
    mode = getattr(spec, "kv_quant_mode", None)
    return int(getattr(spec, "page_size_bytes", 0)) if getattr(mode, "is_per_token_head", False) else 0


def current_config() -> Any:
    """The configuration of the engine that is being built, for those that it is not passed to; None where there is none."""
    for name in ("get_current_vllm_config_or_none", "get_current_vllm_config"):
        try:
            config = getattr(import_module("vllm.config"), name)()
        except Exception:  # not of this version, or not set
            continue
        if config is not None:
            return config
    return None


def _fp8() -> str:
    """Which fp8 this platform's is: some of AMD's have another zero and range under the same name."""
    try:
        return type_name(import_module("vllm.platforms").current_platform.fp8_dtype())
    except Exception:
        return ""

