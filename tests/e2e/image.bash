# Loaded by image.bats: STORAGE is a directory of its own.
. "$PROJECT/tests/e2e/slices.bash"

# By which people build the image, as the manifests' README prints it.
build_command() { grep -om 1 'podman build [^`]*' "$PROJECT/packaging/kubernetes/README.md"; }

# Images of the test's own, and builds in one layer, without the namespaces that a machine may not give.
own_images() {
    own_storage "$STORAGE" <<<$'[containers]\nlog_driver = "k8s-file"'
    export BUILDAH_ISOLATION=chroot BUILDAH_LAYERS=false
}

# unpack IMAGE DIRECTORY
unpack() {
    local name=sdg-image-$ID-${2##*/}
    mkdir "$2"
    engine create --name "$name" "$1" none >/dev/null
    engine export "$name" | tar -C "$2" -x
    engine rm "$name" >/dev/null
}

# listing DIRECTORY: all but the bytes of what is below.
listing() { (cd "$1" && find . ! -type d -printf '%p %m %U:%G %s %T@ %l\n' | LC_ALL=C sort); }

# same_files DIRECTORY DIRECTORY FILE…: they have these, with the same bytes, modes and owners.
same_files() {
    local file
    for file in "${@:3}"; do
        cmp "$1/$file" "$2/$file"
        [ "$(stat -c '%a %u %g' "$1/$file")" = "$(stat -c '%a %u %g' "$2/$file")" ]
    done
}

# The script of the DaemonSet's first container, which puts programs on the host.
install_script() {
    awk '/^ *- \|$/ { inside = 1; next } /securityContext:/ { inside = 0 } inside' "$PROJECT/packaging/kubernetes/daemonset.yaml"
}

# logged CONTAINER TEXT
logged() { engine logs "$1" 2>&1 | grep -q "$2"; }

reaped() { [ -z "$(ls "$STATE/slices")" ]; }
