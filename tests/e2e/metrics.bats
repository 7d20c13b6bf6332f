# preset: mi300x
# What sdg-agent serves, as promtool and a real Prometheus take it.

setup() { . "$PROJECT/tests/e2e/slices.bash" && slices_setup; }

teardown() {
    local pid
    for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
    slices_teardown
}

PIDS=()

# background FILE COMMAND…: runs it until the test ends; what it says goes to FILE.
background() {
    local file=$1
    shift
    "$@" >"$file" 2>&1 3>&- &
    PIDS+=($!)
}

agent_start() {
    printf 'metrics = "127.0.0.1:0"\nwatchdog = "log"\n' >"$WORK/config.toml"
    background "$WORK/agent" "$SDG_DIST/usr/bin/sdg-agent" "${OPTIONS[@]}" --config "$WORK/config.toml" run
    wait_for "the agent to serve" grep -q 'http://' "$WORK/agent"
    AGENT=$(grep -o '127.0.0.1:[0-9]*' "$WORK/agent" | head -n 1)
}

# Two slices, one of them at work, and a refusal.
busy_node() {
    container --name=sdg-metrics-$ID --annotation=sdg.memory=20Gi --annotation=sdg.compute=250m /opt/sdg/hip-hold 1G >"$WORK/hold" &
    wait_for "the program to hold its memory" holds "$WORK/hold"
    sdg slice create --memory 10Gi --memory-limit 40Gi >"$WORK/slice"
    run sdg slice create --memory 190Gi
    [ "$status" -ne 0 ]
}

# value METRIC: what the sample of this name and these labels says.
value() { grep -v '^#' "$WORK/scrape" | grep -F "$1" | awk '{ print $NF }'; }

@test "promtool has nothing to say about the metrics, and the figures are those of the node" {
    agent_start
    busy_node
    get "http://$AGENT/metrics" >"$WORK/scrape"
    run promtool check metrics <"$WORK/scrape"
    echo "$output"
    [ "$status" -eq 0 ]
    [ -z "$output" ]
    slice=$(slices | jq -r '.[] | select(.state == "running") | .id')
    [ "$(value "sdg_slice_memory_used_bytes{slice=\"$slice\",gpu=\"0\"}")" -ge $((1 << 30)) ]
    [ "$(value "sdg_slice_memory_limit_bytes{slice=\"$slice\",gpu=\"0\"}")" -eq $((20 << 30)) ]
    [ "$(value "sdg_slice_compute_units_in_force{slice=\"$slice\",gpu=\"0\"}")" -eq 72 ]
    [ "$(value 'sdg_gpu_memory_guaranteed_bytes{gpu="0"}')" -eq $((30 << 30)) ]
    [ "$(value 'sdg_gpu_memory_lent_bytes{gpu="0"}')" -eq $((30 << 30)) ]
    [ "$(value 'sdg_gpu_compute_units{gpu="0",state="guaranteed"}')" -eq 72 ]
    [ "$(value 'sdg_placements_total')" -eq 2 ]
    [ "$(value 'sdg_refusals_total{reason="memory"}')" -eq 1 ]
    [ "$(value 'sdg_hook_duration_seconds_count{hook="precreate"}')" -eq 1 ]
    [ "$(value 'sdg_hook_duration_seconds_count{hook="create_runtime"}')" -eq 1 ]
}

# query EXPRESSION: what Prometheus answers.
query() { get "http://$PROMETHEUS/api/v1/query?query=$(jq -rn --arg query "$1" '$query | @uri')"; }

# Which of the expressions on stdin Prometheus does not understand.
wrong_queries() {
    sed 's/\$__rate_interval/1m/g; s/\$gpu/.*/g' | python3 -c '
import sys, urllib.error, urllib.parse, urllib.request
for line in sys.stdin:
    try:
        urllib.request.urlopen(sys.argv[1] + urllib.parse.quote(line.strip()))
    except urllib.error.HTTPError as error:
        print(line.strip(), error.read().decode())' "http://$PROMETHEUS/api/v1/query?query="
}

is_scraped() { [ "$(query 'up{job="sdg"}' | jq -r '.data.result[0].value[1]')" = 1 ]; }

@test "a real Prometheus scrapes them, and every metric and query of the dashboard is there" {
    agent_start
    busy_node
    PROMETHEUS=127.0.0.1:$(free_port)
    cat >"$WORK/prometheus.yml" <<END
scrape_configs:
  - job_name: sdg
    scrape_interval: 1s
    static_configs: [{targets: ["$AGENT"]}]
END
    background "$WORK/prometheus" prometheus --config.file="$WORK/prometheus.yml" --storage.tsdb.path="$WORK/tsdb" \
        --web.listen-address="$PROMETHEUS" --log.level=warn
    wait_for "a scrape" is_scraped 2>/dev/null
    [ "$(query 'sum(sdg_gpu_memory_guaranteed_bytes)' | jq -r '.data.result[0].value[1]')" = $((30 << 30)) ]
    [ "$(query 'sdg_refusals_total{reason="memory"}' | jq -r '.data.result[0].value[1]')" = 1 ]

    dashboard=$PROJECT/packaging/grafana/sdg.json
    get "http://$PROMETHEUS/api/v1/label/__name__/values" | jq -r '.data[]' | sort >"$WORK/scraped"
    jq -r '.. | .expr? // empty' "$dashboard" >"$WORK/expressions"
    grep -oh 'sdg_[a-z_]*' "$WORK/expressions" | sort -u >"$WORK/named"
    [ "$(wc -l <"$WORK/named")" -gt 20 ]
    run comm -23 "$WORK/named" "$WORK/scraped"
    echo "not scraped: $output"
    [ -z "$output" ]
    run wrong_queries <"$WORK/expressions"
    echo "wrong: $output"
    [ "$status" -eq 0 ] && [ -z "$output" ]
    # Nothing that is scraped is left out of the dashboard.
    run comm -13 "$WORK/named" <(grep '^sdg_' "$WORK/scraped" | grep -v '_info$\|_sum$\|_count$')
    echo "not shown: $output"
    [ -z "$output" ]
}
