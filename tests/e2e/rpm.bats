# The rpm of `make dist` (SDG_PACKAGES): put into an empty root by rpm itself, compared with what was laid out (SDG_DIST),
# used, and taken out. The root has a busybox as its shell, so that the package's scripts run.

setup_file() {
    . "$PROJECT/tests/e2e/rpm.bash"
    export ROOT=$BATS_FILE_TMPDIR/root
    # The directories that a distribution has anyway.
    mkdir -p "$ROOT"/{dev,etc/containers,proc,run,tmp,usr/bin,var/lib/rpm,var/tmp} \
        "$ROOT"/usr/lib/{systemd/system,sysusers.d,tmpfiles.d,udev/rules.d} \
        "$ROOT"/usr/share/{bash-completion/completions,doc,fish/vendor_completions.d,licenses,man/man1,zsh/site-functions}
    mknod -m 666 "$ROOT/dev/null" c 1 3
    mount -t proc proc "$ROOT/proc"
    ln -s usr/bin "$ROOT/bin"
    cp /bin/busybox "$ROOT/usr/bin/busybox"
    for name in sh ls rm rmdir find echo; do ln -s busybox "$ROOT/usr/bin/$name"; done
    names >"$BATS_FILE_TMPDIR/before"
    rpm_in_root --nodeps --install "$SDG_PACKAGES"/sdg-*.rpm >"$BATS_FILE_TMPDIR/said"
}

setup() { . "$PROJECT/tests/e2e/rpm.bash"; }

teardown_file() { umount "${ROOT:?}/proc"; }

@test "every file that was laid out is in the root, as it was, and no other" {
    diff <(cd "$SDG_DIST" && find . ! -type d | sort) \
        <(rpm_in_root --query --list sdg | sed 's/^/./' | grep -v '^./usr/share/licenses/' | sort)
    cd "$SDG_DIST"
    while read -r file; do cmp "$file" "$ROOT/$file"; done < <(find . ! -type d)
    cmp "$PROJECT/LICENSE" "$ROOT/usr/share/licenses/sdg/LICENSE"
    [ -x "$ROOT/usr/bin/sdg" ]
    [ -x "$ROOT/usr/lib/sdg/forget-engines" ]
}

@test "the first installation says that the agent is off, and what switches it on" {
    grep -x 'sdg: sdg-agent is off.*: systemctl enable --now sdg-agent' "$BATS_FILE_TMPDIR/said"
}

@test "the package's metadata name no mailbox" {
    run rpm_in_root --query --info sdg
    [[ $output == *"Name        : sdg"* && $output != *@* ]]
}

@test "the configuration is a person's: an update does not replace it" {
    rpm_in_root --query --configfiles sdg | grep -qx /etc/sdg/config.toml
    # Flag 16 is %config(noreplace). Source: rpm, rpmfileAttrs_e (RPMFILE_NOREPLACE is 1 << 4).
    rpm_in_root --query --queryformat '[%{FILENAMES} %{FILEFLAGS}\n]' sdg |
        awk '$1 == "/etc/sdg/config.toml" { found = int($2 / 16) % 2 } END { exit !found }'
}

@test "the program runs there, also under its name as a runtime" {
    [ "$(in_root /usr/bin/sdg --version)" = "sdg $(rpm_in_root --query --queryformat '%{VERSION}' sdg)" ]
    run in_root /usr/bin/sdg setup podman --dry-run
    echo "$output"
    [[ $output == *"/usr/share/sdg/hooks.d/podman"* ]]
}

@test "removed, nothing is left, the engine's configuration neither" {
    in_root /usr/bin/sdg setup podman
    [ -s "$ROOT/etc/containers/containers.conf.d/zz-sdg.conf" ]
    rpm_in_root --erase sdg
    run diff "$BATS_FILE_TMPDIR/before" <(names)
    echo "$output"
    [ -z "$output" ]
}
