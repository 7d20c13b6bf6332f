# The last one, not an update. cargo-generate-rpm makes packages that own files and no directories.
if [ "$1" -eq 0 ]; then
    for directory in /etc/sdg /usr/lib/sdg /usr/share/sdg /usr/share/doc/sdg /usr/share/licenses/sdg; do
        [ ! -d "$directory" ] || find "$directory" -depth -type d -empty -exec rmdir {} ';'
    done
fi
