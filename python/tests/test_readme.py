"""The programs of the README run as they stand, against a silo that KVCACHE_ENDPOINT names as it does for their reader."""
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not os.environ.get("KVCACHE_ENDPOINT"), reason="KVCACHE_ENDPOINT is not set: no silo to run them against")
@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_of_the_readme_runs_as_it_stands(number, tmp_path):
    program = PROGRAMS[number]
    for module in sorted(set(re.findall(r"^(?:import|from) (\w+)", program, re.MULTILINE))):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120,
                            env={**os.environ, "PYTHONPATH": str(README.parent)})
    assert result.returncode == 0, result.stderr
    for said in re.findall(r"# prints (.*)$", program, re.MULTILINE):
        assert said in result.stdout


def test_there_are_programs():
    assert len(PROGRAMS) >= 4
