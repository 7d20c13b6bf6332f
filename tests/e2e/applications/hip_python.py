"""What hip-python says of the GPU, a copy there and back, a stream, and the end of the memory."""

import sys

from hip import hip

from hip_device import HipError, call, properties
from steps import step

SIZE, BLOCK = 3 * 1024 * 1024 + 5, 1 << 30

device = properties(0)
free, total = call(hip.hipMemGetInfo)
step("device", count=call(hip.hipGetDeviceCount), name=device.name.decode(), multiprocessors=device.multiProcessorCount)
step("memory", total=total, free=free, global_total=device.totalGlobalMem)

data = bytes(i * 31 % 251 for i in range(SIZE))
back = bytearray(SIZE)
buffer, stream = call(hip.hipMalloc, SIZE), call(hip.hipStreamCreate)
call(hip.hipMemcpyAsync, buffer, data, SIZE, hip.hipMemcpyKind.hipMemcpyHostToDevice, stream)
call(hip.hipMemcpyAsync, back, buffer, SIZE, hip.hipMemcpyKind.hipMemcpyDeviceToHost, stream)
call(hip.hipStreamSynchronize, stream)
assert back == data, "the bytes that came back differ"
call(hip.hipMemsetAsync, buffer, 7, SIZE, stream)
call(hip.hipMemcpyAsync, back, buffer, SIZE, hip.hipMemcpyKind.hipMemcpyDeviceToHost, stream)
call(hip.hipStreamSynchronize, stream)
assert back == bytes([7]) * SIZE, "the bytes that came back differ"
step("copied", bytes=SIZE)

held = []
try:
    while len(held) < 1000:
        held.append(call(hip.hipMalloc, BLOCK))
except HipError as error:
    step("full", allocated=len(held) * BLOCK, error=str(error))
else:
    sys.exit("never out of memory")
