"""A program: a simulated engine that saves a long prompt until it is killed. It says on its output when it is ready."""
import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from harness import vllm_contract  # noqa: E402
from harness.vllm_contract import Engine, GroupPlan  # noqa: E402

vllm_contract.install()

#: Two hundred blocks of 8 tokens, in a hundred steps: that takes longer than a test needs to notice the first blocks.
PLAN = GroupPlan("B2NHD", layers=2, block_size=4)
TOKENS = [3 * i % 5000 for i in range(8 * 200)]


def main(endpoint: str, salt: str) -> None:
    engine = Engine({"endpoints": endpoint, "tokens_per_block": 8, "salt": salt, "staging_bytes": 64 << 10, "save_threads": 2},
                    [PLAN], blocks=410, budget=16)
    request = engine.add("request", TOKENS)
    print(os.getpid(), flush=True)
    engine.run(request)
    engine.finish(request)
    engine.settle()
    print("saved everything", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
