"""What the programs here print: one JSON object a line."""

import json
import signal


def step(name, /, **fields):
    print(json.dumps({"step": name, **fields}), flush=True)


# Before a library starts threads, which would take them; a container's first process ignores them otherwise.
SIGNALS = {signal.SIGTERM, signal.SIGUSR1}


def block_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def next_signal():
    return signal.sigwait(SIGNALS)
