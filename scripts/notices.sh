#!/usr/bin/env bash
# Prints names, licences and notices of the crates that are built into the programs.
set -euo pipefail

# Licence files of a crate, but for the text of Apache-2.0, which is this project's own.
notices_of() {
    find "$1" -maxdepth 1 -type f \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'unlicense*' \) \
        ! -iname '*apache*' | LC_ALL=C sort
}

declare -A directories
while IFS=$'\t' read -r crate manifest; do directories[$crate]=$(dirname "$manifest"); done < <(
    cargo metadata --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu |
        jq -r '.packages[] | select(.source != null) | "\(.name) v\(.version)\t\(.manifest_path)"'
)
echo "Parts of sdg's programs that other projects made. Where Apache-2.0 may be chosen, it is."
cargo tree --locked -p sdg -p sdg-agent -p sdg-sim -p sdg-shim --edges normal --target x86_64-unknown-linux-gnu \
    --prefix none --no-dedupe --format $'{p}\t{l}' | sed 's/ (proc-macro)//; s/ (\*)$//; /^$/d' | LC_ALL=C sort -u |
    while IFS=$'\t' read -r crate licence; do
        # The workspace's own members are not there.
        [ -n "${directories[$crate]:-}" ] || continue
        printf '\n== %s, %s\n' "$crate" "$licence"
        while read -r file; do printf '\n' && cat "$file"; done < <(notices_of "${directories[$crate]}")
    done
