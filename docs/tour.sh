#!/usr/bin/env bash
# A tour of the API with curl and jq: what an administrator, an organiser, a customer and a partner do, from an empty
# system to a paid ticket. Each step prints what it does; the first answer that is not as expected ends the tour.
#
#   BASE_URL=http://127.0.0.1:8080 ADMIN_TOKEN=… docs/tour.sh
#
# The administrator's token is the `accessToken` of POST /auth/login. A test runs this script (tests/tour.rs).
set -Eeuo pipefail
trap 'echo "the tour ends here: line $LINENO" >&2' ERR
: "${BASE_URL:?is missing: where does Usher listen?}" "${ADMIN_TOKEN:?is missing: sign in as an administrator}"
API=$BASE_URL/api/v1
STAMP=$(date +%s)-$$
PASSWORD=correct-horse-$STAMP
# Where the answer to the last call is kept.
ANSWER=$(mktemp)
trap 'rm -f "$ANSWER"' EXIT

say() { printf '\n%s\n' "$*"; }

# call STATUS METHOD PATH [TOKEN] [BODY] [HEADER…]: the answer must have this status; prints its first line.
call() {
    local expected=$1 method=$2 path=$3 token=${4:-} body=${5:-} status headers=()
    [[ -z $token ]] || headers+=(--header "Authorization: Bearer $token")
    [[ -z $body ]] || headers+=(--header 'Content-Type: application/json' --data "$body")
    for header in "${@:6}"; do headers+=(--header "$header"); done
    status=$(curl --silent --show-error --max-time 45 --output "$ANSWER" --write-out '%{http_code}' --request "$method" \
        "${headers[@]}" "$API$path")
    printf '  %-6s %-60s %s\n' "$method" "${path:0:60}" "$status"
    if [[ $status != "$expected" ]]; then
        echo "  expected $expected: $(cat "$ANSWER")" >&2
        return 1
    fi
}

# get FILTER: a part of the last answer.
get() { jq --raw-output --exit-status "$1" "$ANSWER"; }
# is FILTER: whether something holds of the last answer.
is() { jq --exit-status "$1" "$ANSWER" >/dev/null || { echo "  not so: $1: $(cat "$ANSWER")" >&2; return 1; }; }

# The six digits of an authenticator app (RFC 6238), for a secret in base32.
totp() {
    local secret=$1 hex mac offset
    while ((${#secret} % 8)); do secret+='='; done
    hex=$(printf %s "$secret" | base32 --decode | od -An -v -tx1 | tr -d ' \n')
    mac=$(printf %016x $(($(date +%s) / 30)) | sed 's/../\\x&/g' | xargs -0 printf |
        openssl dgst -sha1 -mac HMAC -macopt "hexkey:$hex" | sed 's/.* //')
    offset=$((16#${mac: -1}))
    printf '%06d\n' $(((16#${mac:offset * 2:8} & 0x7fffffff) % 1000000))
}

say '1. Three people sign up: an organiser, a customer, and a clerk.'
for who in organiser customer clerk; do
    call 201 POST /auth/signup '' "$(jq -nc --arg who "$who" --arg stamp "$STAMP" --arg password "$PASSWORD" \
        '{name: $who, email: "\($who)-\($stamp)@example.org", password: $password}')"
    declare "${who^^}=$(get .accessToken)" "${who^^}_EMAIL=$(get .user.email)"
done

say '2. The administrator makes a theatre, whose days are those of Mumbai, and chooses who runs it.'
call 201 POST /theatres "$ADMIN_TOKEN" "$(jq -nc --arg name "Regal $STAMP" '{name: $name, address: "1 Marine Drive",
    city: "Mumbai", latitude: 18.94, longitude: 72.82, timeZone: "Asia/Kolkata"}')"
THEATRE=$(get .theatreId)
call 201 POST "/theatres/$THEATRE/staff" "$ADMIN_TOKEN" "{\"email\": \"$ORGANISER_EMAIL\", \"role\": \"organiser\"}"
call 200 GET /auth/memberships "$ORGANISER"
is '.items[0].role == "organiser"'

say '3. The organiser chooses a clerk, who may not change the programme.'
call 201 POST "/theatres/$THEATRE/staff" "$ORGANISER" "{\"email\": \"$CLERK_EMAIL\", \"role\": \"box_office\"}"
call 403 POST /screens "$CLERK" '{}'

say '4. The organiser enters a film and a hall.'
call 201 POST /movies "$ORGANISER" "$(jq -nc --arg title "Monsoon Express $STAMP" '{title: $title,
    description: "A train in the rain.", genres: ["Drama"], rating: "UA", durationMinutes: 120, releaseDate: "2026-11-20",
    language: "Hindi"}')"
MOVIE=$(get .movieId)
call 201 POST /screens "$ORGANISER" "$(jq -nc --arg theatre "$THEATRE" '{theatreId: $theatre, name: "Screen 1",
    tiers: [{tier: "STANDARD", name: "Standard", generalAdmission: false}],
    layout: {rows: [{row: "A", seats: [range(1; 13) | {seatId: "A\(.)", tier: "STANDARD"}]}]}}')"
SCREEN=$(get .screenId)

say '5. A show, whose sale is open already. A second one at that time is refused, with the reason.'
SHOW=$(jq -nc --arg movie "$MOVIE" --arg theatre "$THEATRE" --arg screen "$SCREEN" --argjson now "$(date +%s)" '{movieId: $movie,
    theatreId: $theatre, screenId: $screen, startsAt: ($now + 2 * 86400 | todate), saleOpensAt: ($now - 60 | todate),
    saleClosesAt: ($now + 86400 | todate), prices: [{tier: "STANDARD", amount: 30000, currency: "INR"}],
    maxSeatsPerUser: 4, waitingRoom: {mode: "OFF"}}')
call 201 POST /shows "$ORGANISER" "$SHOW"
SHOW_ID=$(get .showId)
call 409 POST /shows "$ORGANISER" "$SHOW"
is '.code == "SHOW_OVERLAPS"'
call 409 DELETE "/movies/$MOVIE" "$ORGANISER"
is '.code == "STILL_IN_USE"'

say '6. A series of evenings: tried, then entered.'
FROM=$(date -u -d '+30 days' +%F)
SERIES=$(jq -nc --argjson show "$SHOW" --arg from "$FROM" --arg until "$(date -u -d '+36 days' +%F)" \
    '{show: $show, from: $from, until: $until, times: ["18:00", "21:00"]}')
call 200 POST '/shows/bulk?dryRun=true' "$ORGANISER" "$SERIES"
is '.items | length == 14'
call 201 POST /shows/bulk "$ORGANISER" "$SERIES" "Idempotency-Key: series-$STAMP"
call 201 POST /shows/bulk "$ORGANISER" "$SERIES" "Idempotency-Key: series-$STAMP"
is '.items | length == 14'

say '7. The sale opens.'
call 200 POST "/shows/$SHOW_ID/open" "$ORGANISER"

say '8. The customer looks around.'
call 200 GET "/movies?q=monson+expres&limit=5"
is '.items | length > 0'
call 200 GET "/movies/$MOVIE/availability"
is '.dates | length == 8'
call 200 GET "/movies/$MOVIE/shows?date=$FROM&after=20:00"
is '.items | length == 1'
call 200 GET "/shows/upcoming?near=18.9,72.8&maxPrice=30000&currency=INR&language=hindi"
is '.items | length > 0'
call 200 GET "/shows/$SHOW_ID/seatmap"
is '.layout.rows[0].seats | length == 12'

say '9. The customer holds two seats, orders, pays, and has a ticket.'
call 201 POST /holds "$CUSTOMER" "{\"showId\": \"$SHOW_ID\", \"tier\": \"STANDARD\", \"seats\": [\"A10\", \"A9\"]}" 'Prefer: wait=30'
is '.seatIds == ["A9", "A10"]'
HOLD=$(get .holdId)
call 201 POST /orders "$CUSTOMER" "$(jq -nc --arg hold "$HOLD" --arg email "$CUSTOMER_EMAIL" \
    '{holdId: $hold, customer: {name: "Ann", email: $email}}')"
ORDER=$(get .orderId)
call 200 POST "/orders/$ORDER/confirm-payment" "$CUSTOMER" '{"method": "mock"}' "Idempotency-Key: pay-$STAMP"
is '.status == "CONFIRMED"'
call 200 GET "/orders/$ORDER/ticket" "$CUSTOMER"
call 404 GET "/orders/$ORDER" "$CLERK"

say '10. The customer sets up a second factor, and sees where the account is signed in.'
call 200 POST /auth/totp "$CUSTOMER" "{\"password\": \"$PASSWORD\"}"
SECRET=$(get .secret)
call 200 POST /auth/totp/confirm "$CUSTOMER" "{\"code\": \"$(totp "$SECRET")\"}"
RECOVERY=$(get '.recoveryCodes[0]')
call 401 POST /auth/login '' "{\"email\": \"$CUSTOMER_EMAIL\", \"password\": \"$PASSWORD\"}"
is '.code == "SECOND_FACTOR_REQUIRED"'
call 200 POST /auth/login '' "{\"email\": \"$CUSTOMER_EMAIL\", \"password\": \"$PASSWORD\", \"code\": \"$RECOVERY\"}"
CUSTOMER=$(get .accessToken)
call 200 GET /auth/sessions "$CUSTOMER"
is '[.items[] | select(.current)] | length == 1'

say '11. A partner gets a key that may read the bookings, and nothing else.'
call 201 POST /auth/api-keys "$CUSTOMER" "{\"name\": \"Till\", \"scopes\": [\"bookings:read\"], \"password\": \"$PASSWORD\"}"
KEY=$(get .secret)
call 200 GET /auth/bookings "$KEY"
is '.items[0].status == "CONFIRMED"'
call 403 POST /bookings "$KEY" "{\"showId\": \"$SHOW_ID\", \"tier\": \"STANDARD\", \"quantity\": 1}"
is '.code == "SCOPE_MISSING"'

say '12. Who did what: the organiser reads the log of the theatre, the administrator that of all.'
call 200 GET "/audit-log?theatreId=$THEATRE&action=show.opened" "$ORGANISER"
is '.items | length == 1'
call 200 GET "/audit-log?theatreId=$THEATRE" "$ADMIN_TOKEN" '' 'Accept: application/x-ndjson'
[[ $(wc -l <"$ANSWER") -ge 19 ]]

say '13. The organiser closes the sale.'
call 200 POST "/shows/$SHOW_ID/close" "$ORGANISER"
say 'The tour is over.'
