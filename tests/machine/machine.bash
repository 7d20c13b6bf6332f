# Loaded by the files of this directory, which run on the machine itself as root: the commands, the places and the units are those of
# an installation.
. "$PROJECT/tests/e2e/ended.bash"

GIB=$((1024 * 1024 * 1024))
IMAGE=localhost/hip:1

# wait_for DESCRIPTION COMMAND…: up to ten minutes, which only a failure takes; this machine is emulated.
wait_for() {
    local what=$1
    shift
    for _ in $(seq 600); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 1
    done
    echo "waited in vain for $what" >&2
    return 1
}

slices() { sdg slice list --json; }
no_slice_is_left() { [ "$(slices | jq length)" -eq 0 ]; }

# step NAME FIELD: a field of a program's output in $output.
step() { jq -rR "fromjson? | select(.step == \"$1\") | .$2" <<<"$output"; }

# The tests' image, as a tar file of its root: ROCm's user space and our programs are mounted in each container.
image_tar() {
    . "$PROJECT/tests/e2e/engine.bash" 2>/dev/null
    local tree
    tree=$(mktemp -d)
    vllm_image "$tree"
    tar -C "$tree" -c .
    rm -r "$tree"
}

# as_user COMMAND…: in a session of the ordinary user's, as `ssh` would make one.
as_user() { systemd-run --quiet --wait --pipe --collect --machine=alice@ --user --working-directory=/home/alice -- "$@"; }

# since UNIT: when it was started last, a number that grows.
since() { systemctl show --property=ActiveEnterTimestampMonotonic --value "$1"; }
