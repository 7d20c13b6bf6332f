"""Copies there and back, runs kernels, and allocates until the memory is used up, through tinygrad's own driver."""

import json
import os
import sys

os.environ.update(DEV="KFD+AMD", CACHELEVEL="0")
sys.path.insert(0, "/tinygrad")

from tinygrad import GlobalCounters, Tensor  # noqa: E402
from tinygrad.device import Buffer, Device  # noqa: E402
from tinygrad.dtype import dtypes  # noqa: E402


def step(name, **fields):
    print(json.dumps({"step": name, **fields}), flush=True)


device = Device["AMD"]
step("device", arch=device.arch)

size = 3 * 1024 * 1024 + 5
data = bytes(i * 31 % 251 for i in range(size))
host = Buffer("PYTHON", size, dtypes.uint8, opaque=memoryview(bytearray(data)))
buffer = Buffer("AMD", size, dtypes.uint8).allocate().copy_from(host)
assert bytes(buffer.as_memoryview()) == data, "the bytes that came back differ"
step("copied", bytes=size)

ones = Tensor.ones(1024, 1024, device="AMD").contiguous().realize()
(ones + ones).sum().tolist()
step("kernels", count=GlobalCounters.kernel_count)

block = int(sys.argv[1]) if len(sys.argv) > 1 else 8 << 30
held = []
try:
    while len(held) < 1000:
        held.append(Buffer("AMD", block, dtypes.uint8).allocate())
except (MemoryError, RuntimeError, OSError) as error:
    step("full", blocks=len(held), error=type(error).__name__)
else:
    sys.exit("never out of memory")
