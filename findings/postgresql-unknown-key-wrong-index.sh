#!/usr/bin/env bash
# A lookup by the whole primary key (a, b) reads every row of a, by another index that begins with a.
#
# Software: PostgreSQL 16.2, as PyPI's pgserver 0.1.4 packages it; seen with 15.18 of Debian 12, too.
# Steps:    a table with the primary key (a, b) and an index on (a, c); insert 60,000 rows of one a, ANALYZE, then 60,000
#           of another a, which the statistics do not know yet; look up one row by a and b, with b from a lateral join.
# Expected: the plan uses the primary key, which is unique and has both columns: one row is read.
# Seen:     the plan uses the index on (a, c), with a filter on b, and reads 60,000 rows. For an a that the statistics do
#           not know, both indexes are expected to give one row, and that on (a, c) has fewer levels, since equal entries
#           are stored once.
# Control:  the same lookup uses the primary key where the other index is on (c, a).
#
# Exit status: 0 while it is as seen, 1 if it is not, 2 if that could not be found out. Takes a minute.
# Needs Linux on x86-64, Python 3.11 with venv, PyPI once, and setpriv (util-linux) if run by root. Everything goes into
# a temporary folder, which is removed in the end.
set -Eeuo pipefail
trap 'echo "could not find out: $BASH_COMMAND (line $LINENO)" >&2; exit 2' ERR
trap 'exit 2' INT TERM HUP

PACKAGE='pgserver==0.1.4 --hash=sha256:d595789b47624a3d963aa9aa6359da9be31beb7e61f1a45541953242068b8813'

DIR=$(mktemp -d "${TMPDIR:-/tmp}/finding.XXXXXX")
chmod 755 "$DIR"
tidy_up() {
    if [[ -f $DIR/data/postmaster.pid ]]; then as_server "$BIN/pg_ctl" -D "$DIR/data" -m immediate stop >/dev/null || true; fi
    rm -rf -- "$DIR"
}
trap tidy_up EXIT
cd "$DIR"

say() { echo "$(date +%T) $*"; }
as_server() { # PROGRAM ARGUMENTS: not as root, whom the server refuses
    if [[ $EUID == 0 ]]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi
}
sql() { "$BIN/psql" -X -qAt -v ON_ERROR_STOP=1 -h "$DIR/socket" -U postgres postgres "$@"; }

say "fetching ${PACKAGE%% *}"
python3 -m venv venv
echo "$PACKAGE" >requirements.txt
venv/bin/pip install -q --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
BIN=$(echo "$DIR"/venv/lib/python3*/site-packages/pgserver/pginstall/bin)
mkdir data socket
chmod 700 data
if [[ $EUID == 0 ]]; then chown 65534:65534 data socket; fi
as_server "$BIN/initdb" -D data -U postgres -A trust -E UTF8 --locale C >/dev/null
# Without autovacuum, which would make the statistics at some moment of its own.
as_server "$BIN/pg_ctl" -D data -w -l data/log -o "-c listen_addresses= -k $DIR/socket -c autovacuum=off" start >/dev/null

# The rows that one lookup reads, and the index that it uses.
lookup() { # COLUMNS OF THE OTHER INDEX
    sql -c 'set client_min_messages = warning' -c 'drop table if exists seat' \
        -c "create table seat (a uuid, b text, c text, n int not null, primary key (a, b))" \
        -c "create index other on seat ($1)" \
        -c "insert into seat select md5('known')::uuid, 'X' || n, 'C', n from generate_series(1, 60000) as n" \
        -c "analyze seat" \
        -c "insert into seat select md5('new')::uuid, 'X' || n, 'C', n from generate_series(1, 60000) as n" \
        -c "explain (analyze, costs off, timing off, summary off)
            select s.n from unnest(array['X7']) as asked (b)
            cross join lateral (select n from seat where a = md5('new')::uuid and b = asked.b offset 0) as s"
}
version=$(sql -c 'show server_version')
say "PostgreSQL $version"
for other in 'a, c' 'c, a'; do
    plan=$(lookup "$other")
    say "the other index is on ($other):"
    echo "$plan"
    case $other in
    'a, c') seen=$plan ;;
    *) control=$plan ;;
    esac
done
if ! grep -q 'Index Scan using seat_pkey' <<<"$control"; then
    say 'not as described: the control does not use the primary key, either'
    exit 1
fi
if ! grep -q 'Index Scan using other' <<<"$seen" || ! grep -q 'Rows Removed by Filter: 59999' <<<"$seen"; then
    say 'not as described: the lookup uses the primary key'
    exit 1
fi
say 'as described'
