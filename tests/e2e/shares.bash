# Loaded by tests that look whether something is given twice; `slices` lists them.

# No two slices have a compute unit, and no GPU has more memory guaranteed than the card has.
nothing_is_given_twice() {
    slices | jq -e '
        [.[].gpus[]] | group_by(.uuid) | all(
            (map(.memory_bytes) | add) <= 206141652992
            and (map(.compute_units) | add) <= 304
            and ([.[].cu_mask | to_entries[] | . as $word | range(32)
                | select((($word.value / pow(2; .)) | floor) % 2 == 1) | . + 32 * $word.key]
                | length == (unique | length)))' >/dev/null
}
