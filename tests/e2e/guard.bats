# The guard on this machine's own kernel: guarded.bash.

setup() { . "$PROJECT/tests/e2e/guarded.bash" && guarded_setup /dev/full; }
teardown() { guarded_teardown; }

GIB=$((1024 * 1024 * 1024))

asked() { container "${GUARDED[@]}" /opt/sdg/raw-guarded ask "$GPU_ID" "$1"; }

@test "memory within the slice goes on to the driver, and memory beyond it does not" {
    run asked $((20 * GIB))
    echo "$output"
    [ "$(step asked errno)" -eq 25 ] # ENOTTY, from the device
    run asked $((20 * GIB + 1))
    echo "$output"
    [ "$(step asked errno)" -eq 12 ] # ENOMEM, from the guard
}

@test "with the agent gone, each guarded number is refused whatever its type, and no other is" {
    mkdir "$WORK/shared"
    container "--volume=$WORK/shared:/run/shared" "${GUARDED[@]}" /opt/sdg/raw-guarded numbers /run/shared/go \
        >"$WORK/out" 2>&1 &
    local container=$!
    wait_for "the container" grep -q ready "$WORK/out"
    kill -9 "$AGENT"
    ended_with 137 "$AGENT"
    AGENT=
    touch "$WORK/shared/go"
    wait "$container" || { cat "$WORK/out"; return 1; }
    cat "$WORK/out"
    # CREATE_QUEUE, ALLOC, SET_CU_MASK, SVM, CRIU_OP; GEM_CREATE, GEM_OP, USERQ.
    jq -se '[.[] | select(.step == "refused") | .numbers] | length == 6 and all(.[]; . == [2, 22, 26, 32, 34, 64, 80, 86])' \
        "$WORK/out"
}

@test "the engine's own rules stay in force beside the guard's" {
    local profile=$WORK/profile.json
    jq '.syscalls |= map(.names -= ["mkdir", "mkdirat"])' /usr/share/containers/seccomp.json >"$profile"
    run container "${GUARDED[@]}" --security-opt="seccomp=$profile" /bin/mkdir /tmp/forbidden
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"cannot create directory"* ]]
    run asked $((20 * GIB + 1))
    [ "$(step asked errno)" -eq 12 ]
}
