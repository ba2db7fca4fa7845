"""What SGLang says of itself that changes the meaning of a page."""
from __future__ import annotations

import logging
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Dict

from ..files import read_file
from ..identity import digest, settings_of, type_name

logger = logging.getLogger("kvcache")

#: Where the engine's arguments are, in newer and older versions.
_ARGUMENTS = (("sglang.srt.runtime_context", "get_server_args"), ("sglang.srt.server_args", "get_global_server_args"))

#: Arguments that change what a model computes, or how it is kept.
_NAMES = ("revision", "dtype", "quantization", "kv_cache_dtype", "json_model_override_args", "load_format", "model_impl",
          "rope_scaling", "torchao_config", "enable_mixed_kv_cache", "kv_cache_quantization")

_MAX_SCALES = 256 << 20


def server_args() -> Any:
    """The engine's arguments; None when this version keeps them elsewhere."""
    for module, name in _ARGUMENTS:
        try:
            arguments = getattr(import_module(module), name)()
        except Exception:  # not of this version, or not set
            continue
        if arguments is not None:
            return arguments
    try:
        return SimpleNamespace(**import_module("sglang.srt.managers.schedule_batch").global_server_args_dict)
    except Exception:
        return None


def number_format(pool: Any) -> str:
    """The name of the numbers. A host pool keeps both kinds of fp8 as bytes; the pool of the device tells them apart."""
    return type_name(getattr(getattr(pool, "device_pool", None), "dtype", None) or getattr(pool, "dtype", ""))


def engine_fields(config: Any, pool: Any, arguments: Any, names_model: bool) -> Dict[str, str]:
    """Fields of the namespace. ``names_model`` says that the user's settings name the model; otherwise the engine's name of it is
    one for its clients, which two models may have."""
    settings = settings_of(arguments, _NAMES)
    if not names_model:
        settings.update(settings_of(arguments, ("model_path",)))
    if settings.get("kv_cache_dtype") == "auto":
        del settings["kv_cache_dtype"]
    if str(settings.get("load_format")) != "dummy":
        settings.pop("load_format", None)  # other ways to the same weights
    scales = _scales(settings_of(arguments, ("quantization_param_path",)).get("quantization_param_path"))
    shape = {name: getattr(pool, name, None)
             for name in ("layout", "layer_num", "start_layer", "end_layer", "head_num", "head_dim", "kv_lora_rank", "qk_rope_head_dim",
                          "page_size")}
    parallel = {name: getattr(config, name, None)
                for name in ("pp_rank", "pp_size", "attn_cp_rank", "attn_cp_size", "is_mla_model", "tp_lcm_size", "should_split_heads")}
    return {"engine": "sglang/2", "pool": digest([type(pool).__name__, type_name(getattr(pool, "dtype", "")), shape]),
            "parallel": digest(parallel), "settings": digest(settings), **({"scales": scales} if scales else {})}


def _scales(path: Any) -> str:
    """What stands for the quantization scales: the contents of their file, wherever it is."""
    if not path:
        return ""
    try:
        return digest(read_file(str(path), _MAX_SCALES).hex())
    except OSError as error:
        logger.warning("the quantization scales cannot be read, their path stands for them: %s", error)
        return digest(str(path))


def has_adapters(arguments: Any) -> bool:
    """Whether the engine serves LoRA adapters."""
    return bool(getattr(arguments, "enable_lora", False) or getattr(arguments, "lora_paths", None))
