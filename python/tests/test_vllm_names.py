"""What changes the meaning of the bytes of vLLM's blocks is in their names: a test changes each thing in turn.

The engine is the simulation of ``harness.vllm_contract``, which is not the engine.
"""
import inspect
from enum import Enum
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="python3-torch is not installed: no tensors to test with")
numpy = pytest.importorskip("numpy", reason="python3-numpy is not installed: no rows to test with")

from harness import tier_contract  # noqa: E402
from harness.paged import LAYOUTS  # noqa: E402
from harness.vllm_contract import GroupPlan  # noqa: E402
from harness.vllm_fixtures import PROMPT, compute, endpoint, engine, flush, silo  # noqa: E402,F401

tier_contract.install()

FORMATS = ("fp8_e4m3", "fp8_e5m2", "fp8_inc", "int4_per_token_head", "int8_per_token_head", "fp8_per_token_head", "nvfp4", "nvfp4_4over6",
           "turboquant_k8v4", "fp8_ds_mla")
#: Settings of an engine, each of which makes other bytes of equal tokens.
SETTINGS = (
    *(("cache_config.cache_dtype", name) for name in FORMATS),
    ("cache_config.kv_cache_dtype_skip_layers", ["0"]), ("cache_config.calculate_kv_scales", True),
    ("cache_config.prefix_caching_hash_algo", "sha256"), ("model_config.dtype", "torch.bfloat16"), ("model_config.quantization", "fp8"),
    ("model_config.hf_overrides", {"rope_theta": 1}), ("model_config.rope_scaling", {"factor": 2}), ("model_config.rope_theta", 5),
    ("model_config.model_impl", "transformers"), ("model_config.override_attention_dtype", "float32"),
    ("model_config.hf_config", SimpleNamespace(rope_parameters={"rope_type": "yarn", "factor": 4})),
    ("model_config.hf_config", SimpleNamespace(quantization_config={"kv_cache_scheme": {"num_bits": 8}})),
    ("load_config.load_format", "dummy"), ("speculative_config.model", "a draft"), ("speculative_config.model", "another draft"))


def space_of(engine, *plans, **options):
    """The namespace of the last rank's last group."""
    engine = engine("tcp:127.0.0.1:1", *plans, **options)
    return engine.workers[-1]._worker.namespaces[-1]


def test_each_setting_of_the_engine_makes_another_namespace(engine):
    bytes_of = GroupPlan("B2NHD", dtype="uint8")  # what all formats of less than 16 bits are registered as
    spaces = [space_of(engine, bytes_of)] + [space_of(engine, bytes_of, config={path: value}) for path, value in SETTINGS]
    assert len({space.id for space in spaces}) == len(spaces)
    assert [space.number_format for space in spaces[1:3]] == ["fp8_e4m3", "fp8_e5m2"]


def test_each_property_of_the_cache_makes_another_namespace(engine):
    plans = [GroupPlan(layout) for layout in LAYOUTS]
    plans += [GroupPlan("B2NHD", **changed) for changed in (
        {"layers": 3}, {"dtype": "bfloat16"}, {"block_size": 8}, {"window": 8}, {"spec": {"kv_quant_mode": 1}}, {"spec": {"kv_quant_mode": 2}},
        {"spec": {"cache_dtype_str": "fp8_ds_mla"}}, {"spec": {"num_kv_heads": 4}}, {"spec": {"dtype": torch.uint8}})]
    spaces = [space_of(engine, plan) for plan in plans]
    spaces += [space_of(engine, ranks=2), space_of(engine, GroupPlan("B2NHD"), GroupPlan("B2NHD"))]
    assert len({space.id for space in spaces}) == len(spaces)


def test_each_of_the_users_settings_makes_another_namespace(engine):
    spaces = [space_of(engine)] + [space_of(engine, **{name: value}) for name, value in (
        ("model", "other"), ("revision", "2"), ("salt", "other"), ("tenant", "other"), ("tokens_per_block", 16),
        ("fields", {"build": "1"}), ("fields", {"build": "2"}))]
    assert len({space.id for space in spaces}) == len(spaces)


def test_what_changes_no_byte_is_not_in_the_name(engine):
    common = {"model_config.hf_config": SimpleNamespace(hidden_size=8, transformers_version="5.1", _name_or_path="/here")}
    other = {"model_config.hf_config": SimpleNamespace(hidden_size=8, transformers_version="5.2", _name_or_path="/there"),
             "model_config.max_model_len": 4096, "load_config.load_format": "safetensors", "cache_config.cache_dtype": "auto",
             "cache_config.gpu_memory_utilization": 0.5, "model_config.hf_overrides": {}, "speculative_config.method": "ngram"}
    assert space_of(engine, config=common) == space_of(engine, config=other, blocks=99, save="layer")


def test_longest_prompt_matters_where_the_rotation_depends_on_it(engine):
    def space(longest):
        config = SimpleNamespace(to_dict=lambda: {"rope_parameters": {"rope_type": "longrope"}})
        return space_of(engine, config={"model_config.hf_config": config, "model_config.max_model_len": longest})
    assert space(4096) == space(4096) != space(131072)


def test_scales_of_a_first_prompt_are_of_one_engine(engine):
    """They are nowhere in the cache: engines that computed their own never share."""
    config = {"cache_config.calculate_kv_scales": True}
    assert space_of(engine, config=config) != space_of(engine, config=config)


def test_scales_beside_the_tensors_are_refused(engine, caplog):
    class Mode(Enum):
        INT8_PER_TOKEN_HEAD = 2
        is_per_token_head = property(lambda self: True)
    plan = GroupPlan("B2NHD", dtype="uint8", spec={"kv_quant_mode": Mode.INT8_PER_TOKEN_HEAD, "page_size_bytes": 64})
    assert space_of(engine, plan), "the tensor shows all 64 bytes"
    plan.spec["page_size_bytes"] = 80
    with pytest.raises(IndexError):
        space_of(engine, plan)
    assert "has scales beside its tensors" in caplog.text


def test_engines_with_different_formats_never_read_each_others_blocks(endpoint, engine):
    plan = GroupPlan("B2NHD", dtype="uint8")
    compute(engine(endpoint, plan, config={"cache_config.cache_dtype": "fp8_e4m3"}))
    for name, loaded in (("fp8_e5m2", 0), ("nvfp4", 0), ("fp8_e4m3", 36)):
        other = engine(endpoint, plan, config={"cache_config.cache_dtype": name})
        request = other.add("second", PROMPT)
        other.run(request)
        assert request.loaded_tokens == loaded, name


def test_adapters_of_one_name_from_different_places_never_meet(silo, engine):
    def adapter(path):
        return SimpleNamespace(lora_name="a", lora_path=path)
    compute(engine(silo.endpoint), lora_request=adapter("/one"))
    for path, loaded in (("/two", 0), ("/one", 36)):
        other = engine(silo.endpoint)
        request = other.add("second", PROMPT, lora_request=adapter(path))
        other.run(request)
        assert request.loaded_tokens == loaded


def tier_space(config=None, settings=None, **spec):
    """The namespace of a tier, of an engine that tells it its configuration only where ``config`` is given."""
    from kvcache.vllm.tier import tier_namespace
    from kvcache.vllm.tier_options import TierOptions
    told = tier_contract.spec(**{name: value for name, value in spec.items() if "." not in name})
    for path, value in spec.items():
        section, _, name = path.partition(".")
        if name:
            setattr(getattr(told.config, section), name, value)
        elif section not in ("model", "tp_size"):
            setattr(told.config, section, value)
    engine = None
    if config is not None:
        engine = SimpleNamespace(model_config=SimpleNamespace(), cache_config=SimpleNamespace())
        for path, value in config.items():
            section, _, name = path.partition(".")
            vars(engine).setdefault(section, SimpleNamespace())
            setattr(getattr(engine, section), name, value)
    return tier_namespace(TierOptions.from_mapping({"model": "m", **(settings or {})}), told.config, engine, 200)


def test_each_thing_that_a_tier_is_told_makes_another_namespace(monkeypatch):
    spaces = [tier_space(), tier_space(tp_size=2)]
    spaces += [tier_space(**{path: value}) for path, value in (
        *(("model.dtype", name) for name in FORMATS), ("cache.tokens_per_hash", 32), ("cache.blocks_per_chunk", 4),
        ("parallel.pp_size", 2), ("parallel.dcp_size", 2))]
    spaces += [tier_space(config={path: value}) for path, value in (
        *SETTINGS, ("cache_config.kv_cache_layout", "LBHNC"), ("attention_config.backend", "FLASHINFER"))]
    spaces += [tier_space(settings={name: value}) for name, value in (
        ("model", "other"), ("revision", "2"), ("salt", "x"), ("tenant", "x"), ("fields", {"a": "b"}))]
    assert len({space.id for space in spaces}) == len(spaces)
    plain = tier_space()
    monkeypatch.setenv("VLLM_KV_CACHE_LAYOUT", "HND")
    assert tier_space() != plain
    assert tier_space(**{"parallel.is_parallelism_agnostic": True}) == tier_space(tp_size=2, **{"parallel.is_parallelism_agnostic": True})


def test_nothing_that_an_engine_may_call_raises(silo, engine):
    """Not even with arguments that make no sense, at either side."""
    user = engine(silo.endpoint)
    for connector in (user.scheduler, *user.workers):
        names = [name for name, _ in inspect.getmembers(type(connector), callable)
                 if not name.startswith("_") and name not in ("bind_connector_metadata", "shutdown")]
        assert {"start_load_kv", "get_finished", "build_connector_meta", "request_finished_all_groups"} <= set(names)
        for name in names:
            call = getattr(connector, name)
            required = [each for each in inspect.signature(call).parameters.values()
                        if each.default is each.empty and each.kind < each.VAR_POSITIONAL]
            for nonsense in (object(), None, "a", {}):
                call(*[nonsense] * len(required))


def test_nothing_that_a_tier_is_asked_raises(silo):
    from kvcache.vllm import KvCacheTier
    view = memoryview(numpy.zeros((4, 200), dtype=numpy.uint8))
    tier = KvCacheTier(tier_contract.spec(), view, "KvCacheTier", endpoints=silo.endpoint)
    names = [name for name, _ in inspect.getmembers(type(tier), callable) if not name.startswith("_") and name not in ("shutdown", "after_fork")]
    assert {"lookup", "submit_store", "submit_load", "drain_jobs", "get_finished_jobs"} <= set(names)
    for name in names:
        call = getattr(tier, name)
        required = [each for each in inspect.signature(call).parameters.values() if each.default is each.empty]
        for nonsense in (object(), None, "a"):
            call(*[nonsense] * len(required))
    # A job that makes no sense ends as a failed one: the engine waits for every job.
    job = tier_contract.TransferJob(7, [b"k" * 36], ["no row"], False, None)
    tier.submit_store(job)
    assert [(result.job_id, result.success) for result in tier.get_finished_jobs()] == [(7, False)] and not tier.has_pending_work()
    tier.shutdown()


@pytest.mark.parametrize("broken", ["kvcache.vllm.scheduler.ConnectorScheduler._load", "kvcache.vllm.scheduler.ConnectorScheduler._update_blocks",
                                    "kvcache.vllm.loading.Loader._begin"])
def test_request_goes_on_when_its_load_cannot_begin(silo, engine, monkeypatch, broken):
    """The engine waits for every load that it was promised, and computes the blocks of one that failed."""
    compute(engine(silo.endpoint))
    other = engine(silo.endpoint)

    def fail(*_):
        raise RuntimeError("broken")
    monkeypatch.setattr(broken, fail)
    request = other.add("second", PROMPT + [1])
    other.run(request)
    assert other.wrong_tokens(request) == []
    if "_update_blocks" not in broken:
        assert request.failed_blocks > 0
