"""Processes measured: wall time, memory, page faults; several ways in turns, so that a busy machine is busy for all."""

import os
import statistics
import subprocess
import time
from dataclasses import asdict, dataclass


@dataclass
class Row:
    """A line of the table: what was measured and what it stands beside, taken in the same run."""

    group: str
    name: str
    value: float
    unit: str
    baseline: str = ""
    baseline_value: float | None = None
    goal: str = ""
    met: bool | None = None

    @property
    def ratio(self):
        return self.value / self.baseline_value if self.baseline_value else None

    def as_json(self):
        return {**asdict(self), "ratio": self.ratio}


@dataclass
class Run:
    """One process that has ended. Times in milliseconds, memory in KiB."""

    wall: float
    cpu: float
    peak: float
    faults: int


def run(command, stdin=os.devnull, may_fail=False):
    """Runs a command to its end; its output goes nowhere."""
    with open(stdin, "rb") as source, open(os.devnull, "wb") as nowhere:
        actions = [
            (os.POSIX_SPAWN_DUP2, source.fileno(), 0),
            (os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, nowhere.fileno(), 2),
        ]
        started = time.perf_counter()
        child = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
        _, status, used = os.wait4(child, 0)
        wall = (time.perf_counter() - started) * 1e3
    code = os.waitstatus_to_exitcode(status)
    if code != 0 and not may_fail:
        raise RuntimeError(f"exit code {code}: {' '.join(command)}")
    return Run(wall, (used.ru_utime + used.ru_stime) * 1e3, used.ru_maxrss, used.ru_minflt)


def in_turns(rounds, ways):
    """Calls each way in turn, `rounds` times; a way gives a Run. Medians by the ways' names."""
    runs = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            runs[name].append(way())
    return {name: median(taken) for name, taken in runs.items()}


def median(runs):
    middle = lambda field: statistics.median(getattr(one, field) for one in runs)
    return Run(middle("wall"), middle("cpu"), max(one.peak for one in runs), int(middle("faults")))


def output(command, **options):
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout
