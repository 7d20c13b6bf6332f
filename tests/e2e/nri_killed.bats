# preset: mi300x-8
# The plugin is killed and started again while pods start: no slice leaks, none is given twice, and no container has a GPU
# without a limit.

setup_file() {
    . "$PROJECT/tests/e2e/nri.bash"
    nri_setup
}

setup() { . "$PROJECT/tests/e2e/shares.bash" && . "$PROJECT/tests/e2e/nri.bash"; }

teardown_file() {
    . "$PROJECT/tests/e2e/nri.bash"
    nri_teardown
}

PODS=100
# At a time: two GPUs full, and some on a third.
ALIVE=20
LABELS=(sdg.exostellar.io/memory=15Gi sdg.exostellar.io/compute=100m)

# Kills the plugin again and again, each time somewhere else in what it does, until $WORK/over is there.
kill_the_plugin() {
    while [ ! -e "$WORK/over" ]; do
        sleep "0.$((RANDOM % 900 + 100))"
        agent_stop
        sleep "0.$((RANDOM % 400 + 100))"
        agent_start
    done
}

# What a container has of a slice, from the spec that the runtime was given: "none", or "GPU" with the slice's id where
# devices, limits, shim and all hooks are there. Anything else is a GPU without a limit.
given() {
    spec_of "$1" | jq -r '
        ([.linux.devices[]?.path | select(startswith("/dev/kfd") or startswith("/dev/dri"))] | length) as $devices
        | ([.mounts[].destination | select(. == "/run/sdg/limits" or . == "/run/sdg/libsdg.so" or . == "/etc/ld.so.preload")]
            | length) as $files
        | [.hooks.createRuntime, .hooks.createContainer, .hooks.poststop | .[]?
            | select(.args[0:2] == ["sdg", "hook"]) | .args[4]] as $hooks
        | if $devices == 0 and $files == 0 and ($hooks | length) == 0 then "none"
          elif $devices == 2 and $files == 3 and ($hooks | length) == 3 and ($hooks | unique | length) == 1
          then "GPU \($hooks[0])" else "unlimited: \($devices) \($files) \($hooks)" end'
}

@test "the plugin is killed again and again while 100 pods start" {
    kill_the_plugin >"$WORK/killer.log" 2>&1 3>&- &
    killer=$!
    with=0 without=0 refused=0 alive=()
    for number in $(seq "$PODS"); do
        if [ "${#alive[@]}" -ge "$ALIVE" ]; then
            # shellcheck disable=SC2086
            remove_pod ${alive[0]}
            alive=("${alive[@]:1}")
        fi
        sandbox=$(pod "pod-$number" -- "${LABELS[@]}")
        id=$(container "$sandbox" "pod-$number" "/bin/sleep 100000" -- "${LABELS[@]}")
        alive+=("$sandbox $id")
        [ -n "$id" ] || { refused=$((refused + 1)); continue; }
        start "$id"
        case $(given "$id") in
        GPU\ *) with=$((with + 1)) ;;
        none) without=$((without + 1)) ;;
        *) given "$id"; false ;;
        esac
        [ $((number % 20)) -ne 0 ] || nothing_is_given_twice
    done
    touch "$WORK/over"
    wait "$killer"
    echo "# $with with a slice, $without without a GPU, $refused refused; killed $(connections) times" >&3
    [ "$with" -gt 0 ]
    [ "$(connections)" -gt 10 ]
    # Every pod has one slice at most, and every slice a pod.
    [ "$(slices | jq '[.[].container] | length == (unique | length)')" = true ]
    [ "$(slices | jq length)" -le "${#alive[@]}" ]
    nothing_is_given_twice
    for sandbox in "${alive[@]}"; do
        # shellcheck disable=SC2086
        remove_pod $sandbox
    done
    no_slice_is_left
}
