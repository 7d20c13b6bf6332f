"""hip-python's calls, each an exception where HIP reports an error."""

from hip import hip


class HipError(Exception):
    pass


def call(function, *arguments):
    """What the function gives beside its error: nothing, a value, or several."""
    error, *values = function(*arguments)
    if error != hip.hipError_t.hipSuccess:
        raise HipError(error.name)
    return values[0] if len(values) == 1 else values


def properties(number):
    found = hip.hipDeviceProp_t()
    call(hip.hipGetDeviceProperties, found, number)
    return found
