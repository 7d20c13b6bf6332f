# The machine after a reboot: nothing is left of the slices that were, and what is wanted at the start has its own.

setup() { . "$PROJECT/tests/machine/machine.bash"; }

@test "the agent answers, the device files are there, the quadlets serve and Docker's container has its slice" {
    wait_for "the broker" test -S /run/sdg/broker.sock
    sdg cdi list | grep '^sdg.exostellar.io/gpu=0 '
    wait_for "three slices" slices_are 3
    wait_for "the large server" holding podman systemd-vllm-large 120
    wait_for "the small server" holding podman systemd-vllm-small 48
    wait_for "the loop" says docker always '"looping"'
    run sdg doctor
    echo "$output"
    [ "$status" -eq 0 ]
}
