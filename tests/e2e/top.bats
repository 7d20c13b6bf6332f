# preset: mi300x
# `sdg top` in a real terminal (tmux), beside a container that uses its slice.

setup() {
    . "$PROJECT/tests/e2e/slices.bash" && slices_setup
    container --name=sdg-top-$ID --annotation=sdg.memory=20Gi --annotation=sdg.compute=250m /opt/sdg/hip-loop 2 >"$WORK/loop" &
    wait_for "the program to run" grep -q looping "$WORK/loop"
}

teardown() {
    [ -z "${SERVER:-}" ] || tmux -S "$SERVER" kill-server 2>/dev/null || true
    slices_teardown
}

# Each has a server of its own: one that was told to end may still take the next command, and then ends.

# terminal WIDTH HEIGHT [VARIABLE=VALUE…]: sdg top in a terminal; afterwards the terminal says how it was left.
terminal() {
    local width=$1 height=$2
    shift 2
    local command=(env "$@" "$SDG" "${OPTIONS[@]}" top)
    SERVER=$(mktemp -u "$WORK/tmux.XXXXXX")
    # shellcheck disable=SC2016
    tmux -S "$SERVER" -f /dev/null new-session -d -x "$width" -y "$height" \
        bash -c '"$@"; echo "left with $?, $(stty -a | grep -o " -\?icanon")"; exec cat' bash "${command[@]}"
}

screen() { tmux -S "$SERVER" capture-pane -p; }
keys() { tmux -S "$SERVER" send-keys "$@"; }
shows() { screen | grep -q -- "$1"; }
see() {
    wait_for "\"$1\" on the screen" shows "$1" && return
    screen
    return 1
}

@test "80x24 without colours: units by letter, memory used, queues; a resize from the keyboard takes effect" {
    terminal 80 24 NO_COLOR=1
    see 'AAAAAAAAA'
    see '^│A .* 0  *[0-9.]*Mi/20Gi .* 72/72 '
    [ "$(slices | jq -r '.[0].gpus[0].memory_limit_bytes')" -eq $((20 << 30)) ]
    run tmux -S "$SERVER" capture-pane -p -e
    [[ $output != *$'\e[3'[0-8]* ]]

    keys r
    see 'resize '
    keys DC 2 4 G i Enter
    see 'Resize it?'
    # Nothing happens before it is confirmed.
    [ "$(slices | jq -r '.[0].gpus[0].memory_limit_bytes')" -eq $((20 << 30)) ]
    keys y
    see 'memory 20Gi → 24Gi'
    see '/24Gi '
    see 'resized to 24Gi'
    [ "$(slices | jq -r '.[0].gpus[0].memory_limit_bytes')" -eq $((24 << 30)) ]

    # More than there is: refused with the reason, and nothing changes.
    keys r
    keys DC 9 9 9 G i Enter y
    see '999Gi is more than GPU 0 has'
    [ "$(slices | jq -r '.[0].gpus[0].memory_limit_bytes')" -eq $((24 << 30)) ]
}

@test "details show every XCC, and the terminal is given back by q, by a signal and by a vanished terminal" {
    terminal 100 40
    see 'AAAAAAAAA'
    run tmux -S "$SERVER" capture-pane -p -e
    [[ $output == *$'\e['*4[0-9]m* ]]
    keys Enter
    see 'XCC 7'
    see '72 guaranteed, at most 72; the mask in force has 72'
    see 'owner  *[0-9a-f]\{12\}'
    keys q
    see 'left with 0,  icanon'

    for signal in TERM INT HUP; do
        tmux -S "$SERVER" kill-server
        terminal 80 24
        see 'AAAAAAAAA'
        pkill "-$signal" --full --parent "$(tmux -S "$SERVER" display -p '#{pane_pid}')" 'sdg .* top'
        see 'left with 0,  icanon'
    done
}

@test "a terminal that is closed ends it, though no signal says so" {
    run timeout --signal=KILL 30 python3 - "$SDG" "${OPTIONS[@]}" top <<'PYTHON'
import os, pty, signal, sys, termios, time
child, terminal = pty.fork()
if child == 0:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    termios.tcsetwinsize(0, (24, 80))
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
while b"AAAAAAAAA" not in seen:
    seen += os.read(terminal, 65536)
os.close(terminal)
for _ in range(50):
    if os.waitpid(child, os.WNOHANG)[0]:
        print("ended")
        break
    time.sleep(0.1)
else:
    os.kill(child, signal.SIGKILL)
PYTHON
    echo "$output"
    [ "$output" = ended ]
}

@test "a container that ends is gone from the screen, with an event; without a terminal it says so" {
    terminal 80 24
    see '^│A '
    engine kill --signal TERM sdg-top-$ID
    see ': gone'
    see 'slices 0/0'
    run sdg top </dev/null
    [ "$status" -eq 1 ]
    [ "$output" = 'sdg: stdin and stdout have to be a terminal (for scripts there is `sdg slice list --watch`)' ]
}
