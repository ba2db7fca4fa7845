"""The settings of LMCache are those of the guide, which people copy."""
import re
from pathlib import Path

import pytest

from kvcache.lmcache import settings

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "engines" / "lmcache.md"


def test_settings_are_those_of_the_guide():
    yaml = re.search(r"```yaml\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL).group(1)
    rows = [line.split(": ", 1) for line in yaml.splitlines()]
    guide = {name: value.split("  #")[0].strip().strip('"') for name, value in rows}
    assert guide == {name: str(value).lower() if isinstance(value, bool) else str(value)
                     for name, value in settings("127.0.0.1").items()}


def test_protocols():
    assert settings("silo", "redis")["remote_url"] == "redis://silo:7430"
    assert settings("silo", port=1)["remote_url"] == "lm://silo:1"
    with pytest.raises(ValueError, match="lm or redis"):
        settings("silo", "ftp")
