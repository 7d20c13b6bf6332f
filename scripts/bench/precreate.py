"""`sdg hook precreate` beside the floor: wall time, instructions, system calls, page faults, memory; placements a second."""

import re
import subprocess
import threading
import time

from ground import remove_new, slices_of
from measure import Row, in_turns, run

ROUNDS = 40
ASKS = {"sdg.memory": "512Mi", "sdg.compute": "10m"}
GUARANTEED = ["--memory", "256Mi", "--compute", "50m"]
BEST_EFFORT = ["--memory", "256Mi"]
# Preset, GPUs, how many slices, what each has: a rectangle of its own as long as there are enough of them.
GROUNDS = [
    ("mi300x", 1, [(0, GUARANTEED), (64, BEST_EFFORT), (576, BEST_EFFORT)]),
    ("mi300x-8", 8, [(0, GUARANTEED), (64, GUARANTEED), (576, BEST_EFFORT)]),
    ("mi300x-8-cpx", 64, [(0, GUARANTEED), (64, GUARANTEED), (576, GUARANTEED)]),
]


def rows(ground):
    config = ground.config("asks.json", ASKS)
    group = "sdg hook precreate"
    for preset, gpus, counts in GROUNDS:
        cpu = {}
        for count, slice_options in counts:
            options = ground.node(preset)
            ground.fill(options, count, slice_options)
            hook, floor = measured(ground, options, config)
            cpu[count] = hook.cpu
            what = f"{gpus} GPU{'s' * (gpus > 1)}, {count} slices"
            if slice_options is BEST_EFFORT:
                what += " (best effort)"
            main_goal = (gpus, count) == (8, 64)
            wall_goal = judged(main_goal, hook.wall, 1.5, "ms")
            yield Row(group, f"{what}: wall", hook.wall, "ms", "floor", floor.wall, *wall_goal)
            yield Row(group, f"{what}: CPU time", hook.cpu, "ms", "floor", floor.cpu)
            peak, least = peak_of(ground, options, config), peak_of_floor(ground, options, config)
            yield Row(group, f"{what}: peak memory", peak, "MiB", "floor", least, *judged(main_goal, peak, 4, "MiB"))
            yield Row(group, f"{what}: page faults", hook.faults, "", "floor", floor.faults)
            yield Row(group, f"{what}: instructions", instructions(ground, options, config) / 1e6, "million")
            yield Row(group, f"{what}: system calls", system_calls(ground, options, config), "")
        if gpus == 64:
            slope = (cpu[576] - cpu[64]) / (576 - 64) * 1e3
            what = f"{gpus} GPUs, CPU time of each slice from 64 to 576"
            yield Row(group, what, slope, "µs", "", None, *judged(True, slope, 2, "µs"))
    yield from concurrent(ground, config)


def judged(is_goal, value, bound, unit):
    return (f"< {bound} {unit}", value < bound) if is_goal else ("", None)


def call(ground, options):
    return [ground.sdg, "hook", "precreate", *options]


def measured(ground, options, config):
    before = slices_of(options)

    def hook():
        taken = run(call(ground, options), config)
        remove_new(options, before)
        return taken

    hook()
    medians = in_turns(ROUNDS, {"floor": lambda: run([ground.floor], config), "hook": hook})
    return medians["hook"], medians["floor"]


def peak_of(ground, options, config):
    """Mebibytes. A process begins with its parent's peak, so the parent has to be a small one."""
    return int(under(["time", "-f", "%M"], call(ground, options), options, config)) / 1024


def peak_of_floor(ground, options, config):
    return int(under(["time", "-f", "%M"], [ground.floor], options, config)) / 1024


def under(tool, command, options, config):
    """Runs a command under a tool; what the tool says on stderr."""
    before = slices_of(options)
    with open(config, "rb") as stdin:
        done = subprocess.run([*tool, *command], stdin=stdin, capture_output=True, check=True)
    remove_new(options, before)
    return done.stderr.decode()


def instructions(ground, options, config):
    tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    return int(re.search(r"Collected : (\d+)", under(tool, call(ground, options), options, config))[1])


def system_calls(ground, options, config):
    lines = under(["strace", "-c"], call(ground, options), options, config).splitlines()
    return int(next(line for line in lines if line.endswith("total")).split()[3])


def concurrent(ground, config):
    """64 placements by 1, 16 and 64 callers at once, beside as many calls of the floor."""
    for callers in (1, 16, 64):
        options = ground.node("mi300x-8")
        ours = per_second(callers, lambda: run(call(ground, options), config))
        floor = per_second(callers, lambda: run([ground.floor], config))
        yield Row("placements", f"{callers} at once", ours, "per second", "floor", floor)


def per_second(callers, way, total=64):
    threads = [
        threading.Thread(target=lambda: [way() for _ in range(total // callers)]) for _ in range(callers)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return total / (time.perf_counter() - started)
