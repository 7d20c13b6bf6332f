# The completions that were laid out, in the shells that they are for.

CASES=("sdg sli|slice" "sdg slice create --memory-l|--memory-limit" "sdg-sim rootfs --rocm 7|7.2" "sdg-agent nr|nri" "sdg-sim roo|rootfs")

setup() {
    SHARE=$SDG_DIST/usr/share
    # fish completes only what it can call.
    PATH=$SDG_DIST/usr/bin:$PATH
}

# By the loader of Debian's bash-completion, as a Tab calls it.
in_bash() {
    XDG_DATA_DIRS=$SHARE bash --norc --noprofile -c '
        . /usr/share/bash-completion/bash_completion
        read -ra COMP_WORDS <<<"$1"
        COMP_LINE=$1 COMP_POINT=${#1} COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        program=${COMP_WORDS[0]}
        _completion_loader "$program" || [ $? -eq 124 ]
        function=$(complete -p "$program" | grep -o "\-F [^ ]*")
        "${function#-F }" "$program" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf "%s\n" "${COMPREPLY[@]}"' bash "$1"
}

in_fish() { XDG_DATA_DIRS=$SHARE HOME=$BATS_TEST_TMPDIR fish --command 'complete --do-complete "$argv[1]"' "$1" | cut -f 1; }

# On a terminal of its own, where a Tab is pressed and a key that writes the line to a file.
in_zsh() {
    SHARE=$SHARE OUT=$BATS_TEST_TMPDIR/line zsh -f -c '
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell "fpath=(\$SHARE/zsh/site-functions \$fpath); autoload -Uz compinit; compinit -D -u"
        zpty -w shell "line() { print -r -- \$BUFFER >\$OUT; exit }; zle -N line; bindkey \"^X\" line"
        zpty -w -n shell "$1"$'"'\t\x18'"'
        while zpty -r shell; do :; done' zsh "$1" >/dev/null
    awk '{ print $NF }' "$BATS_TEST_TMPDIR/line"
}

# completes SHELL: each beginning to the one word that it can be.
completes() {
    local case
    for case in "${CASES[@]}"; do
        run "in_$1" "${case%|*}"
        echo "$case: $output"
        # zsh adds the sign that a value may come after.
        [ "${output%=}" = "${case#*|}" ]
    done
}

@test "bash completes verbs, options and values of each program" { completes bash; }

@test "fish completes verbs, options and values of each program" { completes fish; }

@test "zsh completes verbs, options and values of each program" { completes zsh; }
