#!/usr/bin/env bash
# Makes docs/top.svg: `sdg top` beside two containers on a simulated MI300X. top-picture.sh DIST
# Needs what `make demo` and the end-to-end tests made: the root file system with ROCm, the test programs.
set -euo pipefail
export PROJECT SDG_DIST SDG_ROOTFS SDG_RUNTIME SDG_SIM_LOG
PROJECT=$(cd "$(dirname "$0")/.." && pwd)
SDG_DIST=$(cd "${1:?usage: top-picture.sh DIST}" && pwd)
SDG_ROOTFS=${SDG_CACHE:-/var/cache/sdg}/rootfs/rocm-7.2
SDG_RUNTIME=${SDG_RUNTIME:-runc}
if [ -z "${SDG_SYSROOT:-}" ]; then
    SDG_SIM_LOG=$(mktemp)
    trap 'rm -f "$SDG_SIM_LOG"' EXIT
    "$SDG_DIST/usr/bin/sdg-sim" run --preset mi300x --log "$SDG_SIM_LOG" -- "$0" "$1"
    exit
fi
. "$PROJECT/tests/e2e/slices.bash"
slices_setup
trap 'tmux -S "$WORK/tmux" kill-server || true; slices_teardown' EXIT

tmux -S "$WORK/tmux" -f /dev/null new-session -d -x 100 -y 26 env TERM=tmux-256color "$SDG" "${OPTIONS[@]}" top
container --name="train-$ID" --annotation=sdg.memory=80Gi --annotation=sdg.compute=500m /opt/sdg/hip-hold 60G >"$WORK/train" &
container --name="serve-$ID" --annotation=sdg.memory=20Gi --annotation=sdg.compute=250m /opt/sdg/hip-loop 4 >"$WORK/serve" &
wait_for "the first container" holds "$WORK/train"
wait_for "the second container" grep -q round "$WORK/serve"
sdg slice create --name notebook --memory 8Gi --memory-limit 40Gi >/dev/null
sleep 3
tmux -S "$WORK/tmux" capture-pane -p -e | "$PROJECT/scripts/screen-to-svg.py" "sdg top" >"$PROJECT/docs/top.svg"
