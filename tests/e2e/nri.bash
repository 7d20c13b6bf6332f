# Loaded by the tests of pods with labels: containerd with its Node Resource Interface, and our plugin of it.
. "$PROJECT/tests/e2e/engine.bash"
. "$PROJECT/tests/e2e/containerd.bash"
[ -z "${OPTIONS_TEXT:-}" ] || read -ra OPTIONS <<<"$OPTIONS_TEXT"

# Once a file.
nri_setup() {
    engine_setup
    mkdir -p "$WORK/root/etc/containerd" "$WORK/logs"
    # The interface is off by default in containerd 1.7.
    cat >"$WORK/root/etc/containerd/config.toml" <<-TOML
		version = 2
		[plugins."io.containerd.grpc.v1.cri"]
		[plugins."io.containerd.nri.v1.nri"]
		disable = false
		socket_path = "$WORK/nri.sock"
		plugin_path = "$WORK/plugins"
		plugin_config_path = "$WORK/conf.d"
	TOML
    export OPTIONS_TEXT="${OPTIONS[*]}" HANDLER=
    containerd_start
    : >"$WORK/agent.log"
    agent_start
}

nri_teardown() {
    agent_stop
    ENGINE_PID=$(cat "$WORK/engine.pid" 2>/dev/null || echo "$ENGINE_PID")
    containerd_teardown
}

# The plugin with the one capability that it needs: limits pages are read-only for everybody. Waits until the runtime has
# taken it.
agent_start() {
    local before
    before=$(connections)
    setpriv --bounding-set=-all,+dac_override --inh-caps=-all "$SDG_DIST/usr/bin/sdg-agent" "${OPTIONS[@]}" nri \
        --socket "$WORK/nri.sock" >>"$WORK/agent.log" 2>&1 3>&- &
    echo $! >"$WORK/agent.pid"
    for _ in $(seq 100); do
        [ "$(connections)" -gt "$before" ] && return 0
        sleep 0.1
    done
    tail -n 20 "$WORK/agent.log" "$WORK/containerd.log"
    return 1
}

connections() { grep -c ' connected' "$WORK/agent.log" 2>/dev/null || true; }

agent_stop() { kill -9 "$(cat "$WORK/agent.pid")" 2>/dev/null || true; }

# What the pod of the documents asks for: its labels.
mapfile -t EXAMPLE < <(sed -n 's|^    \(sdg\.exostellar\.io/[a-zA-Z]*\): "\(.*\)"$|\1=\2|p' "$PROJECT/packaging/kubernetes/pod.example.yaml")
[ "${#EXAMPLE[@]}" -eq 6 ]

# run_in POD NAME PROGRAM [-- LABEL…]: a container, to its end; what it printed is in $output.
run_in() {
    local id
    id=$(container "$@")
    start "$id"
    wait_for "the program's end" exited "$id"
    output=$(log_of "$2")
    echo "$output"
    echo "container_id: \"$id\"" | cri RemoveContainer RemoveContainerRequest Empty
}

# The OCI spec of a container, as containerd gave it to runc.
spec_of() { ctr --namespace k8s.io container info --spec "$1"; }
