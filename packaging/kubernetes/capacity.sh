#!/usr/bin/env bash
# Prints a node's capacity as a patch of its status, from `sdg gpu list --json` on stdin:
#   ssh NODE sdg gpu list --json | capacity.sh | kubectl patch node NODE --subresource=status --type=merge --patch-file=/dev/stdin
# Memory in bytes without what no slice gets (reserved_memory in the configuration, 512Mi), compute in thousandths.
set -euo pipefail
reserved=${SDG_RESERVED_BYTES:-$((512 * 1024 * 1024))}
jq --argjson reserved "$reserved" '{status: {capacity: {
    "sdg.exostellar.io/memory": (map(.memory_bytes - $reserved) | add // 0 | tostring),
    "sdg.exostellar.io/compute": (length * 1000 | tostring)}}}'
