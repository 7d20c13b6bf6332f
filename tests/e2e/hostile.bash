# Loaded by tests of images that mean to lead hooks and runtimes out of them. One list, and each door runs it all: a
# container of each image is held by its slice, or refused in one line, and nothing outside the image is touched.
#   WORK  the test's directory, `slices` and `no_slice_is_left` of slices.bash or engine.bash

ASKED=(--annotation=sdg.memory=1Gi --annotation=sdg.compute=100m)
# Asks for what its slice has nearly all of, and for more than is left.
HELD=(/libc-kfd $((1000 << 20)) $((100 << 20)))

# Configuration: a runtime that fails before any hook leaves a slice that the next placement reaps, here at once.
NO_GRACE='claim_grace = 0'

# Where runc makes what a link leads to, beneath the image, crun refuses a link to a directory that is not there.
LINKS_TO_CRUN=(run-link=refused sdg-link=refused sys-link=refused)

# A link at /dev is not among them: runc 1.1 follows it to the host by itself, with a slice or without.
# What becomes of each image, and what our line says of one that we refuse (a regular expression); a runtime that refuses
# has words of its own.
hostile_images() {
    grep -v '^#' <<-END
		# image              outcome  our line
		plain                held
		preload-link         held
		preload-up           held
		preload-process      refused
		preload-loop         refused  symbolic links
		preload-directory    refused  is no regular file
		preload-fifo         refused  is no regular file
		preload-device       refused  is no regular file
		preload-gib          refused  is 1073741824 bytes long
		preload-unreadable   held
		etc-link             held
		etc-up               held
		etc-file             refused  /etc in the image is no directory
		no-etc               held
		run-link             held
		sdg-link             held
		limits-link          held
		usage-link           held
		shim-link            held
		limits-directory     refused
		limits-fifo          held
		sys-link             held
		bare                 held
		program-link         refused  No such file
		read-only            held
		read-only-medium     refused
		user-namespace       held
		privileged           refused  reach every GPU|not of its slice
	END
}

# hostile_setup: host's files that links of images lead to, and an image with no more than the program needs.
hostile_setup() {
    local library program
    HOST=$WORK/host PLAIN=$WORK/plain
    mkdir -p "$HOST"/{etc,run,sys} "$PLAIN"/{etc,run,dev,sys,proc,tmp}
    for file in etc/ld.so.preload run/limits run/usage run/libsdg.so; do
        echo "the host's" >"$HOST/$file"
    done
    for program in "$PROJECT/target/e2e/bin/libc-kfd" /bin/sh; do
        cp -L "$program" "$PLAIN/"
        for library in $(ldd "$program" | grep -o '/[^ ]*'); do
            mkdir -p "$PLAIN$(dirname "$library")"
            cp -L "$library" "$PLAIN$library"
        done
    done
    cp "$PLAIN/libc-kfd" "$HOST/"
    chmod -R a+rX "$WORK"
}

# hostile IMAGE ROOT: makes a plain image hostile.
hostile() {
    local root=$2 preload=$2/etc/ld.so.preload
    # As many as there may be levels above it.
    local up=../../../../../../../../../../..
    case $1 in
    preload-link) ln -s "$HOST/etc/ld.so.preload" "$preload" ;;
    preload-up) ln -s "$up$HOST/etc/ld.so.preload" "$preload" ;;
    preload-process) ln -s "/proc/1/root$HOST/etc/ld.so.preload" "$preload" ;;
    preload-loop) ln -s ld.so.preload "$preload" ;;
    preload-directory) mkdir "$preload" ;;
    preload-fifo) mkfifo "$preload" ;;
    preload-device) mknod "$preload" c 1 3 ;;
    preload-gib) truncate -s 1G "$preload" ;;
    preload-unreadable) echo /own.so >"$preload" && chmod 0 "$preload" ;;
    etc-link) rmdir "$root/etc" && ln -s "$HOST/etc" "$root/etc" ;;
    etc-up) rmdir "$root/etc" && ln -s "$up$HOST/etc" "$root/etc" ;;
    etc-file) rmdir "$root/etc" && touch "$root/etc" ;;
    no-etc) rmdir "$root/etc" ;;
    run-link) rmdir "$root/run" && ln -s "$HOST/run" "$root/run" ;;
    sdg-link) ln -s "$up$HOST/run" "$root/run/sdg" ;;
    limits-link) mkdir "$root/run/sdg" && ln -s "$HOST/run/limits" "$root/run/sdg/limits" ;;
    usage-link) mkdir "$root/run/sdg" && ln -s "$up$HOST/run/usage" "$root/run/sdg/usage" ;;
    shim-link) mkdir "$root/run/sdg" && ln -s "$HOST/run/libsdg.so" "$root/run/sdg/libsdg.so" ;;
    limits-directory) mkdir -p "$root/run/sdg/limits" ;;
    limits-fifo) mkdir "$root/run/sdg" && mkfifo "$root/run/sdg/limits" ;;
    sys-link) rmdir "$root/sys" && ln -s "$HOST/sys" "$root/sys" ;;
    bare) rmdir "$root"/{etc,run,dev,sys,proc,tmp} ;;
    program-link) ln -sf "$HOST/libc-kfd" "$root/libc-kfd" ;;
    read-only-medium) mount --bind "$root" "$root" && mount -o remount,bind,ro "$root" ;;
    esac
}

# Files of the host that images lead to or that we are said to touch, with what changes when they are touched, and mounts.
host_state() {
    find "$HOST" "${SDG%/bin/sdg}" /etc/ld.so.preload /run/sdg /opt /dev/kfd /dev/dri -printf '%p %i %y %m %U %s %T@ %C@ %l\n' 2>/dev/null | sort
    find "$HOST" -type f -exec sha256sum {} + | sort
    # Of what the test made; engines have mounts of their own that come and go.
    grep -F "$WORK" /proc/self/mountinfo || true
}

# untouched BEFORE: shows what is otherwise than it was.
untouched() { diff <(echo "$1") <(host_state); }

nothing_is_left() { sdg slice reap >/dev/null && no_slice_is_left && [ -z "$(ls -A "$WORK/state/slices" 2>/dev/null)" ]; }

# outcome_of STATUS OUTPUT: held by its slice; refused: its program never began.
outcome_of() {
    case $2 in
    *'"step":"allocated"'*'"step":"beyond","errno":12'*'"step":"done"'*) [ "$1" -eq 0 ] && echo held ;;
    *'"step"'* | *'"error"'*) echo "begun, status $1" ;;
    *) [ "$1" -ne 0 ] && echo refused ;;
    esac
}

# every_image DOOR [IMAGE=OUTCOME…]: a container of each image by a door, `DOOR IMAGE ROOT`, whose program is $HELD. Where a
# door has another outcome than the list it is said; none: the door has no such containers.
every_image() {
    local door=$1 image outcome said before output status root wrong=0 exception
    shift
    # What an engine makes on first use is there before the first look.
    cp -a "$PLAIN" "$WORK/image" && "$door" plain "$WORK/image" >/dev/null 2>&1 </dev/null || true
    rm -rf "$WORK/image"
    before=$(host_state)
    while read -r image outcome said; do
        for exception; do [ "${exception%=*}" != "$image" ] || outcome=${exception#*=} said=; done
        [ -n "$outcome" ] || continue
        root=$WORK/image
        cp -a "$PLAIN" "$root"
        hostile "$image" "$root"
        status=0
        output=$("$door" "$image" "$root" 2>&1 </dev/null) || status=$?
        ! mountpoint -q "$root" || umount "$root"
        rm -rf "$root"
        if [ "$(outcome_of "$status" "$output")" != "$outcome" ] || [[ ! $output =~ $said ]] ||
            [ "$(grep -c 'sdg: ' <<<"$output")" -gt 1 ]; then
            echo "$image: $(outcome_of "$status" "$output"), expected $outcome ${said:+with \"$said\"}"
            sed 's/^/    /' <<<"$output"
            wrong=1
        fi
        untouched "$before" || { echo "$image has touched the host" && wrong=1 && before=$(host_state); }
        nothing_is_left || { echo "$image has left a slice" && wrong=1; }
    done < <(hostile_images)
    return $wrong
}

# swapped_image ROOT: an image with links to the host and to its own mounts, to be exchanged for what is there.
swapped_image() {
    local root=$1
    cp -a "$PLAIN" "$root"
    mkdir -p "$root"/{run/sdg,other}
    touch "$root/etc/ld.so.preload" "$root"/run/sdg/{limits,libsdg.so}
    ln -s "$HOST/etc/ld.so.preload" "$root/other/preload"
    ln -s "$HOST/etc" "$root/other/etc"
    ln -s "../../../../../../../../../..$HOST/run" "$root/other/sdg"
    ln -s /proc "$root/other/limits"
    ln -s /proc "$root/other/shim"
}

# exchanged DOOR [NAME OTHER]…: containers of an image in which names are exchanged for others all the while, for
# $SDG_RACE_SECONDS. Whether one starts is chance, and with what; but nothing outside of the image is touched.
exchanged() {
    local door=$1 before output root=$WORK/image end exchange begun=0 all=0 wrong=0
    shift
    [ $# -gt 0 ] || set -- etc/ld.so.preload other/preload etc other/etc run/sdg other/sdg run/sdg/limits other/limits
    swapped_image "$root"
    before=$(host_state)
    nice -n 10 "$PROJECT/target/e2e/bin/raw-exchange" "$root" "$@" &
    exchange=$!
    end=$((SECONDS + ${SDG_RACE_SECONDS:-4}))
    while [ "$SECONDS" -lt "$end" ] || [ "$all" -lt 4 ]; do
        output=$("$door" plain "$root" 2>&1 </dev/null) || true
        all=$((all + 1))
        [[ $output != *'"step"'* && $output != *'"error"'* ]] || begun=$((begun + 1))
        nothing_is_left || { echo "$output" && wrong=1 && break; }
    done
    kill "$exchange" || { echo "nothing was exchanged to the end" && wrong=1; }
    wait "$exchange" || true
    echo "$all containers, of which $begun began"
    rm -rf "$root"
    untouched "$before" || wrong=1
    [ "$wrong" -eq 0 ]
}
