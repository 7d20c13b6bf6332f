# A newcomer's machine: the package is installed, README's commands are run as printed, the package is removed. Runs in a
# root file system of a Debian suite with the packages that `make dist` made (SDG_PACKAGES).

setup_file() {
    . "$PROJECT/tests/e2e/readme.bash"
    # A person who answers yes, and no network.
    echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/test
    podman_of_this_machine
    image_tar | podman import - rocm/rocm-terminal:latest >/dev/null
    snapshot >"$BATS_FILE_TMPDIR/before"
}

setup() { . "$PROJECT/tests/e2e/readme.bash"; }

@test "each block of commands says where it runs" {
    run grep -nE '^```(sh|bash|shell|console)' "$PROJECT/README.md"
    echo "$output"
    [ -z "$(grep -vE '```sh (install|runnable|bare|elsewhere)$' <<<"$output")" ]
}

@test "the package installs as README says" {
    cd "$SDG_PACKAGES"
    run bash "$(as_printed install)"
    echo "$output"
    [ "$status" -eq 0 ]
    # apt gives dpkg a terminal, whose lines end with a carriage return.
    [ "$(tr -d '\r' <<<"$output" | grep -c '^sdg: sdg-agent is off.*: systemctl enable --now sdg-agent$')" -eq 1 ]
    run dpkg --verify sdg
    echo "$output"
    # What the suite's dpkg was told to leave out (documentation) is missing; nothing is altered.
    [ -z "$(grep -v '^missing .* /usr/share/\(doc\|man\)/' <<<"$output")" ]
    [ -x /usr/bin/sdg-runtime ]
    [ -s /usr/share/bash-completion/completions/sdg.bash ]
}

@test "the package has every file that was laid out, as it was, and no other but Debian's" {
    mkdir "$BATS_TEST_TMPDIR/deb"
    dpkg-deb --extract "$SDG_PACKAGES"/sdg_*.deb "$BATS_TEST_TMPDIR/deb"
    run diff -r --no-dereference "$SDG_DIST" "$BATS_TEST_TMPDIR/deb"
    echo "$output"
    # The group is udev's own, zsh's completions have another place there, and policy asks for the rest.
    [ "$(sed "s|$SDG_DIST|laid|; s|$BATS_TEST_TMPDIR/deb|deb|; s|^Only in ||" <<<"$output" | LC_ALL=C sort | xargs -d '\n' -n 1)" = "deb/usr/share/doc/sdg: changelog.Debian.gz
deb/usr/share/doc/sdg: copyright
deb/usr/share/zsh: vendor-completions
deb/usr/share: lintian
laid/usr/lib: sysusers.d
laid/usr/share/zsh: site-functions" ]
    diff -r "$SDG_DIST/usr/share/zsh/site-functions" "$BATS_TEST_TMPDIR/deb/usr/share/zsh/vendor-completions"
}

@test "who answers for the package is nobody at somebody else's domain" {
    dpkg-deb --field "$SDG_PACKAGES"/sdg_*.deb Maintainer | grep -x '.* <.*@sdg\.invalid>'
    run bash -c 'dpkg-deb --fsys-tarfile "$1" | tar -xO ./usr/share/doc/sdg/changelog.Debian.gz | gunzip' - "$SDG_PACKAGES"/sdg_*.deb
    grep -q '^ -- .* <.*@sdg\.invalid>  ' <<<"$output"
}

@test "an update leaves the agent that runs, and with it the guarded containers" {
    dpkg-deb --control "$SDG_PACKAGES"/sdg_*.deb "$BATS_TEST_TMPDIR/control"
    cd "$BATS_TEST_TMPDIR/control"
    # So a script of the package acts on a unit; on the agent's only that of a removal does.
    grep -q 'deb-systemd-invoke .*sdg-cdi-refresh' postinst
    run grep -B1 'deb-systemd-invoke .*sdg-agent' ./*
    echo "$output"
    [ "${#lines[@]}" -eq 2 ]
    [[ ${lines[0]} == ./prerm-*'"$1" = remove'* && ${lines[1]} == "./prerm:"*" stop sdg-agent.service"* ]]
}

@test "README's commands run as printed, on a simulated MI300X" {
    run sdg-sim run --preset mi300x -- bash "$(as_printed runnable)"
    echo "$output"
    [ "$status" -eq 0 ]
    # By annotation 20 GiB, by name 20 GiB.
    [ "$(grep -c 'VRAM Total Memory (B): 21474836480' <<<"$output")" -eq 2 ]
    [[ $output == *"gfx942"* ]]
    # A container's view of its GPU is the container's alone.
    [ "$(grep -c '191.98Gi  *304' <<<"$output")" -eq 1 ]
    [ -z "$(ls /run/sdg/slices)" ]
}

@test "README's commands for a machine without a GPU run as printed" {
    run bash "$(as_printed bare)"
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *"gfx942"* ]]
}

@test "the configuration that was installed says the defaults" {
    cmp /etc/sdg/config.toml "$PROJECT/packaging/config.toml"
    sdg-sim run --preset mi300x -- sdg --config /etc/sdg/config.toml gpu list
}

@test "removed, nothing is left but what a person changed, and purged, nothing at all" {
    echo 'lock_timeout = 20' >>/etc/sdg/config.toml
    run apt-get remove sdg
    echo "$output"
    [ "$status" -eq 0 ]
    run changes_since "$BATS_FILE_TMPDIR/before"
    echo "$output"
    # What Debian keeps of units until a purge, so that they are enabled or not as they were when the package comes again.
    [ "$(grep -v ' /etc/systemd/\| /var/lib/systemd/deb-systemd-helper-' <<<"$output" | xargs)" = "> /etc/sdg > /etc/sdg/config.toml" ]
    grep -q 'lock_timeout = 20' /etc/sdg/config.toml
    apt-get purge sdg
    run changes_since "$BATS_FILE_TMPDIR/before"
    echo "$output"
    [ -z "$output" ]
}
