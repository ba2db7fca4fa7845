"""Text generation that takes the KV of a prompt's beginning from a cache and leaves there what it computed, for models that are called
as those of Hugging Face are."""
from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Sequence, Tuple

from ._engines import complaints, engine_module
from .hashing import DataType, Namespace, StructuredLayout, prefix_chain
from .identity import digest, model_config_fields, type_name
from .interface import BlockCache
from .wire import Outcome, milliseconds

_TYPES = {"float32": DataType.FLOAT32, "float16": DataType.FLOAT16, "bfloat16": DataType.BFLOAT16}
_HOLD_MS = 5000


@dataclass(frozen=True)
class Generation:
    """A text, and what the cache did for it. Times are in seconds."""
    text: str
    tokens: List[int]
    prompt_tokens: int
    #: Tokens of the prompt whose KV came from the cache.
    hit_tokens: int
    #: Blocks that this call left in the cache.
    stored_blocks: int
    time_to_first_token: float
    #: Part of it that went to the cache.
    load_time: float
    #: Time that computing the tokens from the cache would have taken, at the speed of the others of this prompt, less ``load_time``.
    #: Negative where the cache was slower than the model; 0 without a hit.
    time_saved: float

    @property
    def cache_hit(self) -> bool:
        """Whether anything of the prompt came from the cache."""
        return self.hit_tokens > 0


def generate_with_cache(model: Any, tokenizer: Any, prompt: str, prefix: Optional[str] = None, *, cache: BlockCache,
                        max_new_tokens: int = 64, tokens_per_block: int = 16, name: str = "", revision: str = "", lora: str = "",
                        salt: str = "", ttl_seconds: float = 0, persisted: bool = False,
                        choose: Optional[Callable[[Any], int]] = None) -> Generation:
    """Generates text behind ``prefix + prompt``. Whatever the cache does, the text is that of the model: a cache that fails only
    costs time.

    ``prefix`` is what stands before the prompt and comes again, such as instructions that many prompts share: only its KV is stored.
    Without one the KV of the whole prompt is. Of both only blocks of ``tokens_per_block`` tokens that are full.

    ``model`` is called as ``model(input_ids=…, past_key_values=…, use_cache=True)`` and answers with ``logits`` and
    ``past_key_values``: pairs of K and V of shape ``[1, heads, tokens, dim]`` for each layer, or a ``DynamicCache``; its ``config``
    says how many. ``name`` is what the model is stored as, by default ``config.name_or_path``; two models must not share one, unless
    their configurations differ. ``choose`` takes the logits of the last token, of shape ``[vocabulary]``, and returns the next one;
    by default the likeliest. Arguments that cannot be are ``ValueError``.
    """
    if not isinstance(prompt, str) or not (prefix is None or isinstance(prefix, str)):
        raise ValueError(f"prompt, prefix: texts were expected, and are {prompt!r} and {prefix!r}")
    if not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise ValueError(f"max_new_tokens: a whole number from 1 on was expected, and is {max_new_tokens!r}")
    milliseconds(ttl_seconds)
    began = time.perf_counter()
    torch = engine_module("torch", "generate_with_cache", "torch")
    tokens: List[int] = [int(token) for token in tokenizer.encode((prefix or "") + prompt)]
    if not tokens:
        raise ValueError("prompt: at least one token was expected, and has none")
    # Tokens may reach over the end of the prefix: those belong to the prompt.
    shared = len(tokens) if prefix is None else _common(tokens, tokenizer.encode(prefix))
    memory = _Memory(torch, model, _namespace(model, cache.tenant, tokens_per_block, name, revision, lora, salt))
    hashes = prefix_chain(tokens, tokens_per_block)
    choose = choose or (lambda logits: int(logits.argmax()))
    with torch.no_grad():
        # The last token is always computed: the first logits come from it.
        asked = time.perf_counter()
        blocks, past = memory.load(cache, hashes[:(len(tokens) - 1) // tokens_per_block])
        load_time = time.perf_counter() - asked
        hit_tokens = blocks * tokens_per_block
        output = memory.forward(tokens[hit_tokens:], past)
        made = [choose(output.logits[0, -1])]
        first = time.perf_counter() - began
        ends = _ends(model, tokenizer)
        stored = memory.store(cache, hashes[:shared // tokens_per_block], blocks, len(tokens), output.past_key_values, ttl_seconds,
                              persisted)
        while made[-1] not in ends and len(made) < max_new_tokens:
            output = memory.forward(made[-1:], output.past_key_values)
            made.append(choose(output.logits[0, -1]))
    if made[-1] in ends:
        made.pop()
    per_token = (first - load_time) / (len(tokens) - hit_tokens)
    return Generation(tokenizer.decode(made), made, len(tokens), hit_tokens, stored, first, load_time,
                      per_token * hit_tokens - load_time if hit_tokens else 0.0)


class _Memory:
    """A model's KV, as blocks of a namespace and as the model wants it."""

    def __init__(self, torch: Any, model: Any, namespace: Namespace):
        layout = namespace.layout
        assert isinstance(layout, StructuredLayout)
        self._torch, self._model, self._namespace, self._layout = torch, model, namespace, layout
        self._shape = (layout.layers, 2, layout.tokens_per_block, layout.kv_heads, layout.head_dim)
        self._dtype = getattr(torch, next(name for name, kind in _TYPES.items() if kind == layout.data_type))

    def forward(self, tokens: Sequence[int], past: Any) -> Any:
        ids = self._torch.tensor([list(tokens)], device=getattr(self._model, "device", "cpu"))
        return self._model(input_ids=ids, past_key_values=past, use_cache=True)

    def load(self, cache: BlockCache, hashes: Sequence[bytes]) -> Tuple[int, Any]:
        """How many blocks of the chain could be had, and their KV; None without any."""
        with cache.match(self._namespace, hashes, hold_ms=_HOLD_MS) as found:
            if not found.count:
                return 0, None
            blocks = self._torch.empty((found.count, *self._shape), dtype=self._dtype)
            hits = cache.get(self._namespace, hashes[:found.count], list(blocks))
        count = hits.index(False) if False in hits else len(hits)
        if not count:
            return 0, None
        # [block, layer, part, token, head, dim] to [layer, part, 1, head, token, dim]
        layout = self._layout
        kv = blocks[:count].permute(1, 2, 4, 0, 3, 5).reshape(
            layout.layers, 2, 1, layout.kv_heads, count * layout.tokens_per_block, layout.head_dim)
        kv = kv.to(getattr(self._model, "device", "cpu"))
        return count, _past_of(self._model, [(layer[0], layer[1]) for layer in kv])

    def store(self, cache: BlockCache, hashes: Sequence[bytes], first: int, tokens: int, past: Any, ttl_seconds: float,
              persisted: bool) -> int:
        """Stores the blocks from ``first`` on of a prompt of so many tokens. Returns how many were not stored before."""
        if first >= len(hashes):
            return 0
        layers, layout = _layers_of(past), self._layout
        expected = (1, layout.kv_heads, tokens, layout.head_dim)
        if len(layers) != layout.layers or any(tuple(part.shape) != expected or part.dtype != self._dtype
                                               for pair in layers for part in pair):
            complaints.warn((type(self._model), "layout"), "the KV of %s is not stored: %d layers of shape %s and type %s were expected, "
                            "as its configuration says", type(self._model).__name__, layout.layers, expected, self._dtype)
            return 0
        blocks = []
        for index in range(first, len(hashes)):
            begin = index * layout.tokens_per_block
            part = [piece[0, :, begin:begin + layout.tokens_per_block].transpose(0, 1) for pair in layers for piece in pair]
            blocks.append(self._torch.stack(part).cpu().contiguous())
        outcomes = cache.put(self._namespace, hashes[first:], blocks, hashes[first - 1] if first else None, first, ttl_seconds,
                             new_tokens=tokens - first * layout.tokens_per_block, persisted=persisted)
        return outcomes.count(Outcome.STORED)


def _namespace(model: Any, tenant: str, tokens_per_block: int, name: str, revision: str, lora: str, salt: str) -> Namespace:
    config = getattr(model, "config", None)
    if config is None:
        raise ValueError(f"model: one with a config was expected, as those of transformers have, and is a {type(model).__name__}")
    get_text_config = getattr(config, "get_text_config", None)
    text = get_text_config() if callable(get_text_config) else config
    heads = _number(text, "num_attention_heads")
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    head_dim = getattr(text, "head_dim", None) or _number(text, "hidden_size") // heads
    kind = _TYPES.get(type_name(getattr(model, "dtype", None)))
    if kind is None:
        raise ValueError(f"model.dtype: one of {', '.join(_TYPES)} was expected, and is {getattr(model, 'dtype', None)}")
    name = name or getattr(config, "name_or_path", "") or getattr(config, "_name_or_path", "")
    if not name:
        raise ValueError("name: the model's name was expected, as its configuration has no name_or_path")
    layout = StructuredLayout(tokens_per_block, _number(text, "num_hidden_layers"), kv_heads, head_dim, kind)
    return Namespace(name, layout, tenant, revision, lora, salt=salt,
                     fields={"engine": "transformers", "config": digest(model_config_fields(config))})


def _number(config: Any, name: str) -> int:
    value = getattr(config, name, None)
    if not isinstance(value, int):
        raise ValueError(f"model.config.{name}: a whole number was expected, and is {value!r}")
    return value


def _layers_of(past: Any) -> List[Tuple[Any, Any]]:
    """K and V of each layer of what a model gives back; nothing where it has none."""
    layers = getattr(past, "layers", None)
    if layers is not None:
        pairs = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in layers]
    elif hasattr(past, "key_cache"):
        pairs = list(zip(past.key_cache, past.value_cache))
    else:
        pairs = [(layer[0], layer[1]) for layer in past or ()]
    return pairs if all(hasattr(part, "shape") and hasattr(part, "dtype") for pair in pairs for part in pair) else []


def _past_of(model: Any, layers: Sequence[Tuple[Any, Any]]) -> Any:
    """K and V of each layer as the model takes it: a ``DynamicCache`` for a model of transformers, else pairs."""
    if not any(kind.__module__.startswith("transformers.") for kind in type(model).__mro__):
        return tuple(layers)
    past = engine_module("transformers", "generate_with_cache", "transformers>=4.36").DynamicCache()
    for index, (k, v) in enumerate(layers):
        past.update(k, v, index)
    return past


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    count = 0
    for a, b in zip(left, right):
        if a != b:
            break
        count += 1
    return count


def _ends(model: Any, tokenizer: Any) -> Tuple[int, ...]:
    """The tokens that end a text."""
    known = [getattr(getattr(model, "generation_config", None), "eos_token_id", None), getattr(model.config, "eos_token_id", None),
             getattr(tokenizer, "eos_token_id", None)]
    given = next((value for value in known if value is not None), ())
    return tuple(given) if isinstance(given, (list, tuple)) else (given,)
