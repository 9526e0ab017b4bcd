#!/bin/sh
# Keeps a server that runs already registered with edgeproxy, by sh and curl alone, until SIGTERM or SIGINT.
#
#   API=http://127.0.0.1:8081 ID=shop-1 APP=shop REGION=eu IP=10.0.0.5 PORT=8080 sh edgeproxy.sh
#
# TOKEN_FILE names the file of a bearer token, DRAIN (30s) how long what is in flight may last in the end.
set -u
: "${API:?}" "${ID:?}" "${APP:?}" "${REGION:?}" "${IP:?}" "${PORT:?}" "${DRAIN:=30s}"

# The status is the last line; the body is what comes before it.
call() {
    method=$1 path=$2
    shift 2
    if [ -n "${TOKEN_FILE:-}" ]; then
        # By standard input, so that no list of processes shows it.
        printf 'header = "Authorization: Bearer %s"\n' "$(cat "$TOKEN_FILE")" |
            curl -sS --max-time 5 --noproxy '*' --config - -X "$method" -w '\n%{http_code}' "$@" "$API/api/v1/$path"
    else
        curl -sS --max-time 5 --noproxy '*' -X "$method" -w '\n%{http_code}' "$@" "$API/api/v1/$path"
    fi
}

member() { # member NAME ANSWER: a number in a JSON object
    printf '%s' "$2" | sed -n "s/.*\"$1\":\([0-9][0-9]*\).*/\1/p" | head -n 1
}

register() {
    answer=$(call POST register -H 'Content-Type: application/json' \
        -d "{\"id\":\"$ID\",\"app\":\"$APP\",\"region\":\"$REGION\",\"ip\":\"$IP\",\"port\":$PORT${TTL:+,\"ttl_secs\":$TTL}}")
    status=$(printf '%s' "$answer" | tail -n 1)
    case $status in
        200 | 201)
            incarnation=$(member incarnation "$answer")
            wait=$(member heartbeat_interval_secs "$answer")
            echo "registered $ID"
            ;;
        # A refused registration would be refused again.
        4[0-13-9][0-9] | 42[0-8]) echo "refused: $answer" >&2 && exit 1 ;;
        *) echo "no registration yet: $status" >&2 && wait=2 ;;
    esac
}

leave() {
    trap '' TERM INT
    [ -n "$incarnation" ] || exit 0
    # If-Match: a successor under the same id is not to be taken out.
    call DELETE "backends/$ID?drain=$DRAIN" -H "If-Match: \"$incarnation\"" >/dev/null
    # Until nothing is in flight any more; the server may stop then.
    while [ "$(member incarnation "$(call GET "backends/$ID")")" = "$incarnation" ]; do sleep 0.2; done
    echo "deregistered $ID"
    exit 0
}

incarnation='' stopping=''
# Only noted: a request that is under way is to end first. The pause is ended.
trap 'stopping=1; [ -z "${!:-}" ] || kill $! 2>/dev/null' TERM INT
register
while :; do
    [ -z "$stopping" ] || leave
    sleep "$wait" &
    [ -n "$stopping" ] || wait $!
    [ -z "$stopping" ] || leave
    if [ -z "$incarnation" ]; then
        register
        continue
    fi
    status=$(call POST "heartbeat/$ID" -H "If-Match: \"$incarnation\"" | tail -n 1)
    case $status in
        200) ;;
        404) register ;;
        412) echo "another server has taken $ID over" >&2 && exit 1 ;;
        *) echo "no heartbeat: $status" >&2 && wait=2 ;;
    esac
done
