"""What the shim adds to the start of a program, and `sdg cdi generate`."""

from measure import Row, in_turns, run

ROUNDS = 200


def rows(ground):
    shim = str(ground.shim)
    plain = ["/bin/true"]
    preloaded = ["env", f"LD_PRELOAD={shim}", "/bin/true"]
    neutral = ["env", "SDG_NOTHING=1", "/bin/true"]
    run(plain)
    medians = in_turns(ROUNDS, {"with": lambda: run(preloaded), "without": lambda: run(neutral)})
    added = (medians["with"].wall - medians["without"].wall) * 1e3
    yield Row("libsdg.so", "loaded into env and true, added to each", added, "µs", "", None, "< 200 µs", added < 200)
    for preset, what in (("mi300x-8", "8 GPUs"), ("mi300x-8-cpx", "64 partitions")):
        options = ground.node(preset)
        directory = ground.work / "cdi"

        def generate(options=options):
            taken = run([ground.sdg, *options, "cdi", "generate", "--output", str(directory)])
            (directory / "sdg-gpu.json").unlink()
            return taken

        medians = in_turns(ROUNDS // 4, {"ours": generate, "floor": lambda: run([ground.floor])})
        wall = medians["ours"].wall
        goal = ("< 10 ms", wall < 10) if "64" in what else ("", None)
        yield Row("sdg cdi generate", what, wall, "ms", "floor", medians["floor"].wall, *goal)
        yield Row("sdg cdi generate", f"{what}: CPU time", medians["ours"].cpu, "ms", "floor", medians["floor"].cpu)
