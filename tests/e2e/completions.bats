# The completions that were laid out, in the shells that they are for.

CASES=("sdg sli|slice" "sdg slice create --memory-l|--memory-limit" "sdg setup pod|podman" "sdg-agent nr|nri" "sdg-sim roo|rootfs")

setup() { SHARE=$SDG_DIST/usr/share; }

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

# On a terminal of its own, where a Tab is pressed and the line is read.
in_zsh() {
    zsh -f -c '
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell "fpath=($1 \$fpath); autoload -Uz compinit; compinit -D -u; PS1="
        zpty -w shell "line() { print -r -- \"<\${BUFFER% }>\"; BUFFER= }; zle -N line; bindkey \"^X\" line"
        zpty -w -n shell "$2"$'"'\t\x18'"'
        zpty -r -m shell line "*<*>*"
        print -r -- "${${line##*<}%>*}"' zsh "$SHARE/zsh/site-functions" "$1" | awk '{ print $NF }'
}

# completes SHELL: each beginning to the one word that it can be.
completes() {
    local case
    for case in "${CASES[@]}"; do
        run "in_$1" "${case%|*}"
        echo "$case: $output"
        [ "$output" = "${case#*|}" ]
    done
}

@test "bash completes verbs, options and values of each program" { completes bash; }

@test "fish completes verbs, options and values of each program" { completes fish; }

@test "zsh completes verbs, options and values of each program" { completes zsh; }
