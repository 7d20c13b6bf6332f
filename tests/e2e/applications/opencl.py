"""What PyOpenCL says of the GPU, a copy there and back, a kernel, and more buffers than it has memory."""

import numpy as np
import pyopencl as cl

from steps import step

BLOCK, BLOCKS = 1 << 30, 24
KERNEL = "kernel void twice(global float *values) { values[get_global_id(0)] *= 2; }"

[device] = [device for platform in cl.get_platforms() for device in platform.get_devices()]
step("device", name=device.board_name_amd, total=device.global_mem_size, free=device.global_free_memory_amd[0] << 10)

context = cl.Context([device])
queue = cl.CommandQueue(context)
data = np.arange(1 << 20, dtype=np.float32)
buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=data)
back = np.empty_like(data)
cl.enqueue_copy(queue, back, buffer)
assert (back == data).all(), "the bytes that came back differ"
step("copied", bytes=data.nbytes)

program = cl.Program(context, KERNEL).build()
program.twice(queue, data.shape, None, buffer).wait()
step("ran", items=data.size)

try:
    cl.Buffer(context, cl.mem_flags.READ_WRITE, device.global_mem_size + BLOCK)
except cl.LogicError as error:
    step("too-large", error=cl.status_code.to_string(error.code))

held = []
while len(held) < BLOCKS:
    held.append(cl.Buffer(context, cl.mem_flags.READ_WRITE, BLOCK))
    # It is allocated where it is first used.
    cl.enqueue_fill_buffer(queue, held[-1], np.uint8(1), 0, 4096).wait()
step("held", bytes=len(held) * BLOCK)
