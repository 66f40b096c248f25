#!/usr/bin/env bash
# Private servers that a test may kill, freeze, cut off and start again.
#
#   arena.sh up DIR [--cluster]   starts them empty and prints addresses and pids, NAME=VALUE on
#                                 each line; with --cluster three brokers, each in a network
#                                 namespace of its own (needs root; exits with 3 if the machine
#                                 forbids it)
#   arena.sh start DIR NAME       starts postgres, redis, rabbitmq or rabbitmq1 to 3 again, prints
#                                 the new pid
#   arena.sh cut DIR N            broker N loses its peers and keeps its clients
#   arena.sh blackhole DIR N      broker N loses both, without a reset: packets vanish
#   arena.sh join DIR N           restores both links of broker N
#   arena.sh alarm DIR on|off     raises or ends the broker's memory alarm
#   arena.sh suspend DIR QUEUE S  suspends the process of a quorum queue for S seconds
#   arena.sh unqueue DIR QUEUE    deletes a queue, full or not, as an operator would by hand
#   arena.sh back DIR             starts redis again with its last dump (start begins it empty)
#   arena.sh clock DIR NAME +-S   sets the clock of postgres or redis S seconds off the machine's;
#                                 +0 sets it right
#   arena.sh down DIR             ends everything and deletes all but DIR/log
set -Eeuo pipefail
trap 'echo "error: $BASH_COMMAND (line $LINENO of ${BASH_SOURCE[0]})" >&2' ERR
trap 'exit 130' INT TERM

CHECKOUT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
COMMANDS='up|start|cut|blackhole|join|alarm|suspend|unqueue|back|clock|down'
if [[ $# -lt 2 || ! $1 =~ ^($COMMANDS)$ ]]; then
    sed -n '2,/^set/{s/^# \?//p}' "$0" >&2
    exit 2
fi
mkdir -p "$2"
ROOT=$(cd -- "$2" && pwd -P) # the scripts treat an arena like a clone: a folder with servers of its own
. "$CHECKOUT/scripts/backends.sh"
. "$CHECKOUT/scripts/programs.sh"
. "$CHECKOUT/scripts/servers.sh"
STATE=$ROOT/state DATA=$ROOT/state/data RUN=$ROOT/state/run LOG=$ROOT/log
BEGIN_ANEW="arena.sh up $ROOT" TEST_VHOSTS=()

# Ports follow from the folder, so that arenas can start at the same time and a restarted server
# finds its port free.
PG_PORT=$((10000 + CLONE % 1900)) REDIS_PORT=$((PG_PORT + 2000)) AMQP_PORT=$((PG_PORT + 4000))
DIST_PORT=$((PG_PORT + 6000)) EPMD_PORT=$((PG_PORT + 8000))
NODES=(1 2 3)
NAMESPACE=usher-$CLONE BRIDGE=us$CLONE # an interface's name has at most 15 letters
# Shared memory is in files, which are deleted with the data even after a crash.
POSTGRES_LINES=(
    'log_lock_waits = on'
    'deadlock_timeout = 200ms'
    'dynamic_shared_memory_type = mmap'
    'recovery_init_sync_method = syncfs'
)
RABBITMQ_LINES=('heartbeat = 3') # so that a frozen process is noticed within seconds

arena_up() { # [--cluster]
    local name brokers=(rabbitmq) missing=()
    arena_down
    mkdir -p "$RUN" "$LOG"
    if [[ ${1:-} == --cluster ]]; then
        brokers=("${NODES[@]/#/rabbitmq}")
        connect_nodes
    fi
    NEEDED=' postgres redis rabbitmq'
    read -ra missing < <(missing_packages | xargs)
    [[ ${#missing[@]} == 0 ]] || die "missing: ${missing[*]}" "install them, or run 'sudo ./dev services' once"
    raise_open_files
    load_settings
    servers_user
    find_programs
    for name in postgres redis; do arena_clock "$name" +0; done
    for name in "${brokers[@]}" redis postgres; do # the slowest first
        "prepare_$name"
        "start_$name"
    done
    for name in postgres redis "${brokers[@]}"; do await_ready "$name"; done
    if [[ ${1:-} == --cluster ]]; then await_cluster; fi
    printf '%s\n' "POSTGRES_URL=$(own_url postgres)" "REDIS_URL=$(own_url redis)" \
        "POSTGRES_PID=$(pid postgres)" "REDIS_PID=$(pid redis)"
    if [[ -n $FAKETIME ]]; then
        echo 'CLOCKS=yes'
    else
        say clocks "no steps of clocks: faketime is missing (apt-get install faketime, or 'sudo ./dev chaos' once)"
    fi
    if [[ ${1:-} == --cluster ]]; then
        for name in "${NODES[@]}"; do echo "RABBITMQ_PID_$name=$(pid "rabbitmq$name")"; done
        echo "AMQP_URL=$(node_url 1)"
        echo "AMQP_URLS=$(node_url 1),$(node_url 2),$(node_url 3)"
    else
        printf '%s\n' "RABBITMQ_PID=$(pid rabbitmq)" "AMQP_URL=$(own_url rabbitmq)"
    fi
}

arena_start() { # NAME
    [[ $(type -t "start_${1:-}") == function ]] || die "there is no ${1:-}"
    resume
    # Two faults may hit one server; the second start waits for the first.
    exec 9>"$RUN/$1.lock"
    flock -w 300 9
    stop_signal "$1" KILL # the old process may not have ended yet
    await_end "$1"
    if [[ $1 == redis && -z ${BACK:-} ]]; then as_server rm -f "$DATA/redis/dump.rdb"; fi
    if [[ $1 == postgres ]]; then
        end_orphans
        # PostgreSQL counts its predecessor as alive until init has reaped it. Shared memory still
        # protects the data.
        rm -f "$DATA/postgres/postmaster.pid"
    fi
    "start_$1"
    await_ready "$1"
    pid "$1"
}

arena_cut() { ip -n "$NAMESPACE-0" link set "peer$1" down; }
arena_blackhole() { arena_cut "$1" && ip link set "${BRIDGE}n$1" down; }
arena_join() { ip link set "${BRIDGE}n$1" up && ip -n "$NAMESPACE-0" link set "peer$1" up; }

arena_alarm() { # on|off
    local watermark=0.4 name
    if [[ $1 == on ]]; then watermark=0.0001; fi
    resume
    for name in rabbitmq "${NODES[@]/#/rabbitmq}"; do
        alive "$name" || continue
        control "$name" set_vm_memory_high_watermark "$watermark" && return
    done
    die 'no broker took the alarm'
}

arena_back() { BACK=1 arena_start redis; }

# Suspends and resumes on one node. In a cluster this need not be the queue's leader.
arena_suspend() { # QUEUE SECONDS
    CONTROL_SECONDS=40
    resume
    control "$(a_broker)" eval "
        P = {binary_to_atom(<<\"usher_$1\">>, utf8), node()},
        ok = sys:suspend(P), timer:sleep($2 * 1000), sys:resume(P)."
}
arena_unqueue() { # QUEUE
    CONTROL_SECONDS=40
    resume
    control "$(a_broker)" delete_queue --vhost usher "$1"
}
a_broker() {
    local name
    for name in rabbitmq "${NODES[@]/#/rabbitmq}"; do
        if alive "$name"; then echo "$name" && return; fi
    done
    die 'no broker runs'
}

arena_clock() { # postgres|redis OFFSET
    if [[ -z ${FAKETIME:-} ]]; then resume; fi
    echo "$2" | write_as_server "$DATA/$1.clock.new"
    # Atomically, since the library reads the file at every look at the clock.
    as_server mv "$DATA/$1.clock.new" "$DATA/$1.clock"
}
# Steps only the wall clock; waits use the monotonic clock. libc is preloaded because Redis's own
# memory allocator reads the clock before libfaketime is ready.
clocked() { # NAME
    CLOCKED=()
    [[ -n $FAKETIME ]] || return 0
    CLOCKED=(
        env "LD_PRELOAD=$FAKETIME:libc.so.6" "FAKETIME_TIMESTAMP_FILE=$DATA/$1.clock"
        FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1
        NO_FAKE_STAT=1 FAKETIME_DISABLE_SHM=1
    )
}
start_postgres() {
    clocked postgres
    launch postgres "${CLOCKED[@]}" "$PG_BIN/postgres" -D "$DATA/postgres"
}
start_redis() {
    clocked redis
    launch redis "${CLOCKED[@]}" "$REDIS_SERVER" "$DATA/redis/redis.conf"
}

arena_down() {
    local name names
    names=$(find "$RUN" -name '*.pid' -printf '%f ' 2>/dev/null || true) names=${names//.pid/}
    for name in $names; do
        if [[ $name != postgres ]]; then stop_signal "$name" KILL; fi
    done
    # PostgreSQL is asked to quit, so that its sessions end with it; a frozen one must be woken for
    # that.
    stop_signal postgres QUIT
    stop_signal postgres CONT
    for name in $names; do await_end "$name"; done
    end_orphans
    # A killed postmaster leaves its shared memory segment, the only trace outside of the folder.
    if [[ -f $DATA/postgres/postmaster.pid ]]; then
        ipcrm -m "$(awk 'NR == 7 { print $2 }' "$DATA/postgres/postmaster.pid")" || true
    fi
    disconnect_nodes
    delete_backends
}

# ---- Shared by the commands

resume() {
    [[ -f $STATE/settings ]] || die "nothing was started in $ROOT: arena.sh up $ROOT"
    # shellcheck source=/dev/null
    . "$STATE/settings"
    raise_open_files
    servers_user
    find_programs
}

pid() { cut -d' ' -f1 "$RUN/$1.pid"; }

# The sessions of a killed postmaster run on for a while, frozen ones for ever, and the next
# postmaster does not start beside them. A service manager also ends them.
end_orphans() {
    local process
    for process in /proc/[0-9]*; do
        [[ $process/cwd -ef $DATA/postgres && $(cat "$process/comm" 2>/dev/null) == postgres ]] || continue
        kill -KILL "${process##*/}" || true # it may have ended meanwhile
    done
}

CONTROL_SECONDS=15
control() { # NAME COMMAND...: rabbitmqctl for that broker
    local AS_SERVER=("${AS_SERVER[@]}")
    if [[ $1 == rabbitmq ]]; then rabbit_environment; else enter_node "${1#rabbitmq}"; fi
    as_server timeout -k 1 "$CONTROL_SECONDS" env "${RABBIT_ENVIRONMENT[@]}" \
        "$RABBIT_BIN/rabbitmqctl" -q "${@:2}" >"$LOG/rabbitmqctl.log" 2>&1 ||
        { tail "$LOG/rabbitmqctl.log" >&2 && return 1; }
}

# ---- The cluster

# Each broker has two links, so that it can lose its peers and keep its clients: one to its peers,
# over a bridge in a namespace without this machine's firewall, and one to its clients, over a
# bridge on this machine.
connect_nodes() {
    local n said
    said=$(
        exec 2>&1
        {
            echo "netns add $NAMESPACE-0"
            echo "link add $BRIDGE type bridge"
            echo "address add $(client_address 4)/29 dev $BRIDGE"
            echo "link set $BRIDGE up"
            for n in "${NODES[@]}"; do
                echo "netns add $NAMESPACE-$n"
                echo "link add peer$n netns $NAMESPACE-0 type veth peer name peers netns $NAMESPACE-$n"
                echo "link add ${BRIDGE}n$n type veth peer name clients netns $NAMESPACE-$n"
                echo "link set ${BRIDGE}n$n master $BRIDGE up"
            done
        } | ip -batch - || exit
        {
            echo 'link add peers type bridge'
            echo 'link set peers up'
            for n in "${NODES[@]}"; do echo "link set peer$n master peers up"; done
        } | ip -n "$NAMESPACE-0" -batch - || exit
        for n in "${NODES[@]}"; do
            printf '%s\n' 'link set lo up' 'link set peers up' 'link set clients up' \
                "address add $(peer_address "$n")/24 dev peers" \
                "address add $(client_address "$n")/29 dev clients" |
                ip -n "$NAMESPACE-$n" -batch - || exit
        done
    ) && return
    disconnect_nodes
    say cluster "this machine forbids network namespaces (${said%%$'\n'*})"
    say cluster 'run it as root with CAP_SYS_ADMIN, CAP_NET_ADMIN and iproute2, or without --cluster'
    exit 3
}

disconnect_nodes() {
    local n process
    for n in 0 "${NODES[@]}"; do
        [[ -e /run/netns/$NAMESPACE-$n ]] || continue
        for process in $(ip netns pids "$NAMESPACE-$n"); do kill -KILL "$process" || true; done
        ip netns delete "$NAMESPACE-$n"
        # Else the link would stay until the namespace is gone.
        ip link delete "${BRIDGE}n$n" 2>/dev/null || true
    done
    ip link delete "$BRIDGE" 2>/dev/null || true
}

# From 198.18.0.0/15, which is reserved for tests. Peers reach only each other, so their addresses
# are the same in all arenas.
peer_address() { echo "198.19.0.$1"; }
client_address() { echo "198.18.$((CLONE % 8192 / 32)).$((CLONE % 32 * 8 + $1))"; }
node_url() { echo "amqp://usher:$AMQP_PASSWORD@$(client_address "$1"):5672/usher"; }

# Sets AS_SERVER and RABBIT_ENVIRONMENT of the calling function to those of a node.
enter_node() { # N
    AS_SERVER=(nsenter "--net=/run/netns/$NAMESPACE-$1" "${AS_SERVER[@]}")
    rabbit_environment_of "rabbitmq$1" "usher@$(peer_address "$1")" "$(peer_address "$1")"
    RABBIT_ENVIRONMENT+=(RABBITMQ_USE_LONGNAME=true) # an address as a node's name counts as a long name
}

prepare_node() { # N
    local n RABBITMQ_LINES=("${RABBITMQ_LINES[@]}" 'cluster_partition_handling = pause_minority')
    for n in "${NODES[@]}"; do
        RABBITMQ_LINES+=("cluster_formation.classic_config.nodes.$n = usher@$(peer_address "$n")")
    done
    configure_rabbitmq "rabbitmq$1" 0.0.0.0:5672
}
start_node() { # N
    local AS_SERVER=("${AS_SERVER[@]}")
    enter_node "$1"
    alive "epmd$1" || launch "epmd$1" env "${RABBIT_ENVIRONMENT[@]}" \
        epmd -port "$EPMD_PORT" -address "$(peer_address "$1")"
    launch "rabbitmq$1" env "${RABBIT_ENVIRONMENT[@]}" "$RABBIT_BIN/rabbitmq-server"
}
ready_node() { answers "$(client_address "$1")/5672" 'AMQP\x00\x00\x09\x01' capabilities; }
await_cluster() { control rabbitmq1 await_online_nodes 3; }

prepare_rabbitmq1() { prepare_node 1; }
prepare_rabbitmq2() { prepare_node 2; }
prepare_rabbitmq3() { prepare_node 3; }
start_rabbitmq1() { start_node 1; }
start_rabbitmq2() { start_node 2; }
start_rabbitmq3() { start_node 3; }
ready_rabbitmq1() { ready_node 1; }
ready_rabbitmq2() { ready_node 2; }
ready_rabbitmq3() { ready_node 3; }

"arena_$1" "${@:3}"
