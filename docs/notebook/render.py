#!/usr/bin/env python3
"""Turns the programs of the notebook, with what they print and draw, into notebooks and pages.

    python3 docs/notebook/render.py            runs all parts and writes partN.ipynb and, of the C# ones, partN.md
    python3 docs/notebook/render.py part3.cs   one of them
    python3 docs/notebook/render.py --text     runs nothing: takes prose and code anew, and the outputs that are there
    python3 docs/notebook/render.py --check    writes nothing: says which files are not what --text would write; exit code 1

A program is a list of cells. A line `// %% [markdown]` (in Python `# %% [markdown]`) begins one of prose, whose lines are comments;
`// %%` begins one of code. Standard library only; pages are the same for the same outputs.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {".cs": ROOT / "docs" / "notebook", ".py": ROOT / "python" / "notebooks"}
MARK = "\x1e"  # is printed where a cell begins
PICTURE = re.compile(r"^Picture: (.*) \((.*\.svg)\)$")
SIGNS = {".cs": "//", ".py": "#"}
KERNELS = {
    ".cs": {"kernelspec": {"display_name": ".NET (C#)", "language": "C#", "name": ".net-csharp"}, "language_info": {"name": "C#"}},
    ".py": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}},
}


def programs():
    return [*sorted(FOLDERS[".cs"].glob("part?.cs")), *sorted(FOLDERS[".py"].glob("part?.py"))]


def cells_of(program):
    """Pairs of kind (markdown or code) and text."""
    sign, cells = SIGNS[program.suffix], []
    for line in program.read_text("utf-8").splitlines():
        if line in (f"{sign} %% [markdown]", f"{sign} %%"):
            cells.append(("markdown" if line.endswith("]") else "code", []))
            continue
        kind, lines = cells[-1]
        if kind == "markdown":
            if line and not line.startswith(sign):
                raise SystemExit(f"{program.name}: a line of prose is no comment: {line}")
            line = line[len(sign):].removeprefix(" ")
        lines.append(line)
    return [(kind, "\n".join(lines).strip("\n")) for kind, lines in cells]


def outputs_of(program):
    """What each cell of code prints, in order. Pictures go to the folder beside the program."""
    sign, number = SIGNS[program.suffix], 0
    lines = []
    for line in program.read_text("utf-8").splitlines():
        lines.append(line)
        if line == f"{sign} %%":
            number += 1
            if number > 1:  # before the first one there may be directives alone
                lines.append(r'Console.WriteLine("\u001e");' if program.suffix == ".cs" else r'print("\x1e", flush=True)')
    marked = program.with_name(f"{program.stem}_marked{program.suffix}")
    marked.write_text("\n".join(lines) + "\n", "utf-8")
    variables = {**os.environ, "KVCACHE_PICTURES": str(program.parent / "pictures")}
    try:
        if program.suffix == ".cs":
            variables["DOTNET_TieredPGO"] = "0"
            command = ["dotnet", "run", "-c", "Release", str(marked)]
        else:
            variables["PYTHONPATH"] = str(ROOT / "python")
            command = ["/usr/bin/python3", "-B", str(marked)]
        result = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=600)
    finally:
        marked.unlink()
    if result.returncode or "SKIPPED" in result.stdout:
        raise SystemExit(f"{program.name} ended with code {result.returncode}:\n{result.stdout}\n{result.stderr}")
    return [text.strip("\n") for text in result.stdout.split(f"{MARK}\n")]


def written_outputs(program):
    """The outputs in the notebook that is there."""
    path = program.with_suffix(".ipynb")
    if not path.exists():
        return []
    found = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            found.append("\n".join("".join(output.get("text") or output["data"]["text/plain"]).strip("\n") for output in cell["outputs"]))
    return found


def lines_of(text):
    return text.splitlines(keepends=True)


def shown(program, text):
    """Outputs of a cell: runs of lines, and pictures."""
    parts, run = [], []
    for line in text.splitlines():
        match = PICTURE.match(line)
        if match and run:
            parts.append((None, "\n".join(run)))
            run = []
        if match:
            parts.append((program.parent / "pictures" / match[2], line))
        else:
            run.append(line)
    return [*parts, *([(None, "\n".join(run))] if run else [])]


def notebook(program, outputs):
    cells, left = [], list(outputs)
    for number, (kind, text) in enumerate(cells_of(program)):
        cell = {"cell_type": kind, "id": f"{program.stem}-{number}", "metadata": {}, "source": lines_of(text)}
        if kind == "code":
            cell["execution_count"] = len([c for c in cells if c["cell_type"] == "code"]) + 1
            cell["outputs"] = []
            for picture, said in shown(program, left.pop(0) if left else ""):
                cell["outputs"].append({"name": "stdout", "output_type": "stream", "text": lines_of(said + "\n")} if picture is None else {
                    "data": {"image/svg+xml": lines_of(picture.read_text("utf-8")), "text/plain": [said]}, "metadata": {},
                    "output_type": "display_data"})
        cells.append(cell)
    content = {"cells": cells, "metadata": KERNELS[program.suffix], "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def page(program, outputs):
    left = list(outputs)
    parts = [f"<!-- Made by render.py of {program.name}. Blocks of this page are run by NotebookTests. -->"]
    for kind, text in cells_of(program):
        if kind == "markdown":
            parts.append(text)
            continue
        parts.append(f"```csharp\n{text}\n```")
        for picture, said in shown(program, left.pop(0) if left else ""):
            parts.append(f"```text\n{said}\n```" if picture is None else f"![{PICTURE.match(said)[1]}](pictures/{picture.name})")
    return "\n\n".join(parts) + "\n"


def files_of(program, outputs):
    files = {program.with_suffix(".ipynb"): notebook(program, outputs)}
    if program.suffix == ".cs":
        files[program.with_suffix(".md")] = page(program, outputs)
    return files


def stale():
    """Files that are not what their program makes of them."""
    return [
        path for program in programs() for path, text in files_of(program, written_outputs(program)).items()
        if not path.exists() or path.read_text("utf-8") != text
    ]


class Silo:
    """A silo for the Python programs, which look for one at KVCACHE_ENDPOINT."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        ready = Path(self.folder.name) / "ready.json"
        self.process = subprocess.Popen(
            ["dotnet", str(ROOT / "src/Silo/bin/Release/net10.0/KvCache.Silo.dll"), "--arena", "64MiB",
             "--tcp", "127.0.0.1:0", "--silo-port", "0", "--http", "http://127.0.0.1:0", "--ready-file", str(ready)], stdout=subprocess.DEVNULL)
        while not ready.exists():
            if self.process.poll() is not None:
                raise SystemExit("The silo did not start; build src/Silo first (dotnet build -c Release).")
            time.sleep(0.05)
        os.environ["KVCACHE_ENDPOINT"] = json.loads(ready.read_text("utf-8"))["endpoints"][0]

    def __exit__(self, *_):
        os.environ.pop("KVCACHE_ENDPOINT")
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


def main(arguments):
    if arguments == ["--check"]:
        wrong = stale()
        for path in wrong:
            print(f"{path.relative_to(ROOT)} is not what render.py makes of its program; run render.py --text", file=sys.stderr)
        return 1 if wrong else 0
    names = [argument for argument in arguments if argument != "--text"]
    for program in programs():
        name = str(program.relative_to(ROOT)) if program.suffix == ".py" else program.name
        if names and name not in names and str(program.relative_to(ROOT)) not in names:
            continue
        if "--text" in arguments:
            outputs = written_outputs(program)
        elif program.suffix == ".py" and "KVCACHE_ENDPOINT" not in os.environ:
            with Silo():
                outputs = outputs_of(program)
        else:
            outputs = outputs_of(program)
        for path, text in files_of(program, outputs).items():
            path.write_text(text, "utf-8")
            print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
