"""The benchmarks that are Rust programs: their lines, read."""

import json
import os
import re

from ground import PROJECT
from measure import Row, output

# engine_doors: "WHAT: 12.3 ms, BASELINE 10.1 ms: +2.2 ms, ratio 1.2"
DOOR = re.compile(r"^(.+): ([\d.]+) ms, (.+) ([\d.]+) ms: ([+-][\d.]+) ms, ratio")
# shim: "WHAT: 70.1 ns through libc, +1.50 ns through libsdg.so, ratio 1.02"
CALL = re.compile(r"^(.+): ([\d.]+) ns through libc, ([+-][\d.]+) ns through libsdg\.so")
GOALS = {"passed on": 3, "ALLOC and FREE of": 300, "AVAILABLE_MEMORY": 100}


def rows(ground):
    environment = os.environ | {"SDG_PROGRAM": ground.sdg}
    bench = ["cargo", "bench", "--locked", "--quiet"]
    text = output([*bench, "-p", "sdg", "--bench", "engine_doors"], cwd=PROJECT, env=environment)
    for what, ours, baseline, alone, added in matches(DOOR, text):
        goal = ("+ < 5 ms", float(added) < 5) if baseline == "runc create" and "sdg-runtime" in what else ("", None)
        yield Row("runc create", what, float(ours), "ms", baseline, float(alone), *goal)
    text = output([*bench, "-p", "sdg-shim", "--bench", "shim"], cwd=PROJECT)
    for what, bare, added in matches(CALL, text):
        through = float(bare) + float(added)
        yield Row("libsdg.so", what, through, "ns", "libc", float(bare), *goal_of(what, float(added)))
    output([*bench, "-p", "sdg", "--bench", "placement"], cwd=PROJECT)
    yield from criterion("placement", "64 GPUs, 575 slices")
    yield from criterion("placement", "rectangle of 100m on mi300x", "baseline: naive scan")


def criterion(group, directory, baseline=""):
    """A group of criterion's, from what it leaves in target/criterion; times in microseconds."""
    found = {}
    for path in (PROJECT / "target/criterion").glob("*/*/new/benchmark.json"):
        bench = json.loads(path.read_text())
        estimates = json.loads((path.parent / "estimates.json").read_text())
        if bench["group_id"] == directory:
            found[bench["function_id"]] = estimates["median"]["point_estimate"] / 1e3
    beside = found.pop(baseline, None)
    for name, time in sorted(found.items()):
        yield Row(group, f"{directory}: {name}", time, "µs", baseline, beside)


def matches(pattern, text):
    return [found.groups() for line in text.splitlines() if (found := pattern.match(line))]


def goal_of(what, added):
    for words, bound in GOALS.items():
        if words in what:
            return f"+ < {bound} ns", added < bound
    return "", None
