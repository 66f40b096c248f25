# The servers that Usher uses: given, private, or from docker-compose.yml; their addresses, ports
# and secrets.
# shellcheck shell=bash

STATE=$ROOT/.dev DATA=$ROOT/.dev/data LOG=$ROOT/.dev/log RUN=$ROOT/.dev/run
CLONE=$(printf %s "$ROOT" | cksum | cut -d' ' -f1) # a number for this clone, in names that clones share
BACKENDS=(postgres redis rabbitmq)
BEGIN_ANEW='./dev clean'
# Below 32768, so that no outgoing connection gets one of these ports while its server is down.
PG_PORT=24329 REDIS_PORT=23790 AMQP_PORT=26729 DIST_PORT=26829 EPMD_PORT=23690
TEST_VHOSTS=(usher_test_0 usher_test_1 usher_test_2 usher_test_3)
POSTGRES_LINES=() RABBITMQ_LINES=() # further lines of their configuration

# Starts the servers that the environment does not name, and exports the addresses of all.
backends() {
    { mkdir -p "$RUN" "$LOG" && [[ -w $STATE ]]; } 2>/dev/null ||
        die "$STATE cannot be written: it belongs to another user (chown it, or delete it)"
    refuse_copied_state
    raise_open_files
    load_settings
    local name missing=()
    NEEDED=''
    for name in "${BACKENDS[@]}"; do is_given "$name" || NEEDED+=" $name"; done
    if [[ -n $NEEDED ]]; then
        (($(df -Pk "$ROOT" | awk 'END { print $4 }') > 2000000)) ||
            die "less than 2 GB free on the disk of $ROOT: make room first"
        read -ra missing < <(missing_packages | xargs)
        if [[ ${#missing[@]} == 0 ]] || apt_install "${missing[@]}"; then
            find_programs
            start_private
        elif docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
            start_compose
        else
            die "missing: ${missing[*]}" "install them, or run 'sudo ./dev services' once," \
                'or start a Docker engine, or set DATABASE_URL, REDIS_URL and AMQP_URL'
        fi
    fi
    for name in $NEEDED; do
        grep -qsxF -- "$(own_url "$name")" "$STATE/own-urls" || own_url "$name"
    done | append_private "$STATE/own-urls"
    export DATABASE_URL=${DATABASE_URL:-$(own_url postgres)}
    export REDIS_URL=${REDIS_URL:-$(own_url redis)}
    export AMQP_URL=${AMQP_URL:-$(own_url rabbitmq)}
    export USHER_MASTER_KEY=${USHER_MASTER_KEY:-$MASTER_KEY}
    for name in DATABASE_URL REDIS_URL AMQP_URL USHER_MASTER_KEY; do
        printf 'export %s=%q\n' "$name" "${!name}"
    done | write_private "$STATE/env"
}

is_needed() { [[ " $NEEDED " == *" $1 "* ]]; }

# Whether the environment names a server that is not ours. It may also hold our own address, on this
# or an earlier port, from `. .dev/env`.
is_given() {
    local variable
    case $1 in
    postgres) variable=DATABASE_URL ;;
    redis) variable=REDIS_URL ;;
    rabbitmq) variable=AMQP_URL ;;
    esac
    if grep -qsxF -- "${!variable:-}" "$STATE/own-urls"; then unset "$variable"; fi
    [[ -n ${!variable:-} ]]
}

own_url() {
    case $1 in
    postgres) echo "postgres://usher:$PG_PASSWORD@127.0.0.1:$PG_PORT/usher" ;;
    redis) echo "redis://127.0.0.1:$REDIS_PORT" ;;
    rabbitmq) echo "amqp://usher:$AMQP_PASSWORD@127.0.0.1:$AMQP_PORT/usher" ;;
    esac
}

# A state folder that was copied with a clone names the servers and data of the original.
refuse_copied_state() {
    if [[ -f $STATE/settings ]] && ! grep -qx "CLONE=$CLONE" "$STATE/settings"; then
        die "$STATE came with a copied or moved clone: delete the folder, the next start makes a new one"
    fi
}

# Ports and secrets of this clone, made once.
load_settings() {
    PG_PASSWORD=$(random) AMQP_PASSWORD=$(random) ERLANG_COOKIE=$(random)
    MASTER_KEY=$(head -c 32 /dev/urandom | base64)
    # shellcheck source=/dev/null
    if [[ -f $STATE/settings ]]; then . "$STATE/settings"; fi
    save_settings
}
save_settings() {
    local name
    for name in CLONE PG_PORT REDIS_PORT AMQP_PORT DIST_PORT EPMD_PORT \
        PG_PASSWORD AMQP_PASSWORD ERLANG_COOKIE MASTER_KEY; do
        printf '%s=%s\n' "$name" "${!name}"
    done | write_private "$STATE/settings"
}
random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }
append_private() { (umask 077 && cat >>"$1"); }
write_private() { (umask 077 && cat >"$1.new" && mv "$1.new" "$1"); }

# Allows tens of thousands of sockets; not "unlimited", since some programs reserve memory by the
# limit.
raise_open_files() {
    local limit
    limit=$(ulimit -Hn)
    if [[ $limit == unlimited ]] || ((limit > 1048576)); then limit=1048576; fi
    ulimit -n "$limit"
}

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Raises the port in the named variable until it is free.
free_port() {
    local first=${!1} port
    for ((port = first; port < first + 90; port++)); do
        taken "$port" && continue
        if ((port != first)); then say "$2" "port $first is taken, using $port"; fi
        printf -v "$1" %s "$port"
        return
    done
    die "no free port for $2 between $first and $port"
}

start_private() {
    local name port started=''
    servers_user
    # One clone at a time, so that two do not choose the same port.
    exec 9>"${TMPDIR:-/tmp}/usher-dev-$EUID.lock"
    flock -n 9 || { say backends 'waiting for another ./dev' && flock -w 300 9; } ||
        die 'another ./dev holds the start lock'
    for name in rabbitmq redis postgres; do # the slowest first
        is_needed "$name" || continue
        alive "$name" && continue
        "prepare_$name"
        port=$(own_url "$name") port=${port##*:}
        say "$name" "starting on port ${port%/*}"
        "start_$name"
        started+=" $name"
    done
    for name in $NEEDED; do await_ready "$name"; done
    exec 9>&-
    for name in $started; do say "$name" 'ready'; done
}

stop_backends() {
    local name running=''
    refuse_copied_state
    if [[ -f $STATE/compose.env ]]; then compose stop; fi
    for name in "${BACKENDS[@]}"; do
        alive "$name" || continue
        say "$name" 'stopping'
        running=1
        case $name in
        postgres) stop_signal "$name" INT ;; # ends the sessions and writes a checkpoint
        *) stop_signal "$name" TERM ;;
        esac
    done
    for name in "${BACKENDS[@]}"; do await_end "$name"; done
    stop_signal epmd TERM
    await_end epmd
    [[ -n $running ]] || say backends 'none was running'
}

delete_backends() {
    local folder
    if [[ -f $STATE/compose.env ]]; then compose down --volumes; fi
    folder=$(readlink "$DATA" || true)
    if [[ $folder == "$OUTSIDE"/* ]]; then rm -rf -- "$folder"; fi
    rm -rf -- "$STATE"
}

# ---- With Docker

compose() {
    docker compose --project-name "usher-dev-$CLONE" --env-file "$STATE/compose.env" \
        -f "$ROOT/docker-compose.yml" -f "$ROOT/deploy/compose.backends.yml" "$@"
}

start_compose() {
    local name vhost
    if [[ ! -f $STATE/compose.env ]]; then
        free_port PG_PORT postgres
        free_port REDIS_PORT redis
        free_port AMQP_PORT rabbitmq
        save_settings
    fi
    printf '%s\n' "POSTGRES_PASSWORD=$PG_PASSWORD" "RABBITMQ_PASSWORD=$AMQP_PASSWORD" \
        "USHER_MASTER_KEY=$MASTER_KEY" "POSTGRES_PORT=$PG_PORT" "REDIS_PORT=$REDIS_PORT" \
        "RABBITMQ_PORT=$AMQP_PORT" | write_private "$STATE/compose.env"
    say backends "starting$NEEDED with docker compose"
    # shellcheck disable=SC2086 # a list of names
    compose up --detach --wait $NEEDED || die 'docker compose failed: its output is above'
    is_needed rabbitmq || return 0
    for vhost in "${TEST_VHOSTS[@]}"; do
        compose exec -T rabbitmq rabbitmqctl -q add_vhost "$vhost" 2>/dev/null || true # it may exist
        compose exec -T rabbitmq rabbitmqctl -q set_permissions -p "$vhost" usher '.*' '.*' '.*'
    done
}

# ---- Messages

say() { printf '%s: %s\n' "$1" "$2" >&2; }
die() {
    printf 'error: %s\n' "$@" >&2
    exit 1
}
