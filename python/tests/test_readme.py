"""The programs of the README run as they stand, against a silo that KVCACHE_ENDPOINT names as it does for their reader."""
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.redis_server import RedisServer

README = Path(__file__).resolve().parents[1] / "README.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not os.environ.get("KVCACHE_ENDPOINT"), reason="KVCACHE_ENDPOINT is not set: no silo to run them against")
@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_of_the_readme_runs_as_it_stands(number, tmp_path):
    program = PROGRAMS[number]
    needs_redis = "RedisCache" in program
    for module in sorted({*re.findall(r"^(?:import|from) (\w+)", program, re.MULTILINE), *(["redis"] if needs_redis else [])}):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    with ExitStack() as stack:
        variables = {"PYTHONPATH": str(README.parent)}
        if needs_redis:
            if shutil.which("redis-server") is None:
                pytest.skip("redis-server is not installed")
            variables["REDIS_URL"] = stack.enter_context(RedisServer()).url
        result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120,
                                env={**os.environ, **variables})
    assert result.returncode == 0, result.stderr
    for said in re.findall(r"# prints (.*)$", program, re.MULTILINE):
        assert said in result.stdout


def test_there_are_programs():
    assert len(PROGRAMS) >= 4
