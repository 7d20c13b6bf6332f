# Loaded by examples.bats, after engine.bash: a stand-in for vLLM's image, and what its two servers should have.

# vLLM's part that matters here: it takes nine tenths of the memory that it sees, as --gpu-memory-utilization 0.9 says.
vllm_image() {
    image_tree "$1"
    mkdir -p "$1/opt/vllm" "$1/root/.cache/huggingface"
    cat >"$1/opt/vllm/vllm" <<-'SH'
		#!/bin/sh
		for node in /sys/class/kfd/kfd/topology/nodes/*; do
		    [ "$(cat "$node/gpu_id")" = 0 ] || size=$(sed -n 's/^size_in_bytes //p' "$node/mem_banks/0/properties")
		done
		echo "vllm $* # token: ${HF_TOKEN:-none}"
		exec /opt/sdg/hip-hold $((size / 10 * 9))
	SH
    chmod 755 "$1/opt/vllm/vllm"
}
VLLM_PATH='ENV PATH=/opt/vllm:/usr/bin:/bin'

# What both of Compose's programs are told beside the example: ROCm's user space, and the network of the host.
compose_override() {
    cat <<-YAML
		x-machine: &machine
		  network_mode: host
		  volumes: ["$SDG_ROOTFS/usr:/usr:ro", "$PROJECT/target/e2e/bin:/opt/sdg:ro"]
		services:
		  large: *machine
		  small: *machine
	YAML
}

# Podman without systemd, in a VM without CAP_SYS_RESOURCE, with our hooks and with ROCm's user space in each container.
podman_of_the_test() {
    write_hooks "$SDG" "$WORK/hooks" "${OPTIONS[@]}"
    own_storage "$WORK" <<-TOML
		runtime = "runc"
		cgroup_manager = "cgroupfs"
		events_logger = "none"
		hooks_dir = ["$WORK/hooks"]
		[containers]
		netns = "host"
		log_driver = "k8s-file"
		default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
		volumes = ["$SDG_ROOTFS/usr:/usr:ro", "$PROJECT/target/e2e/bin:/opt/sdg:ro"]
	TOML
}

# The units that Podman's generator makes of the quadlets, one after the other under their names.
quadlet_units() {
    QUADLET_UNIT_DIRS=$PROJECT/examples/quadlet /usr/lib/systemd/system-generators/podman-system-generator --dryrun
}

# exec_of UNIT KEY: what the unit $output has for a key, with systemd's specifiers resolved; the cgroup is not one that systemd delegates.
exec_of() {
    awk -v unit="---$1.service---" '/^---/ { inside = $0 == unit } inside' <<<"$output" |
        sed -n "s/^$2=//p" | sed "s/%N/$1/g; s/%n/$1.service/g; s|%t|$WORK|g; s/--cgroups=split/--cgroups=enabled/"
}

# holding ENGINE CONTAINER GIB: its program saw so much and took nine tenths of it.
holding() {
    "$1" logs "$2" 2>/dev/null | jq -eR --argjson gib "$3" 'fromjson? | select(.step == "holding") |
        .total == $gib * 1073741824 and .bytes == (.total / 10 | floor) * 9'
}

# Both servers run, each on what examples/README.md says, and the command lines are the examples'.
both_serve() {
    local engine=$1 large=$2 small=$3
    wait_for "the large server" holding "$engine" "$large" 120
    wait_for "the small server" holding "$engine" "$small" 48
    "$engine" logs "$large" | grep '^vllm serve Qwen/Qwen2.5-32B-Instruct --port 8000 --gpu-memory-utilization 0.9 '
    "$engine" logs "$small" | grep '^vllm serve Qwen/Qwen2.5-7B-Instruct --port 8000 --gpu-memory-utilization 0.9 '
    [ "$(slices | jq -c 'sort_by(-.gpus[0].memory_bytes)[] | [.state, .gpus[0].memory_bytes / 1073741824,
        .gpus[0].compute_units, .gpus[0].compute_limit_units]' | xargs)" = "[running,120,144,144] [running,48,72,144]" ]
}
