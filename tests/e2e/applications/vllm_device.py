"""The calls by which vLLM (vllm/platforms/rocm.py) and PyTorch below it learn of their GPUs, in their order; memory once more at
each SIGUSR1, until SIGTERM."""

import signal

import amdsmi
from hip import hip

from hip_device import call, properties
from steps import block_signals, next_signal, step


def of_amdsmi(handle):
    """What get_device_name, get_device_uuid and the architecture are taken from."""
    chip = amdsmi.amdsmi_get_gpu_asic_info(handle)
    return {
        "device_id": chip["device_id"],
        "market_name": chip["market_name"],
        "architecture": chip["target_graphics_version"],
        "serial": chip["asic_serial"],
        "uuid": amdsmi.amdsmi_get_gpu_device_uuid(handle),
    }


def before_hip():
    amdsmi.amdsmi_init()
    try:
        handles = amdsmi.amdsmi_get_processor_handles()
        step("handles", count=len(handles))
        for handle in handles:
            step("chip", **of_amdsmi(handle))
            step("vram", bytes=amdsmi.amdsmi_get_gpu_memory_total(handle, amdsmi.AmdSmiMemoryType.VRAM))
        for i, handle in enumerate(handles):
            for peer in handles[i + 1 :]:
                # is_fully_connected: one hop by XGMI is {"hops": 1, "type": 2}.
                step("link", **amdsmi.amdsmi_topo_get_link_type(handle, peer))
    finally:
        amdsmi.amdsmi_shut_down()


def with_hip():
    count = call(hip.hipGetDeviceCount)
    step("devices", count=count)
    for number in range(count):
        found = properties(number)
        step(
            "properties",
            name=found.name.decode(),
            architecture=found.gcnArchName.decode(),
            total_memory=found.totalGlobalMem,
            multi_processor_count=found.multiProcessorCount,
            serial=found.uuid.bytes.decode(),
        )


def mem_get_info():
    """What gpu_memory_utilization is a part of, and what is compared before and after profiling."""
    for number in range(call(hip.hipGetDeviceCount)):
        call(hip.hipSetDevice, number)
        free, total = call(hip.hipMemGetInfo)
        step("mem_get_info", free=free, total=total)


block_signals()
before_hip()
with_hip()
mem_get_info()
# As a model's weights would.
weights = call(hip.hipMalloc, 1 << 30)
mem_get_info()
step("ready")
while next_signal() == signal.SIGUSR1:
    mem_get_info()
    step("again")
step("done", passed=True)
