#!/usr/bin/env bash
# A quorum queue that was declared again just before the node was killed is lost, with its confirmed messages.
#
# Software: RabbitMQ 3.10.8 on Erlang/OTP 25.2.3, as Debian 12 packages them; one node. Client: pika 1.3.2.
# Steps:    declare a durable quorum queue 'a'; 3 s later delete it, declare it again, publish 3 persistent messages
#           and have each confirmed; kill the node with SIGKILL at once; start it again.
# Expected: 'a' is there with its 3 messages, which were confirmed.
# Seen:     the log says "recover: quorum queue ... could not be restarted {error,enoent}"; 'a' is listed as down
#           with 0 messages, also after an orderly restart. Once it is deleted with rabbitmqctl and declared again
#           it works.
# Control:  the same steps with 5 s before the kill keep all 3 messages.
#
# Exit status: 0 while it is as seen, 1 if it is not, 2 if that could not be found out. Takes some minutes.
# Needs Debian 12 on amd64 with its package lists (apt-get update), python3 with venv and pip. Root or not. Packages
# go into a temporary folder, which is removed in the end.
set -Eeuo pipefail
trap 'echo "could not find out: $BASH_COMMAND (line $LINENO)" >&2; exit 2' ERR
trap 'exit 2' INT TERM HUP

ERLANG=1:25.2.3+dfsg-1+deb12u4
RABBITMQ=3.10.8-1.1+deb12u1
PIKA='pika==1.3.2 --hash=sha256:0779a7c1fafd805672796085560d290213a465e4f6f76a6fb19e378d8041a14f'
PACKAGES=("rabbitmq-server=$RABBITMQ")
for name in base asn1 crypto eldap ftp inets mnesia os-mon parsetools public-key runtime-tools ssl syntax-tools tftp \
    tools xmerl; do
    PACKAGES+=("erlang-$name=$ERLANG")
done

DIR=$(mktemp -d "${TMPDIR:-/tmp}/finding.XXXXXX")
NODE='' EPMD='' # process ids
tidy_up() {
    local process
    for process in $NODE $EPMD; do kill -KILL "$process" 2>/dev/null || true; done
    rm -rf -- "$DIR" || { sleep 2 && rm -rf -- "$DIR"; } # a child of the node may still be at its end
}
trap tidy_up EXIT
cd "$DIR"

say() { echo "$(date +%T) $*"; }
unexpected() { # WHAT
    say "not as described: $1"
    exit 1
}
unknown() { # WHAT
    say "could not find out: $1"
    if [[ -s node.log ]]; then tail -n 20 node.log; fi
    exit 2
} >&2

# ---- Packages

install_packages() {
    say "fetching rabbitmq-server $RABBITMQ, erlang $ERLANG, ${PIKA%% *}"
    mkdir debs
    chmod 755 . debs
    (cd debs && apt-get download -q "${PACKAGES[@]}") >apt.log 2>&1 ||
        { cat apt.log >&2 && unknown 'apt-get download failed'; }
    local package
    for package in debs/*.deb; do dpkg-deb -x "$package" root; done
    # The start script holds the place where the package would be installed.
    sed -i "s|^\( *ROOTDIR\)=/usr/lib/erlang|\1=$DIR/root/usr/lib/erlang|" root/usr/lib/erlang/bin/erl
    python3 -m venv venv
    echo "$PIKA" >requirements.txt
    venv/bin/pip install -q --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
}

# ---- The node

configure() {
    local ports
    ports=$(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(s.getsockname()[1] for s in sockets))')
    read -r AMQP_PORT EPMD_PORT DIST_PORT <<<"$ports"
    printf '%s\n' "listeners.tcp.1 = 127.0.0.1:$AMQP_PORT" 'log.console = true' 'log.console.level = info' \
        'disk_free_limit.absolute = 50MB' >rabbitmq.conf
    echo '[].' >plugins
    echo '[].' >advanced.config
    local loopback='-kernel inet_dist_use_interface {127,0,0,1}'
    ENVIRONMENT=(
        env -i LANG=C.UTF-8 "PATH=$DIR/root/usr/lib/erlang/bin:/usr/sbin:/usr/bin:/sbin:/bin" "HOME=$DIR"
        ERL_EPMD_ADDRESS=127.0.0.1 "ERL_EPMD_PORT=$EPMD_PORT"
        RABBITMQ_NODENAME=finding@localhost "RABBITMQ_DIST_PORT=$DIST_PORT"
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=$loopback" "RABBITMQ_CTL_ERL_ARGS=$loopback"
        RABBITMQ_CONF_ENV_FILE=/dev/null "RABBITMQ_CONFIG_FILE=$DIR/rabbitmq.conf"
        "RABBITMQ_ADVANCED_CONFIG_FILE=$DIR/advanced.config" "RABBITMQ_ENABLED_PLUGINS_FILE=$DIR/plugins"
        "RABBITMQ_MNESIA_BASE=$DIR/data" "RABBITMQ_LOG_BASE=$DIR/log" RABBITMQ_LOGS=-
        RUNNING_UNDER_SYSTEMD=true # no shell between this script and the server
    )
    "${ENVIRONMENT[@]}" epmd -port "$EPMD_PORT" -address 127.0.0.1 >epmd.log 2>&1 &
    EPMD=$!
    disown $EPMD
}

control() { timeout -k 5 120 "${ENVIRONMENT[@]}" "$SERVER/sbin/rabbitmqctl" -q "$@"; }

start() {
    "${ENVIRONMENT[@]}" "$SERVER/sbin/rabbitmq-server" >node.log 2>&1 </dev/null &
    NODE=$!
    disown $NODE # its end is no news
    local seconds
    for ((seconds = 0; seconds < 180; seconds++)); do
        if grep -q 'Server startup complete' node.log; then return; fi
        kill -0 $NODE 2>/dev/null || break
        sleep 1
    done
    unknown 'the node did not start'
}

await_end() {
    local seconds
    for ((seconds = 0; seconds < 120; seconds++)); do
        if ! kill -0 "$NODE" 2>/dev/null; then
            NODE=''
            return
        fi
        sleep 1
    done
    unknown 'the node did not end'
}

listed() { control list_queues --no-table-headers name state leader messages | tr '\t' ' '; }

# What is said of a queue is brought up to date every few seconds: waits for a line, or takes what is there at last.
look() { # LINE
    local tries
    for ((tries = 0; tries < 10; tries++)); do
        LINE=$(listed)
        if [[ $LINE == "$1" ]]; then return; fi
        sleep 3
    done
}
KEPT='a running finding@localhost 3'
LOST='a down  0'

# ---- The client

cat >client.py <<'PYTHON'
import os, signal, sys, time
import pika

port, what = int(sys.argv[1]), sys.argv[2]
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, blocked_connection_timeout=60))
channel = connection.channel()
channel.confirm_delivery()


def declare():
    channel.queue_declare("a", durable=True, arguments={"x-queue-type": "quorum"})


def publish():  # raises unless confirmed
    for n in range(3):
        channel.basic_publish("", "a", b"%d" % n, pika.BasicProperties(delivery_mode=2), mandatory=True)


if what == "fill":
    declare()
    publish()
    connection.close()
else:  # "kill" PID PAUSE
    node, pause = int(sys.argv[3]), float(sys.argv[4])
    declare()
    time.sleep(3)
    for attempt in range(20):  # on a busy machine once more, until it went quickly
        channel.queue_delete("a")
        began = time.monotonic()
        declare()
        publish()
        if time.monotonic() - began < 0.3:
            break
    else:
        sys.exit("this machine is too slow: declaring and publishing took over 0.3 s each time")
    time.sleep(pause)
    os.kill(node, signal.SIGKILL)
    took = time.monotonic() - began
    print(f"3 messages confirmed, killed {took:.2f} s after the queue was declared again", flush=True)
    os._exit(0)
PYTHON
client() { timeout -k 5 180 venv/bin/python client.py "$AMQP_PORT" "$@"; }

# ---- The finding

kill_and_start() { # PAUSE
    start
    client kill "$NODE" "$1"
    await_end
    start
}

install_packages
SERVER=$DIR/root/usr/lib/rabbitmq/lib/rabbitmq_server-3.10.8
configure

say 'control: 5 s before the kill'
kill_and_start 5
look "$KEPT"
say "listed: $LINE"
[[ $LINE == "$KEPT" ]] || unexpected 'the queue should have kept its messages'
kill -TERM "$NODE"
await_end
rm -rf data

say 'no pause before the kill'
kill_and_start 0
sleep 10 # time to come up after all
look "$LOST"
say "listed: $LINE"
grep -o 'recover: quorum queue .*' node.log || true
[[ $LINE == "$LOST" ]] || unexpected "the queue is not lost"
grep -q 'recover: quorum queue .* could not be restarted {error,enoent}' node.log || unexpected 'the log does not say so'

say 'orderly restart'
kill -TERM "$NODE"
await_end
start
sleep 10
look "$LOST"
say "listed: $LINE"
[[ $LINE == "$LOST" ]] || unexpected 'the queue came back'

say 'deleted with rabbitmqctl, declared again, 3 messages'
control delete_queue a || unexpected 'it cannot be deleted'
client fill || unexpected 'it cannot be declared again and filled'
look "$KEPT"
say "listed: $LINE"
[[ $LINE == "$KEPT" ]] || unexpected 'the new queue does not work'

say 'as described'
