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
            interval=$(member heartbeat_interval_secs "$answer")
            wait=${interval:=2}
            echo "registered $ID"
            ;;
        408 | 429 | [!4]*) echo "no registration yet: $status" >&2 && wait=2 ;;
        # A refused registration would be refused again.
        *) echo "refused: $answer" >&2 && exit 1 ;;
    esac
}

gone() {
    answer=$(call GET "backends/$ID")
    case $(printf '%s' "$answer" | tail -n 1) in
        404) ;;
        200) [ "$(member incarnation "$answer")" != "$incarnation" ] ;;
        *) false ;;
    esac
}

late() { [ "$(date +%s)" -ge "$deadline" ]; }

leave() {
    # A second signal does not wait.
    trap 'exit 1' TERM INT
    [ -n "$incarnation" ] || exit 0
    case $DRAIN in
        *ms) seconds=$((${DRAIN%ms} / 1000)) ;;
        *m) seconds=$((${DRAIN%m} * 60)) ;;
        *) seconds=$((${DRAIN%s} + 0)) ;;
    esac
    deadline=$(($(date +%s) + seconds + 5))
    # A proxy that restarts is back soon, and would route to a server that has stopped.
    while :; do
        # If-Match: a successor under the same id is not to be taken out.
        status=$(call DELETE "backends/$ID?drain=$DRAIN" -H "If-Match: \"$incarnation\"" | tail -n 1)
        case $status in 200 | 404 | 412) break ;; esac
        late && echo "$ID is not deregistered ($status), and its lease has to run out" >&2 && exit 1
        sleep 0.5
    done
    # Until nothing is in flight any more; the server may stop then.
    [ "$status" != 200 ] || until gone || late; do sleep 0.2; done
    echo "deregistered $ID"
    exit 0
}

incarnation='' stopping='' pause='' interval=2
# Only noted: a request that is under way is to end first. The pause is ended.
trap 'stopping=1; [ -z "$pause" ] || kill "$pause" 2>/dev/null' TERM INT
register
while :; do
    [ -z "$stopping" ] || leave
    sleep "$wait" &
    pause=$!
    if [ -n "$stopping" ]; then kill "$pause" 2>/dev/null; else wait "$pause"; fi
    pause=''
    [ -z "$stopping" ] || leave
    if [ -z "$incarnation" ]; then
        register
        continue
    fi
    status=$(call POST "heartbeat/$ID" -H "If-Match: \"$incarnation\"" | tail -n 1)
    case $status in
        200) wait=$interval ;;
        404) register ;;
        412) echo "another server has taken $ID over" >&2 && exit 1 ;;
        *) echo "no heartbeat: $status" >&2 && wait=2 ;;
    esac
done
