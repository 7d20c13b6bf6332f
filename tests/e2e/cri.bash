# A client of the Container Runtime Interface: gRPC is HTTP/2, and a message is its length and protobuf. Debian has no
# crictl.

CRI_SOCKET=/run/containerd/containerd.sock
CRI_PROTO=$PROJECT/tests/e2e/cri.proto

# cri METHOD REQUEST RESPONSE: the request as text on stdin, the answer as text on stdout, an error on stderr.
cri() {
    local method=$1 request=$2 response=$3 size status
    protoc --proto_path="${CRI_PROTO%/*}" --encode="runtime.v1.$request" "$CRI_PROTO" >"$WORK/cri.message"
    size=$(stat -c %s "$WORK/cri.message")
    {
        # shellcheck disable=SC2059
        printf "$(printf '\\x00\\x%02x\\x%02x\\x%02x\\x%02x' $((size >> 24)) $((size >> 16 & 255)) $((size >> 8 & 255)) $((size & 255)))"
        cat "$WORK/cri.message"
    } >"$WORK/cri.request"
    curl --silent --show-error --max-time 60 --http2-prior-knowledge --unix-socket "$CRI_SOCKET" --dump-header "$WORK/cri.headers" \
        --header 'content-type: application/grpc' --header 'te: trailers' --data-binary @"$WORK/cri.request" \
        --output "$WORK/cri.response" "http://localhost/runtime.v1.RuntimeService/$method"
    status=$(tr -d '\r' <"$WORK/cri.headers" | sed -n 's/^grpc-status: //p' | tail -n 1)
    if [ "$status" != 0 ]; then
        tr -d '\r' <"$WORK/cri.headers" | sed -n 's/^grpc-message: //p' | sed 's/%22/"/g; s/%0A/ /g' >&2
        return 1
    fi
    tail -c +6 "$WORK/cri.response" | protoc --proto_path="${CRI_PROTO%/*}" --decode="runtime.v1.$response" "$CRI_PROTO"
}

# The value of a text field in an answer.
cri_field() { sed -n "s/^ *$1: \"\?\([^\"]*\)\"\?$/\1/p"; }

# cri_pairs FIELD KEY=VALUE…: as entries of a map.
cri_pairs() {
    local field=$1 pair
    shift
    for pair; do
        printf '%s { key: "%s" value: "%s" }\n' "$field" "${pair%%=*}" "${pair#*=}"
    done
}

# cri_pod NAME [ANNOTATION…] [-- LABEL…]: its configuration. The host's network, so that no CNI plugin is needed.
cri_pod() {
    local name=$1 annotations=()
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        annotations+=("$1")
        shift
    done
    echo "metadata { name: \"$name\" uid: \"$name\" namespace: \"default\" } log_directory: \"$WORK/logs\""
    echo 'linux { security_context { namespace_options { network: 2 } } }'
    cri_pairs annotations "${annotations[@]}"
    cri_pairs labels "${@:2}"
}
