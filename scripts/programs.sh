# Finding and installing the server programs on this machine.
# shellcheck shell=bash

find_programs() {
    REDIS_SERVER=$(type -P redis-server || true) RABBIT_BIN='' PG_BIN='' FAKETIME=''
    local program version
    if [[ $(uname) != Linux ]]; then return 0; fi
    program=$(compgen -G '/usr/lib/postgresql/*/bin/postgres' | sort -V | tail -n 1 || true)
    version=$(cat "$DATA/postgres/PG_VERSION" 2>/dev/null || true) # only that version reads the data
    if [[ -x /usr/lib/postgresql/$version/bin/postgres ]]; then
        program=/usr/lib/postgresql/$version/bin/postgres
    fi
    program=${program:-$(type -P postgres || true)}
    if [[ -n $program ]]; then PG_BIN=$(dirname "$(readlink -f "$program")"); fi
    # For the arena, which steps the clocks of its servers: the library for programs with threads.
    FAKETIME=$(compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' | head -n 1 || true)
    # Not /usr/sbin/rabbitmq-server, since the distribution's wrapper switches to another user.
    for program in /usr/lib/rabbitmq/bin/rabbitmq-server /usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server; do
        if [[ -x $program ]]; then RABBIT_BIN=$(dirname "$program"); fi
    done
}

missing_packages() {
    find_programs
    if is_needed postgres && [[ -z $PG_BIN ]]; then echo postgresql; fi
    if is_needed redis && [[ -z $REDIS_SERVER ]]; then echo redis-server; fi
    if is_needed rabbitmq && [[ -z $RABBIT_BIN ]]; then echo rabbitmq-server; fi
}

# Installs faketime if possible. Without it chaos steps no clocks, and the arena says so.
install_clocks() {
    find_programs
    if [[ -z $FAKETIME ]]; then apt_install faketime || true; fi
}

# Installs what docs/tour.sh calls, if it is missing.
install_tour() {
    local missing=() program
    for program in curl jq openssl; do
        if ! command -v "$program" >/dev/null; then missing+=("$program"); fi
    done
    ((${#missing[@]} == 0)) || apt_install "${missing[@]}" || say tour "install ${missing[*]}: its test needs them"
}

# Installs Debian packages without starting their services; fails if that is not possible.
apt_install() {
    [[ $EUID == 0 ]] && command -v apt-get >/dev/null || return 1
    say install "$*"
    mkdir -p "$LOG"
    (
        exec 8>"${TMPDIR:-/tmp}/usher-dev-install.lock" && flock 8 || exit
        trap allow_service_starts EXIT
        trap 'exit 130' INT TERM HUP
        deny_service_starts || exit
        export DEBIAN_FRONTEND=noninteractive
        install=(apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@")
        "${install[@]}" || { apt-get update -o DPkg::Lock::Timeout=300 && "${install[@]}"; }
    ) >"$LOG/install.log" 2>&1 || { tail -n 20 "$LOG/install.log" >&2 && return 1; }
}

POLICY=/usr/sbin/policy-rc.d # package scripts run it before they start a service; exit code 101 forbids it
deny_service_starts() {
    if grep -qs 'written by usher/dev' $POLICY; then allow_service_starts; fi # a killed run left it
    if [[ -e $POLICY ]]; then mv $POLICY $POLICY.before-usher; fi
    printf '#!/bin/sh\n# written by usher/dev for the time of one installation\nexit 101\n' >$POLICY &&
        chmod 755 $POLICY
}
allow_service_starts() {
    rm -f $POLICY
    if [[ -e $POLICY.before-usher ]]; then mv $POLICY.before-usher $POLICY; fi
}
