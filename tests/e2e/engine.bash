# Loaded by the tests of engines that are daemons. They run under `sdg-sim run` in a suite's root file system:
#   SDG_SYSROOT  the simulated node, SDG_DIST  what `make build` laid out, SDG_ROOTFS  ROCm's root file system

. "$PROJECT/scripts/podman.bash"
. "$PROJECT/tests/e2e/ended.bash"

SDG=$SDG_DIST/usr/bin/sdg
GIB=$((1024 * 1024 * 1024))

# A state and a configuration of their own for each file; the daemon is started once.
engine_setup() {
    WORK=$(mktemp -d /tmp/sdg-engine.XXXXXX)
    cat >"$WORK/config.toml" <<-TOML
		cdi_dir = "/etc/cdi"
	TOML
    OPTIONS=(--sysroot "$SDG_SYSROOT" --state "$WORK/state" --config "$WORK/config.toml")
    # The handler's program is sdg with the simulated node's places.
    {
        echo '#!/bin/sh'
        echo "exec $SDG ${OPTIONS[*]} runtime -- \"\$@\""
    } >"$WORK/sdg-runtime"
    chmod 755 "$WORK/sdg-runtime"
    rm -f /etc/cdi/sdg-*.json
    export WORK
}

engine_teardown() {
    [ -z "${ENGINE_PID:-}" ] || { kill "$ENGINE_PID" && wait "$ENGINE_PID" || true; }
    rm -f /etc/cdi/sdg-*.json
    remove_storage "$WORK"
}

sdg() { "$SDG" "${OPTIONS[@]}" "$@"; }

# engine_configured ENGINE: the engine's configuration as its package installs it, with what `sdg setup` makes of it,
# below $WORK/root.
engine_configured() {
    local engine=$1 version
    mkdir -p "$WORK/root/etc"
    [ ! -d "/etc/$engine" ] || cp -a "/etc/$engine" "$WORK/root/etc/"
    case $engine in
    docker) version=$(dockerd --version) ;;
    *) version=$("$engine" --version) ;;
    esac
    version=$(grep -oE '\bv?[0-9]+\.[0-9]+\.[0-9]+' <<<"$version" | head -n 1)
    "$SDG" setup "$engine" --root "$WORK/root" --engine-version "$version"
    sed -i "s|/usr/bin/sdg-runtime|$WORK/sdg-runtime|" "$WORK/root/etc/$engine"/*
}

slices() { sdg slice list --json; }

no_slice_is_left() { [ "$(slices | jq length)" -eq 0 ]; }

# step NAME FIELD: a field of a program's output in $output.
step() { jq -rR "fromjson? | select(.step == \"$1\") | .$2" <<<"$output"; }

# A real HIP program's findings in $output are those of a slice of so many GiB, beyond which it was refused.
saw_a_slice_of() {
    [ "$(step memory total)" -eq $(($1 * GIB)) ]
    [ "$(step memory free)" -le $(($1 * GIB)) ]
    [ "$(step beyond-total refused)" = true ]
    [ "$(step full allocated)" -le $(($1 * GIB)) ]
    [ "$(step full allocated)" -gt $((($1 - 1) * GIB)) ]
}

# An image's root with nothing in it but where ROCm's /usr, the programs and a busybox are mounted or put.
image_tree() {
    local root=$1
    mkdir -p "$root"/{usr,opt/sdg,etc,proc,sys,dev,tmp,run}
    ln -s usr/bin "$root/bin"
    ln -s usr/lib "$root/lib"
    ln -s usr/lib64 "$root/lib64"
    chmod 1777 "$root/tmp"
}
