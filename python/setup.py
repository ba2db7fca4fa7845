"""Where the sources are: the remote of the clone that the wheel is built from, or KVCACHE_URL. All else is in pyproject.toml."""
import os
import re
import subprocess
from typing import Dict

from setuptools import setup


def urls() -> Dict[str, str]:
    url = os.environ.get("KVCACHE_URL", "")
    if not url:
        try:
            url = subprocess.run(["git", "config", "--get", "remote.origin.url"], cwd=os.path.dirname(os.path.abspath(__file__)),
                                 capture_output=True, text=True, timeout=10).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return {}
    shell = re.fullmatch(r"(?:ssh://)?[\w.-]+@([\w.-]+)[:/](.+)", url)
    url = f"https://{shell[1]}/{shell[2]}" if shell else url
    # A clone of a folder has no address that others could use, and a name with a password is nobody else's.
    url = re.sub(r"^https://[^/@]*@", "https://", re.sub(r"\.git/?$", "", url))
    if not url.startswith("https://"):
        return {}
    return {"Homepage": url, "Source": url, "Documentation": f"{url}/tree/HEAD/docs", "Issues": f"{url}/issues"}


setup(project_urls=urls())
