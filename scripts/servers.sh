# The private servers: the user who runs them, and configuring, starting, awaiting and stopping
# each.
# shellcheck shell=bash

OUTSIDE=/var/lib/usher-dev # data of clones whose folder the servers' user cannot enter

# Chooses the user who runs the servers, since PostgreSQL refuses root, and a data folder that this
# user can enter.
servers_user() {
    AS_SERVER=(env -i "PATH=$PATH" LANG=C.UTF-8)
    if [[ $EUID == 0 ]]; then switch_server_user; fi
    mkdir -p "$DATA"
    DATA=$(cd "$DATA" && pwd -P)
}
switch_server_user() {
    id usher >/dev/null 2>&1 ||
        useradd --system --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin usher
    AS_SERVER=(
        setpriv --reuid=usher --regid=usher --init-groups
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
    )
    [[ ! -e $DATA ]] || return 0
    local folder=$DATA
    if ! "${AS_SERVER[@]}" test -x "$STATE"; then
        mkdir -p "$OUTSIDE"
        chmod 755 "$OUTSIDE"
        folder=$(mktemp -d "$OUTSIDE/$CLONE.XXXXXX")
        say backends "user usher cannot enter $ROOT, so the data is in $folder"
        ln -sfn "$folder" "$DATA"
    fi
    mkdir -p "$folder"
    chown usher: "$folder"
    chmod 700 "$folder"
}

as_server() { (cd "$DATA" && "${AS_SERVER[@]}" "$@"); }
# shellcheck disable=SC2016 # expanded by the inner shell
write_as_server() { as_server sh -c 'umask 077; cat >"$1"' - "$1"; }

# ---- Processes

# When a process started, in clock ticks since boot, which together with the pid identifies it.
# Empty if it is gone.
start_time() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    # shellcheck disable=SC2086 # fields after the name, which may hold spaces
    set -- ${stat##*) }
    [[ $1 == Z ]] || echo "${20}"
}

launch() { # NAME COMMAND...: in a session of its own, which Ctrl-C does not reach
    local name=$1
    shift
    if [[ -s $LOG/$name.log ]]; then mv "$LOG/$name.log" "$LOG/$name.log.1"; fi
    cd /
    setsid "${AS_SERVER[@]}" "$@" </dev/null >"$LOG/$name.log" 2>&1 9>&- &
    echo "$! $(start_time $!)" >"$RUN/$name.pid"
    cd "$ROOT"
}

alive() {
    local pid started
    read -r pid started 2>/dev/null <"$RUN/$1.pid" && [[ -n $started && $(start_time "$pid") == "$started" ]]
}

stop_signal() { if alive "$1"; then kill "-$2" "$(cut -d' ' -f1 "$RUN/$1.pid")"; fi; }

await_end() {
    local tenths
    for ((tenths = 0; tenths < 300; tenths++)); do
        alive "$1" || { rm -f "$RUN/$1.pid" && return; }
        sleep 0.1
    done
    say "$1" 'did not stop within 30 s: killed'
    stop_signal "$1" KILL
    rm -f "$RUN/$1.pid"
}

await_ready() {
    local tenths
    for ((tenths = 0; tenths < 1200; tenths++)); do
        if ! alive "$1"; then
            # PostgreSQL starts only once the last child of a killed predecessor has ended.
            ((tenths < 60)) || break
            sleep 1
            ((tenths += 10))
            "start_$1"
        fi
        "ready_$1" >/dev/null 2>&1 && return
        sleep 0.1
    done
    tail -n 20 "$LOG/$1.log" >&2
    die "$1 did not start: the end of $LOG/$1.log is above; $BEGIN_ANEW deletes its data and begins anew"
}

# Sends a greeting and expects an answer that contains a text.
answers() { # HOST/PORT GREETING ANSWER
    # shellcheck disable=SC2016 # expanded by the inner shell
    timeout 2 bash -c 'exec 3<>"/dev/tcp/$1" && printf "$2" >&3 && head -c 64 <&3 | grep -aqm1 "$3"' - "$@"
}

# ---- PostgreSQL

prepare_postgres() {
    free_port PG_PORT postgres && save_settings
    local folder=$DATA/postgres
    if [[ ! -d $folder ]]; then
        say postgres 'creating the database'
        # Made under another name and then renamed, so that an interrupted run leaves no half-made
        # folder.
        rm -rf -- "$folder.new"
        {
            echo "$PG_PASSWORD" | write_as_server "$DATA/password" &&
                as_server "$PG_BIN/initdb" -D "$folder.new" -U postgres --pwfile "$DATA/password" \
                    -A scram-sha-256 -E UTF8 --locale C.UTF-8 &&
                as_server rm password &&
                as_server mkdir postgres.new/usher &&
                as_server sh -c 'echo "include_dir = usher" >>postgres.new/postgresql.conf' &&
                printf '%s\n' "create role usher login createdb password '$PG_PASSWORD'" \
                    'create database usher owner usher' |
                as_server "$PG_BIN/postgres" --single -D "$folder.new" postgres &&
                as_server mv "$folder.new" "$folder"
        } >"$LOG/initdb.log" 2>&1 ||
            { tail -n 20 "$LOG/initdb.log" >&2 && die 'initdb failed: its output is above'; }
    fi
    write_as_server "$folder/usher/usher.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $PG_PORT
unix_socket_directories = '' # off, since a socket's path may have 107 letters at most
max_connections = 200
shared_buffers = 256MB
max_wal_size = 2GB
fsync = on
synchronous_commit = on
random_page_cost = 1.1
timezone = 'UTC'
log_timezone = 'UTC'
$(printf '%s\n' "${POSTGRES_LINES[@]}")
CONF
}
start_postgres() { launch postgres "$PG_BIN/postgres" -D "$DATA/postgres"; }
ready_postgres() { "$PG_BIN/pg_isready" -q -h 127.0.0.1 -p "$PG_PORT"; }

# ---- Redis

prepare_redis() {
    free_port REDIS_PORT redis && save_settings
    as_server mkdir -p "$DATA/redis"
    {
        printf '%s\n' 'bind 127.0.0.1' "port $REDIS_PORT" "dir \"$DATA/redis\"" 'databases 32' \
            'maxclients 4000' 'save ""' 'appendonly no' 'maxmemory-policy noeviction' \
            'daemonize no' 'logfile ""'
        if "$REDIS_SERVER" --version | grep -qv 'v=[456]\.'; then echo 'enable-debug-command local'; fi
    } | write_as_server "$DATA/redis/redis.conf"
}
start_redis() { launch redis "$REDIS_SERVER" "$DATA/redis/redis.conf"; }
ready_redis() { answers "127.0.0.1/$REDIS_PORT" 'PING\r\nQUIT\r\n' +PONG; }

# ---- RabbitMQ

prepare_rabbitmq() {
    free_port AMQP_PORT rabbitmq && free_port DIST_PORT rabbitmq
    alive epmd || free_port EPMD_PORT rabbitmq
    save_settings
    configure_rabbitmq rabbitmq "127.0.0.1:$AMQP_PORT"
}
configure_rabbitmq() { # NAME LISTENER
    local folder=$DATA/$1 vhost vhosts='' permissions=''
    as_server mkdir -p "$folder"
    if as_server test ! -f "$folder/.erlang.cookie"; then
        echo "$ERLANG_COOKIE" | write_as_server "$folder/.erlang.cookie"
        as_server chmod 400 "$folder/.erlang.cookie"
    fi
    for vhost in usher "${TEST_VHOSTS[@]}"; do
        vhosts+=",{\"name\":\"$vhost\"}"
        permissions+=",{\"user\":\"usher\",\"vhost\":\"$vhost\","
        permissions+='"configure":".*","write":".*","read":".*"}'
    done
    write_as_server "$folder/definitions.json" <<JSON
{
  "users": [{"name": "usher", "password": "$AMQP_PASSWORD", "tags": ""}],
  "vhosts": [${vhosts#,}],
  "permissions": [${permissions#,}]
}
JSON
    write_as_server "$folder/rabbitmq.conf" <<CONF
listeners.tcp.1 = $2
load_definitions = $folder/definitions.json
heartbeat = 10
vm_memory_high_watermark.relative = 0.4
disk_free_limit.absolute = 1GB
max_message_size = 65536
raft.wal_max_size_bytes = 64000000
log.console = true
log.console.level = info
$(printf '%s\n' "${RABBITMQ_LINES[@]}")
CONF
    echo '[{kernel, [{net_ticktime, 15}]}].' | write_as_server "$folder/advanced.config"
    echo '[].' | write_as_server "$folder/enabled_plugins"
}
rabbit_environment() { rabbit_environment_of rabbitmq "usher-$CLONE@localhost" 127.0.0.1; }
rabbit_environment_of() { # NAME NODE ADDRESS: at the address other nodes reach it
    local folder=$DATA/$1
    RABBIT_ENVIRONMENT=(
        "HOME=$folder" "ERL_EPMD_ADDRESS=$3" "ERL_EPMD_PORT=$EPMD_PORT"
        "RABBITMQ_NODENAME=$2" "RABBITMQ_DIST_PORT=$DIST_PORT"
        "RABBITMQ_CONF_ENV_FILE=/dev/null" "RABBITMQ_CONFIG_FILE=$folder/rabbitmq.conf"
        "RABBITMQ_ADVANCED_CONFIG_FILE=$folder/advanced.config"
        "RABBITMQ_ENABLED_PLUGINS_FILE=$folder/enabled_plugins"
        "RABBITMQ_MNESIA_BASE=$folder/mnesia" "RABBITMQ_LOG_BASE=$folder/log" "RABBITMQ_LOGS=-"
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {${3//./,}}"
        RUNNING_UNDER_SYSTEMD=true # runs as one process, without a shell that passes signals on
    )
}
start_rabbitmq() {
    rabbit_environment
    alive epmd ||
        launch epmd env "${RABBIT_ENVIRONMENT[@]}" epmd -port "$EPMD_PORT" -address 127.0.0.1
    launch rabbitmq env "${RABBIT_ENVIRONMENT[@]}" "$RABBIT_BIN/rabbitmq-server"
}
ready_rabbitmq() { answers "127.0.0.1/$AMQP_PORT" 'AMQP\x00\x00\x09\x01' capabilities; }

# Deletes the queues that an interrupted run left in the test virtual hosts, in one call, since a
# call takes seconds.
empty_test_vhosts() {
    alive rabbitmq || return 0
    local names
    names=$(printf ',<<"%s">>' "${TEST_VHOSTS[@]}")
    rabbit_environment
    as_server env "${RABBIT_ENVIRONMENT[@]}" "$RABBIT_BIN/rabbitmqctl" -q eval "
        [rabbit_amqqueue:delete(Q, false, false, <<\"dev\">>) ||
            V <- [${names#,}], Q <- rabbit_amqqueue:list(V)]." >"$LOG/rabbitmqctl.log" 2>&1 || {
        tail "$LOG/rabbitmqctl.log" >&2
        die 'the test virtual hosts could not be emptied: ./dev clean begins anew'
    }
}
