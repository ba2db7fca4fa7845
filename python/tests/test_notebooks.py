"""The programs of python/notebooks print what their notebooks show, and all notebooks are what their programs make of them."""
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[2]
PARTS = sorted((ROOT / "python" / "notebooks").glob("part?.py"))


def load_render():
    spec = importlib.util.spec_from_file_location("render", ROOT / "docs" / "notebook" / "render.py")
    render = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(render)
    return render


def needs(part, stack):
    """Variables of a part, or a reason to skip it."""
    text = part.read_text("utf-8")
    for module in sorted(set(re.findall(r"^import (numpy|redis)", text, re.MULTILINE))):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    if "KVCACHE_ENDPOINT" in text and not os.environ.get("KVCACHE_ENDPOINT"):
        pytest.skip("KVCACHE_ENDPOINT is not set: no silo to run it against")
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
    if "REDIS_URL" in text:
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed")
        variables["REDIS_URL"] = stack.enter_context(RedisServer()).url
    return variables


def comparable(text):
    """Lines without figures that vary, which have the sign ≈ before them."""
    return [re.sub(" +", " ", re.sub(r"≈ ?-?[\d.,]+", "≈ #", line)).strip() for line in text.strip().splitlines()]


def test_notebooks_and_pages_are_what_their_programs_make_of_them():
    assert [str(path.relative_to(ROOT)) for path in load_render().stale()] == []


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.stem)
def test_a_part_prints_what_its_notebook_shows(part):
    with ExitStack() as stack:
        result = subprocess.run([sys.executable, str(part)], capture_output=True, text=True, timeout=120, env=needs(part, stack))
    assert result.returncode == 0, result.stderr
    cells = json.loads(part.with_suffix(".ipynb").read_text("utf-8"))["cells"]
    shown = "".join("".join(output["text"]) for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"])
    assert comparable(result.stdout) == comparable(shown)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.stem)
def test_a_notebook_runs_in_jupyter(part, tmp_path):
    if importlib.util.find_spec("nbconvert") is None or importlib.util.find_spec("ipykernel") is None:
        pytest.skip("nbconvert or ipykernel is not installed (on Debian: python3-nbconvert, python3-ipykernel)")
    notebook = part.with_suffix(".ipynb")
    with ExitStack() as stack:
        variables = needs(part, stack)
        variables["PYTHONPATH"] += os.pathsep + str(part.parent)
        subprocess.run(
            [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", str(notebook), "--output-dir", str(tmp_path)],
            capture_output=True, check=True, timeout=300, env=variables)
    cells = json.loads((tmp_path / notebook.name).read_text("utf-8"))["cells"]
    assert not [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"] if output["output_type"] == "error"]


def test_there_are_parts():
    assert len(PARTS) == 3
