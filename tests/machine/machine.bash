# Loaded by the files of this directory, which run on the machine itself as root: the commands, the places and the units are those of
# an installation.
. "$PROJECT/tests/e2e/ended.bash"
. "$PROJECT/tests/e2e/examples.bash"

GIB=$((1024 * 1024 * 1024))
SLICE=(--annotation=sdg.memory=20Gi --annotation=sdg.compute=250m)
IMAGE=rocm/vllm:latest

sdg() { /usr/bin/sdg "$@"; }
slices() { sdg slice list --json; }
no_slice_is_left() { [ "$(slices | jq length)" -eq 0 ]; }
slices_are() { [ "$(slices | jq length)" -eq "$1" ]; }

# step NAME FIELD: a field of a program's output in $output.
step() { jq -rR "fromjson? | select(.step == \"$1\") | .$2" <<<"$output"; }

# A real HIP program's findings in $output are those of a slice of 20 GiB.
saw_20_gib() {
    [ "$(step memory total)" -eq $((20 * GIB)) ]
    [ "$(step beyond-total refused)" = true ]
}

# says ENGINE CONTAINER TEXT: in the container's log.
says() { "$1" logs "$2" 2>&1 | grep -qF -- "$3"; }

# as_alice COMMAND…: by a service manager of the ordinary user's; what the command starts stays, as after a login session.
as_alice() {
    systemd-run --quiet --wait --pipe --collect --machine=alice@ --user --property=KillMode=process --working-directory=/home/alice -- "$@"
}
