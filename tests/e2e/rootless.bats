# preset: mi300x
# Podman of an ordinary user: what sdg says to it. It has no subordinate ids here, and an image tree of its own.

ORDINARY=65534

setup() {
    . "$PROJECT/scripts/podman.bash"
    WORK=$(mktemp -d /tmp/sdg-rootless.XXXXXX)
    mkdir -p "$WORK"/{home,run,hooks,root/{bin,etc,proc,sys,dev,tmp,run}}
    # The checkout may lie where an ordinary user cannot look.
    cp -a "$SDG_DIST/usr" "$WORK/usr"
    sdg=("$WORK/usr/bin/sdg" --state "$WORK/state")
    write_hooks "${sdg[0]}" "$WORK/hooks" --state "$WORK/state"
    cp /bin/busybox "$WORK/root/bin/"
    ln -s busybox "$WORK/root/bin/echo"
    chown -R "$ORDINARY:$ORDINARY" "$WORK"/{home,run,root}
    chmod 755 "$WORK"
    chmod 700 "$WORK/run"
}

teardown() { rm -rf "$WORK"; }

ordinary() {
    (cd / && setpriv --reuid "$ORDINARY" --regid "$ORDINARY" --clear-groups env -i PATH="$PATH" HOME="$WORK/home" \
        XDG_RUNTIME_DIR="$WORK/run" "$@")
}

podman_of_user() {
    ordinary podman --runtime runc --cgroup-manager=cgroupfs --events-backend=none --hooks-dir "$WORK/hooks" \
        run --rm --network=none "$@" --rootfs "$WORK/root" echo started
}

@test "an ordinary user's containers without our keys start as ever" {
    run podman_of_user
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *started* ]]
}

@test "one with a slice is refused with a line that says why, and nothing is left" {
    run podman_of_user --annotation=sdg.memory=20Gi
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"sdg: mkdir $WORK/state: Permission denied (os error 13): only root places slices"* ]]
    [[ $output != *started* ]]
    [ ! -e "$WORK/state" ]
}

@test "with root's ledger there, too; root's slices are untouched" {
    "${sdg[@]}" slice create --name root --memory 20Gi
    run podman_of_user --annotation=sdg.memory=20Gi
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"sdg: open $WORK/state/lock: Permission denied (os error 13): only root places slices"* ]]
    [ "$("${sdg[@]}" slice list --json | jq length)" -eq 1 ]
}

@test "an ordinary user sees the GPUs, and not who has what" {
    run ordinary "${sdg[@]}" gpu list
    echo "$output"
    [[ $output == *"AMD Instinct MI300X"*"191.98Gi"* ]]
    "${sdg[@]}" slice create --name root --memory 20Gi
    run ordinary "${sdg[@]}" slice list
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == "sdg: open $WORK/state/slices: Permission denied (os error 13)" ]]
}
