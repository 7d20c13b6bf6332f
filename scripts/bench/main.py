"""All benchmarks: main.py DIST OUTPUT_DIRECTORY [PART…]
Prints a table; writes bench.json and bench.svg. Parts: precreate, containers, loading, cargo; all without any."""

import os
import platform
import sys
import tempfile
from pathlib import Path

import cargo
import containers
import loading
import precreate
import table
from ground import Ground

PARTS = {"precreate": precreate, "containers": containers, "loading": loading, "cargo": cargo}


def machine():
    """What it ran on, and how busy that was."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].split(": ", 1)[1] if models else platform.machine()
    load = os.getloadavg()[1]
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}, load {load:.1f}"


def main():
    dist, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    parts = sys.argv[3:] or list(PARTS)
    begun = machine()
    rows = []
    # A ledger is in memory; so is what is measured.
    with tempfile.TemporaryDirectory(prefix="sdg-bench.", dir="/dev/shm") as work:
        ground = Ground(work, dist)
        for part in parts:
            print(f"measuring: {part}", file=sys.stderr, flush=True)
            rows.extend(PARTS[part].rows(ground))
    target.mkdir(parents=True, exist_ok=True)
    (target / "bench.json").write_text(table.json_of(begun, rows))
    (target / "bench.svg").write_text(table.svg_of(begun, rows))
    print(begun, table.text_of(rows), f"{target}/bench.json, {target}/bench.svg", sep="\n\n")


main()
