"""Generation with a cache, for a model that is called as those of Hugging Face are: a stub whose next token depends on all of its KV."""
import time
from types import SimpleNamespace

import pytest

from harness.fake_silo import GET, FakeSilo
from kvcache import Cache, RedisCache, generate_with_cache

torch = pytest.importorskip("torch")

SYSTEM = "You are a cache and answer in numbers, however long the question may be that stands behind this text. "
END = 0


class Tokenizer:
    """A token for each character."""
    eos_token_id = END

    def encode(self, text):
        return [ord(character) for character in text]

    def decode(self, tokens):
        return " ".join(map(str, tokens))


class Model:
    """K and V are whole numbers that follow from token, place and layer; the next token follows from all of them and where they stand. So
    a KV that is not right changes the text."""

    def __init__(self, cache_class=tuple, dtype=torch.float32, seconds_per_token=0.0, **config):
        self.config = SimpleNamespace(**{"name_or_path": "stub", "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
                                         "hidden_size": 32, **config})
        self.dtype, self.computed = dtype, []
        self._cache_class, self._seconds = cache_class, seconds_per_token

    def __call__(self, input_ids, past_key_values=None, use_cache=False):
        assert use_cache and input_ids.shape[0] == 1
        new = input_ids.shape[1]
        self.computed.append(new)
        time.sleep(self._seconds * new)  # what computing would take
        start = 0 if past_key_values is None else past_key_values[0][0].shape[2]
        tokens, places = input_ids[0], torch.arange(start, start + new)
        layers = []
        for layer in range(3):
            base = (tokens * 7 + places * 3 + layer).view(1, 1, -1, 1) + torch.arange(2).view(1, 2, 1, 1) + torch.arange(8)
            pair = ((base % 13).to(self.dtype), (base % 11).to(self.dtype))
            if past_key_values is not None:
                pair = tuple(torch.cat((past, now), 2) for past, now in zip(past_key_values[layer], pair))
            layers.append(pair)
        total = sum(int((part.double().flatten() * (torch.arange(part.numel()) % 101)).sum()) for pair in layers for part in pair)
        logits = torch.zeros(1, new, 100)
        logits[0, -1, 1 + total % 99] = 1
        return SimpleNamespace(logits=logits, past_key_values=self._cache_class(layers))


class LayeredCache:
    """As the caches of later versions are: layers with keys and values."""

    def __init__(self, layers):
        self.layers = [SimpleNamespace(keys=k, values=v) for k, v in layers]

    def __getitem__(self, index):
        return self.layers[index].keys, self.layers[index].values


@pytest.fixture
def cache():
    with FakeSilo() as silo, Cache(silo.endpoint) as cache:
        cache.silo = silo
        yield cache


def generate(model, cache, prompt="What is 1 + 1?", prefix=SYSTEM, **settings):
    return generate_with_cache(model, Tokenizer(), prompt, prefix, cache=cache, **{"max_new_tokens": 8, **settings})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("cache_class", [tuple, LayeredCache])
def test_the_text_is_that_of_the_model_and_the_prefix_is_not_computed_again(cache, cache_class, dtype):
    model = Model(cache_class, dtype)
    first = generate(model, cache)
    assert not first.cache_hit and first.hit_tokens == 0 and first.time_saved == 0 and first.stored_blocks == len(SYSTEM) // 16
    assert first.text == " ".join(map(str, first.tokens)) and len(first.tokens) == 8
    model.computed.clear()
    again = generate(model, cache)
    assert again.cache_hit and again.hit_tokens == len(SYSTEM) // 16 * 16 and again.stored_blocks == 0
    assert again.tokens == first.tokens and model.computed == [again.prompt_tokens - again.hit_tokens] + [1] * 7
    other = generate(model, cache, "What is 2 + 2?")
    assert other.cache_hit and other.tokens == generate(Model(cache_class, dtype, name_or_path="unknown"), cache, "What is 2 + 2?").tokens


def test_time_is_saved_where_computing_takes_some(cache):
    model = Model(seconds_per_token=0.002)
    generate(model, cache, max_new_tokens=1)
    again = generate(model, cache, max_new_tokens=1)
    assert again.time_saved > 0 and again.load_time <= again.time_to_first_token


def test_without_a_prefix_the_whole_prompt_is_stored_and_its_last_token_computed(cache):
    model, prompt = Model(), "x" * 64
    assert generate(model, cache, prompt, None).stored_blocks == 4
    model.computed.clear()
    again = generate(model, cache, prompt, None)
    assert again.hit_tokens == 48 and model.computed[0] == 16


def test_wrong_bytes_and_a_cache_that_is_away_cost_only_time(cache):
    model = Model()
    text = generate(model, cache).text
    cache.silo.damages = 2
    hurt = generate(model, cache)
    assert hurt.text == text and hurt.hit_tokens == 32
    cache.silo.damages = None
    cache.silo.before = lambda kind: b"nonsense" if kind == GET else None
    assert generate(model, cache).text == text
    cache.silo.stop()
    lost = generate(model, cache)
    assert lost.text == text and not lost.cache_hit and lost.stored_blocks == 0


def test_models_and_settings_that_differ_share_nothing(cache):
    generate(Model(), cache)
    for model, settings in ((Model(name_or_path="other"), {}), (Model(rope_theta=5), {}), (Model(dtype=torch.float16), {}),
                            (Model(), {"salt": "s"}), (Model(), {"lora": "l"}), (Model(), {"revision": "r"}), (Model(), {"name": "n"})):
        assert not generate(model, cache, **settings).cache_hit, settings
    assert generate(Model(), cache).cache_hit


def test_kv_of_another_form_than_the_configuration_says_is_not_stored(cache):
    assert generate(Model(num_key_value_heads=4), cache).stored_blocks == 0
    assert generate(Model(lambda layers: None), cache, max_new_tokens=1).stored_blocks == 0


def test_the_text_ends_where_the_model_ends_it(cache):
    made = iter([5, 6, END, 7])
    result = generate(Model(), cache, choose=lambda logits: next(made))
    assert result.tokens == [5, 6] and result.text == "5 6"
    assert generate(Model(eos_token_id=[9, 5]), cache, choose=lambda logits: 5).tokens == []


def test_wrong_arguments_are_told_with_their_name(cache):
    for settings, message in (({"prompt": 7}, "prompt, prefix: texts were expected"),
                              ({"prompt": "", "prefix": None}, "prompt: at least one"),
                              ({"max_new_tokens": 0}, "max_new_tokens: a whole number from 1"),
                              ({"tokens_per_block": 0}, "tokens_per_block: a"), ({"ttl_seconds": -1}, "a duration is 0 seconds or more")):
        with pytest.raises(ValueError, match=message):
            generate(Model(), cache, **settings)
    for model, message in ((Model(num_hidden_layers=None), "num_hidden_layers: a whole number"),
                           (Model(dtype=torch.int8), "model.dtype: one of"),
                           (Model(name_or_path=""), "name: the model's name"), (object(), "model: one with a config")):
        with pytest.raises(ValueError, match=message):
            generate(model, cache)


def test_it_goes_over_a_plain_redis_too():
    pytest.importorskip("redis")
    with RedisCache("redis://127.0.0.1:1/0") as away:  # nobody is there: the contract has the rest
        assert not generate(Model(), away).cache_hit
