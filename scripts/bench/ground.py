"""What is measured on: simulated nodes with slices on them, a container's config, the floor."""

import json
import os
import shutil
from pathlib import Path

from measure import output, run

PROJECT = Path(__file__).resolve().parents[2]
CONFIG = PROJECT / "tests/fixtures/podman-4.3.1-config.json"


class Ground:
    """A directory in memory with everything in it."""

    def __init__(self, work, dist):
        self.work = Path(work)
        self.sdg = str(dist / "usr/bin/sdg")
        self.sim = str(dist / "usr/bin/sdg-sim")
        self.floor = str(self.work / "floor")
        # The containers are a static busybox, and nothing of what they do matters.
        self.config_file = self.work / "config.toml"
        self.config_file.write_text("allow_uncovered_images = true\n")
        self.shim = dist / "usr/lib/sdg/libsdg.so"
        output(["cc", "-O2", "-static", "-o", self.floor, str(PROJECT / "benches/floor.c")])
        (self.work / "rootfs/bin").mkdir(parents=True)
        shutil.copy("/bin/busybox", self.work / "rootfs/bin/busybox")

    def node(self, preset):
        """The options for a simulated node and a ledger of its own, empty."""
        root = self.work / preset
        if not root.exists():
            output([self.sim, "node", "--preset", preset, str(root)])
        state = self.work / f"{preset}-state"
        shutil.rmtree(state, ignore_errors=True)
        return ["--sysroot", str(root), "--state", str(state), "--config", str(self.config_file)]

    def fill(self, options, count, slice_options):
        """Makes slices until there are so many."""
        there = len(json.loads(output([self.sdg, *options, "slice", "list", "--json"])))
        for _ in range(count - there):
            run([self.sdg, *options, "slice", "create", *slice_options])

    def config(self, name, annotations):
        """A config of Podman's for a container that asks for this."""
        config = json.loads(CONFIG.read_text())
        config["root"]["path"] = str(self.work / "rootfs")
        config["annotations"] = annotations
        path = self.work / name
        path.write_text(json.dumps(config))
        return str(path)


def slices_of(options):
    """Ids in a ledger."""
    directory = Path(options[options.index("--state") + 1]) / "slices"
    return set(os.listdir(directory)) if directory.exists() else set()


def remove_new(options, before):
    """Removes slices that a measured call has made."""
    directory = Path(options[options.index("--state") + 1]) / "slices"
    for name in slices_of(options) - before:
        shutil.rmtree(directory / name)
