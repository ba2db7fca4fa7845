"""``python -m kvcache``."""
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.fake_silo import FakeSilo
from harness.silo_fixtures import ENDPOINT
from kvcache.__main__ import MISS, OK, WRONG, main

SOURCE = Path(__file__).resolve().parents[1]


@pytest.fixture(params=["fake", "real"])
def endpoint(request, monkeypatch):
    monkeypatch.delenv("KVCACHE_ENDPOINT", raising=False)
    if request.param == "real":
        if not ENDPOINT:
            pytest.skip("KVCACHE_ENDPOINT is not set: no silo to test against")
        yield ENDPOINT
        return
    monkeypatch.delenv("KVCACHE_TENANT", raising=False)
    monkeypatch.delenv("KVCACHE_SECRET", raising=False)
    with FakeSilo() as silo:
        yield silo.endpoint


def test_bytes_go_there_and_come_back(endpoint, tmp_path, capsysbinary, monkeypatch):
    source, target, name = tmp_path / "in", tmp_path / "out", os.urandom(8).hex()
    source.write_bytes(bytes(range(256)) * 20)
    assert main(["get", name, str(target), "--endpoint", endpoint]) == MISS and not target.exists()
    assert main(["put", name, str(source), "--endpoint", endpoint, "--ttl", "600"]) == OK
    assert main(["get", name, str(target), "--endpoint", endpoint]) == OK
    assert target.read_bytes() == source.read_bytes()
    assert main(["get", name, "--endpoint", endpoint, "--layer", "1"]) == MISS
    monkeypatch.setenv("KVCACHE_ENDPOINT", endpoint)
    capsysbinary.readouterr()
    assert main(["get", name]) == OK and capsysbinary.readouterr().out == source.read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe")))
    assert main(["put", name, "--model", "other"]) == OK
    capsysbinary.readouterr()
    assert main(["get", name, "--model", "other"]) == OK and capsysbinary.readouterr().out == b"from a pipe"


def test_status_tells_of_each_silo(endpoint, capsys):
    assert main(["status", "--endpoint", endpoint]) == OK
    assert f"{endpoint}: answers in " in capsys.readouterr().out
    assert main(["status", "--json", "--endpoint", endpoint, "--endpoint", "tcp:127.0.0.1:1"]) == MISS
    there, away = json.loads(capsys.readouterr().out)
    assert there["answers"] and isinstance(there["stat"], dict) and not away["answers"] and "127.0.0.1:1" in away["failure"]
    assert main(["status", "--endpoint", "tcp:127.0.0.1:1"]) == MISS and "no answer: " in capsys.readouterr().out


def test_what_cannot_be_is_told(tmp_path, capsys):
    for arguments, message in ((["status", "--endpoint", "nowhere"], "'nowhere' is neither tcp:host:port"),
                               (["status", "--timeout", "-1"], "--timeout: seconds, more than 0"),
                               (["status", "--secret-file", str(tmp_path / "none")], "secret_file: "),
                               (["get", "a", "--layer", "-1"], "layer: a whole number from 0 on"),
                               (["put", "a", str(tmp_path / "none")], "No such file")):
        assert main(arguments) == WRONG
        assert message in capsys.readouterr().err
    with FakeSilo(secret=b"right") as silo:
        assert main(["get", "a", "--endpoint", silo.endpoint]) == MISS
        assert f"tenant default: {silo.endpoint} refused it" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    data = tmp_path / "data"
    data.write_bytes(bytes(1 << 20))  # more than a pipe holds
    with FakeSilo() as silo:
        assert main(["put", "a", str(data), "--endpoint", silo.endpoint]) == OK
        with subprocess.Popen([sys.executable, "-m", "kvcache", "get", "a", "--endpoint", silo.endpoint], cwd=SOURCE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
            assert program.stdout is not None and program.stderr is not None
            assert program.stdout.read(1) == b"\0"
            program.stdout.close()
            assert program.wait(60) == 0 and program.stderr.read() == b""


def test_it_is_a_program_of_the_package():
    result = subprocess.run([sys.executable, "-m", "kvcache", "--version"], cwd=SOURCE, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and result.stdout.startswith("kvcache ")
