#!/usr/bin/env bash
# What tests/e2e/applications.bats runs, made on first use: applications.sh DIRECTORY
#   DIRECTORY/root     a root file system with ROCm 6.4, the release that the llama.cpp of the wheels is built for, and PyOpenCL
#   DIRECTORY/wheels   llama.cpp and hip-python, which Debian does not package for the MI300X or at all, for the Python of the roots
set -euo pipefail
scripts=$(cd "$(dirname "$0")" && pwd)
wheels=${scripts%/*}/tests/e2e/applications/wheels.txt
directory=${1:?usage: applications.sh DIRECTORY}
packages=libamdhip64-6,libhipblas2,librocblas4,libgomp1,rocm-opencl-icd,python3,python3-gguf,python3-pyopencl
python=3.14
# rocBLAS brings 3 GB of kernels for other GPUs, of which llama.cpp needs none.
options=(--variant=minbase "--include=$packages" '--dpkgopt=path-exclude=/usr/lib/*/rocblas/*'
    '--dpkgopt=path-exclude=/usr/share/doc/*' '--dpkgopt=path-exclude=/usr/share/man/*' '--dpkgopt=path-exclude=/usr/share/locale/*')

make_root() {
    local suite
    # Both may have this release, or the older one alone.
    for suite in forky sid; do
        "$scripts/debian-root.sh" "$suite" "$directory/root" "${options[@]}" && return
    done
    return 1
}

make_wheels() {
    rm -rf "$directory/wheels"
    python3 -m pip install --quiet --no-compile --no-deps --require-hashes --only-binary=:all: --python-version "$python" \
        --target "$directory/wheels" --requirement "$wheels"
    # The name by which hip-python looks for HIP; in Debian it is part of what compilers need.
    mkdir "$directory/wheels/lib"
    ln -s /usr/lib/x86_64-linux-gnu/libamdhip64.so.7 "$directory/wheels/lib/libamdhip64.so"
}

mkdir -p "$directory"
exec 9>"$directory.lock"
flock 9
# What was made by another version of this script, or from another list, is made anew.
wanted=$(cat "$0" "$wheels" | sha256sum)
[ "$(cat "$directory/made" 2>/dev/null)" != "$wanted" ] || exit 0
rm -f "$directory/made"
make_root
make_wheels
if [ ! -x "$directory/root/usr/bin/python$python" ]; then
    echo "applications.sh: $directory/root has another Python than $python, for which the wheels are ($wheels)" >&2
    exit 1
fi
echo "$wanted" >"$directory/made"
