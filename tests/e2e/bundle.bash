# Loaded, after slices.bash, by tests that call an OCI runtime on a bundle of their own: no engine stands in between.
#   BUNDLE  its directory

# The runtime, with cgroup v1 alone where crun would refuse both.
runtime() { without_hybrid "$SDG_RUNTIME" "$SDG_RUNTIME" --root "$WORK/runtime" "$@"; }

# sdg_runtime ARGUMENTS…: the same by way of sdg-runtime, after configure_sdg.
sdg_runtime() { without_hybrid "$SDG_RUNTIME" "$SDG" "${OPTIONS[@]}" runtime -- --root "$WORK/runtime" "$@"; }

# configure_sdg [KEY = VALUE…]: sdg's configuration from now on.
configure_sdg() {
    printf '%s\n' "runtime = \"$(command -v "$SDG_RUNTIME")\"" "$@" >"$WORK/config.toml"
    OPTIONS+=(--config "$WORK/config.toml")
}

# json_list TEXT…: as a list of JSON, by jq 1.6 too, whatever the texts begin with.
json_list() { for text; do jq --null-input --arg text "$text" '$text'; done | jq --slurp .; }

# The hooks of a container, as CRI-O makes them of the files whose annotations match.
crio_hooks() {
    jq --slurp --arg sdg "$SDG" --argjson options "$(json_list "${OPTIONS[@]}")" 'map({stage: .stages[0], hook: (.hook | .path = $sdg
        | .args = ["sdg"] + $options + .args[1:])}) | group_by(.stage) | map({key: .[0].stage, value: map(.hook)})
        | from_entries' "$PROJECT"/hooks.d/crio/*.json
}

# bundle_config HOOKS ANNOTATIONS MOUNTS COMMAND…: the bundle's config, but for these as the runtime proposes it. MOUNTS are
# pairs [destination, source] of a list.
bundle_config() {
    local hooks=$1 annotations=$2 mounts=$3
    shift 3
    (cd "$BUNDLE" && rm -f config.json && "$SDG_RUNTIME" spec)
    jq --argjson hooks "$hooks" --argjson annotations "$annotations" --argjson mounts "$mounts" \
        --argjson command "$(json_list "$@")" '.annotations = $annotations | .hooks = $hooks
        | .process.args = $command | .process.terminal = false | del(.process.rlimits)
        | .mounts += [$mounts[] | {destination: .[0], type: "bind", source: .[1], options: ["bind", "ro"]}]' \
        "$BUNDLE/config.json" >"$WORK/config" && mv "$WORK/config" "$BUNDLE/config.json"
}
