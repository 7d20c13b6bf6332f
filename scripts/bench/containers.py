"""Containers started by Podman: without a hook, with the floor as hook, with ours, and refused."""

import json
import os
import subprocess

from ground import PROJECT, remove_new, slices_of
from measure import Row, in_turns, run

ROUNDS = 15
ASKS = ["--annotation", "sdg.memory=1Gi", "--annotation", "sdg.compute=20m"]
TOO_MUCH = ["--annotation", "sdg.memory=4000Gi"]


def rows(ground):
    for runtime in ("crun", "runc"):
        if works(ground, runtime):
            yield from of_runtime(ground, runtime)
        else:
            print(f"podman with {runtime} cannot start a container here: left out")


def of_runtime(ground, runtime):
    options = ground.node("mi300x-8")
    empty, floor, ours = (ground.work / f"hooks-{name}" for name in ("none", "floor", "ours"))
    empty.mkdir(exist_ok=True)
    write_hook(floor, ground.floor, ["floor"])
    write_hook(ours, ground.sdg, ["sdg", *options, "hook", "precreate"])

    def with_slice():
        taken = podman(ground, runtime, ours, ASKS)
        remove_new(options, set())
        return taken

    ways = {
        "no hook": lambda: podman(ground, runtime, empty, ASKS),
        "floor": lambda: podman(ground, runtime, floor, ASKS),
        "with a slice": with_slice,
        "refused": lambda: podman(ground, runtime, ours, TOO_MUCH, may_fail=True),
    }
    with_slice()
    medians = in_turns(ROUNDS, ways)
    group, base = f"podman run, {runtime}", medians["floor"].wall
    yield Row(group, "no hook", medians["no hook"].wall, "ms", "floor hook", base)
    added = medians["with a slice"].wall
    yield Row(group, "a slice", added, "ms", "floor hook", base, "within 2 ms of the floor", added - base < 2)
    yield Row(group, "a slice, CPU time", medians["with a slice"].cpu, "ms", "floor hook", medians["floor"].cpu)
    yield Row(group, "refused", medians["refused"].wall, "ms", "floor hook", base)
    assert not slices_of(options)


def works(ground, runtime):
    nothing = ground.work / "hooks-nothing"
    nothing.mkdir(exist_ok=True)
    try:
        podman(ground, runtime, nothing, [])
    except RuntimeError:
        return False
    return True


def podman(ground, runtime, hooks, arguments, **options):
    script = f'. "{PROJECT}/scripts/podman.bash"; podman_run "$@"'
    container = ["--rm", *arguments, "--rootfs", f"{ground.work}/rootfs:O", "/bin/busybox", "true"]
    return run(["bash", "-c", script, "podman", runtime, str(hooks), *container], **options)


def write_hook(directory, program, arguments):
    directory.mkdir(exist_ok=True)
    hook = json.loads((PROJECT / "hooks.d/podman/sdg.json").read_text())
    hook["hook"] |= {"path": program, "args": arguments}
    (directory / "hook.json").write_text(json.dumps(hook))
