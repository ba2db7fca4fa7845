#!/usr/bin/env python3
"""Draws the pictures of docs as SVG: python3 docs/pictures/draw.py. Standard library only."""
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent
STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1b1f24; }
  .small { font-size: 12px; fill: #57606a; }
  .box { fill: #f6f8fa; stroke: #57606a; }
  .had { fill: #b6e3c5; stroke: #2da44e; }
  .new { fill: #ffd8b5; stroke: #d9730d; }
  .paper { fill: #fff; }
  .line { stroke: #57606a; fill: none; marker-end: url(#tip); }
"""


class Picture:
    def __init__(self, name, title, width, height):
        self.path = FOLDER / f"{name}.svg"
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(title)}</title><style>{STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            '<path d="M0 0 8 4 0 8z" fill="#57606a"/></marker></defs>',
            f'<rect class="paper" width="{width}" height="{height}"/>',
        ]

    def box(self, x, y, width, height, text="", kind="box", small=""):
        self.parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>')
        middle = x + width / 2
        if text:
            self.text(middle, y + height / 2 + (0 if small else 5), text, "middle")
        if small:
            self.text(middle, y + height / 2 + 17, small, "middle", "small")

    def text(self, x, y, text, anchor="start", kind=""):
        self.parts.append(f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>')

    def arrow(self, x1, y1, x2, y2, text=""):
        self.parts.append(f'<path class="line" d="M{x1} {y1} {x2} {y2}"/>')
        if text:
            self.text((x1 + x2) / 2, min(y1, y2) + abs(y1 - y2) / 2 - 6, text, "middle", "small")

    def write(self):
        self.path.write_text("\n".join([*self.parts, "</svg>", ""]), encoding="utf-8")


def same_beginning():
    picture = Picture("same-beginning", "Three requests with the same beginning", 760, 230)
    for column, (title, cached) in enumerate([("without a cache", False), ("with a cache", True)]):
        left = 20 + column * 380
        picture.text(left, 24, title)
        for row, (beginning, rest) in enumerate([(230, 60), (230, 90), (230, 40)]):
            top = 40 + row * 50
            picture.box(left, top, beginning, 36, "the same 2,000 tokens", "had" if cached and row else "new")
            picture.box(left + beginning, top, rest, 36, "new", "new")
    picture.box(20, 196, 16, 16, kind="new")
    picture.text(44, 209, "computed")
    picture.box(140, 196, 16, 16, kind="had")
    picture.text(164, 209, "loaded")
    picture.write()


def tiers():
    picture = Picture("tiers", "Three layers of memory on two nodes", 760, 300)
    for node in range(2):
        left = 20 + node * 370
        picture.box(left, 10, 350, 190)
        picture.text(left + 12, 32, f"node {node + 1}")
        picture.box(left + 20, 45, 130, 55, "GPU", "new", "engine's own blocks")
        picture.box(left + 200, 45, 130, 55, "engine", "box", "vLLM, .NET, …")
        picture.box(left + 20, 130, 310, 55, "silo: arena in host memory", "had", "shared memory, Unix socket")
        picture.arrow(left + 265, 100, left + 265, 130)
    picture.arrow(350, 157, 410, 157)
    picture.arrow(410, 167, 350, 167)
    picture.box(220, 235, 320, 50, "Redis", "box", "members of the cluster, persisted blocks")
    picture.arrow(195, 200, 320, 235)
    picture.arrow(565, 200, 440, 235)
    picture.write()


def chain():
    picture = Picture("chain", "Names of blocks", 760, 190)
    for index, kind in enumerate(["had", "had", "new"]):
        left = 20 + index * 250
        picture.box(left, 20, 220, 40, f"tokens {index * 256} to {index * 256 + 255}", kind)
        picture.box(left, 110, 220, 50, f"name {index + 1}", "box", "hash of " + (
            "these tokens" if index == 0 else f"name {index} and these tokens"))
        picture.arrow(left + 110, 60, left + 110, 110)
        if index:
            picture.arrow(left - 30, 135, left, 135)
    picture.write()


def steps(name, title, actors, moves):
    width = 200 * len(actors) + 20
    picture = Picture(name, title, width, 70 + 46 * len(moves))
    place = {}
    for index, actor in enumerate(actors):
        left = 20 + index * 200
        place[actor] = left + 85
        picture.box(left, 10, 170, 36, actor)
        picture.parts.append(f'<path d="M{left + 85} 46V{60 + 46 * len(moves)}" stroke="#d0d7de"/>')
    for index, (source, target, text) in enumerate(moves):
        y = 86 + index * 46
        if source == target:
            picture.text(place[source] + 10, y, text, kind="small")
        else:
            picture.arrow(place[source], y, place[target], y, text)
    picture.write()


def benchmarks():
    """The figures are those of the tables of docs/benchmarks.md."""
    panels = [
        ("time to first token, 2,048 cached and 64 new tokens, s", [("without", 25.19), ("with a silo", 1.09)]),
        ("get of 32 MiB, GiB/s", [("Redis, TCP", 3.60), ("silo, TCP", 5.32), ("silo, Unix socket", 6.51), ("silo, its memory", 18.8)]),
        ("match of 128,000 tokens among a million blocks, µs", [("Redis' EXISTS", 315), ("silo", 101)]),
        ("hit rate with the same memory, mixed traffic", [("none", 0), ("in each process", 0.504), ("Redis", 0.609), ("silo", 0.706)]),
    ]
    picture = Picture("benchmarks", "Four benchmarks", 760, 360)
    for index, (title, bars) in enumerate(panels):
        left, top = 20 + index % 2 * 380, 24 + index // 2 * 175
        picture.text(left, top, title, kind="small")
        most = max(value for _, value in bars)
        for row, (name, value) in enumerate(bars):
            y = top + 14 + row * 32
            picture.text(left, y + 17, name, kind="small")
            picture.box(left + 115, y, max(170 * value / most, 1), 24, kind="had" if "silo" in name else "new")
            picture.text(left + 125 + 170 * value / most, y + 17, f"{value:g}", kind="small")
    picture.write()


def main():
    benchmarks()
    same_beginning()
    tiers()
    chain()
    steps("hit", "A hit", ["engine", "its silo", "another silo"], [
        ("engine", "its silo", "match: 512 names"),
        ("its silo", "its silo", "looks into its own table; leases"),
        ("its silo", "engine", "400 blocks, where they are"),
        ("engine", "its silo", "get"),
        ("engine", "another silo", "get, at the same time"),
        ("its silo", "engine", "bytes out of the arena"),
        ("another silo", "engine", "bytes"),
        ("engine", "engine", "verifies each layer"),
    ])
    steps("put", "A put", ["engine", "its silo", "grain", "Redis"], [
        ("engine", "its silo", "begin: names, sizes"),
        ("its silo", "grain", "may this writer?"),
        ("engine", "its silo", "bytes, meanwhile"),
        ("its silo", "its silo", "verifies; seals: visible"),
        ("its silo", "engine", "stored"),
        ("its silo", "Redis", "persisted, behind the answer"),
    ])


if __name__ == "__main__":
    main()
