"""The package as it is shipped: a wheel that builds offline, and imports without any engine."""
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1]
HOME = "https://example.com/kvcache"
ENGINES = {"kvcache.vllm": ("KvCacheConnector", "vLLM"), "kvcache.sglang": ("KvCacheHiCacheStorage", "SGLang")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with what the wheel contains."""
    for tool in ("setuptools", "wheel"):
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"python3-{tool} is not installed: the wheel is not built")
    work = tmp_path_factory.mktemp("wheel")
    project = work / "project"
    shutil.copytree(SOURCE, project, ignore=shutil.ignore_patterns("tests", "__pycache__", "*.egg-info", "build"))
    build = "import sys, setuptools.build_meta as backend; print(backend.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(work)], cwd=project, check=True, capture_output=True, timeout=120,
                   env={**os.environ, "KVCACHE_URL": HOME})
    (wheel,) = work.glob("kvcache-*.whl")
    target = work / "target"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run(target: Path, code: str) -> "subprocess.CompletedProcess[str]":
    # -I: neither this folder nor the user's packages, only what the wheel brought.
    return subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(target)!r}); {code}"],
                          capture_output=True, text=True, timeout=60)


def test_wheel_imports_and_is_typed(installed):
    result = run(installed, "import kvcache; print(kvcache.__version__, kvcache.Cache.__name__, kvcache.__file__)")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("1.0.0 Cache ") and str(installed) in result.stdout
    assert (installed / "kvcache" / "py.typed").exists()


def test_wheel_says_what_it_is(installed):
    (facts,) = installed.glob("kvcache-*.dist-info")
    metadata = (facts / "METADATA").read_text("utf-8")
    for line in ("License: MIT", "Classifier: Typing :: Typed", "Classifier: License :: OSI Approved :: MIT License",
                 "Classifier: Framework :: AsyncIO", f"Project-URL: Source, {HOME}", f"Project-URL: Issues, {HOME}/issues",
                 "Requires-Python: >=3.9", "Description-Content-Type: text/markdown"):
        assert f"\n{line}\n" in metadata, line
    (text,) = facts.rglob("LICENSE")
    assert text.read_text("utf-8") == (SOURCE.parent / "LICENSE").read_text("utf-8")
    assert not list(installed.glob("tests")), "what tests the package is not in it"


def test_core_needs_the_standard_library_only(installed):
    result = run(installed, "import kvcache, kvcache.engine_hashes, kvcache.__main__; "
                            "print([name for name in ('torch', 'numpy', 'redis', 'vllm', 'sglang') if name in sys.modules])")
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize("module", ENGINES)
def test_missing_engine_is_one_sentence(installed, module):
    name, engine = ENGINES[module]
    # Asked in that process, for tests put interfaces of the engines into this one.
    if run(installed, f"import {module.rpartition('.')[2]}").returncode == 0:
        pytest.skip(f"{engine} is installed here")
    # The module itself imports, so that it can be listed and documented.
    result = run(installed, f"import {module}; {module}.{name}")
    assert result.returncode == 1
    assert f"ImportError: kvcache: {name} needs {engine} " in result.stderr.splitlines()[-1]
