// Submits bookings to a running system (`./dev demo` or `./dev up` with `usher seed`) at a steady
// rate, waits for each outcome and cancels each order, so that it can run for hours.
//
//   BASE_URL=http://127.0.0.1:8080 RATE=50 DURATION=30s k6 run loadtest/k6/bookings.js
//
// RATE      bookings per second (20)
// DURATION  how long (30s)
// USERS     accounts to sign up first (10); each may send 20 bookings per second, and keep seats
//           unpaid for some three hours in all, so a longer run needs more users
// SHOW      a show on sale with the waiting room OFF; by default the first upcoming one
//
// Runs on k6 1.1.0 and later.
import http from 'k6/http';
import { check, fail } from 'k6';
import exec from 'k6/execution';
import { Counter, Trend } from 'k6/metrics';

const API = `${__ENV.BASE_URL || 'http://127.0.0.1:8080'}/api/v1`;
const RATE = Number(__ENV.RATE || 20);
const DURATION = __ENV.DURATION || '30s';
const USERS = Number(__ENV.USERS || 10);

const accept = new Trend('booking_accept', true);
const decide = new Trend('booking_decide', true);
const accepted = new Counter('bookings_accepted');
const allocated = new Counter('bookings_allocated');
const rejected = new Counter('bookings_rejected');
const undecided = new Counter('bookings_undecided');
const limited = new Counter('answers_429');

// How long before its expiry a token is no longer used.
const TOKEN_LEEWAY_MS = 60_000;
// Users that this virtual user has signed in again, by their index.
const renewed = new Map();

export const options = {
  scenarios: {
    bookings: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: DURATION,
      preAllocatedVUs: Math.max(10, RATE),
      maxVUs: Math.max(50, RATE * 10),
    },
  },
  setupTimeout: '120s',
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
  thresholds: {
    checks: ['rate>0.99'],
    http_req_failed: ['rate<0.01'],
    booking_accept: ['p(95)<500'],
    booking_decide: ['p(95)<2000'],
    bookings_undecided: ['count<1'],
    bookings_accepted: ['count>0'],
  },
};

export function setup() {
  const show = findShow();
  const users = [];
  for (let n = 0; n < USERS; n++) {
    users.push(signUp(n));
  }
  return { users, show };
}

export default function ({ users, show }) {
  const n = exec.scenario.iterationInTest;
  const headers = headersOf(n, tokenOf(users, n % users.length));

  const body = JSON.stringify({ showId: show.showId, tier: show.tier, quantity: 1 });
  const keyed = { ...headers, 'Idempotency-Key': `k6-${exec.vu.idInTest}-${n}-${Date.now()}` };
  const answer = http.post(`${API}/bookings`, body, { headers: keyed, tags: { name: 'POST /bookings' } });
  limited.add(answer.status === 429 ? 1 : 0);
  accept.add(answer.timings.duration);
  const isAccepted = check(answer, {
    'accepted with 202': (r) => r.status === 202,
    'with a booking id': (r) => r.status === 202 && Boolean(r.json('bookingId')),
  });
  if (!isAccepted) {
    return;
  }
  accepted.add(1);

  const since = Date.now();
  const outcome = http.get(`${API}/bookings/${answer.json('bookingId')}`, {
    headers: { ...headers, Prefer: 'wait=20' },
    tags: { name: 'GET /bookings/{id}' },
  });
  decide.add(Date.now() - since);
  const status = outcome.status === 200 ? outcome.json('status') : null;
  check(outcome, { 'has an outcome': () => status === 'ALLOCATED' || status === 'REJECTED' });
  allocated.add(status === 'ALLOCATED' ? 1 : 0);
  rejected.add(status === 'REJECTED' ? 1 : 0);
  undecided.add(status === 'ALLOCATED' || status === 'REJECTED' ? 0 : 1);
  if (status !== 'ALLOCATED') {
    return;
  }

  const order = outcome.json('order.orderId');
  const cancelled = http.post(`${API}/orders/${order}/cancel`, null, {
    headers,
    tags: { name: 'POST /orders/{id}/cancel' },
  });
  check(cancelled, { 'cancelled': (r) => r.status === 200 && r.json('status') === 'CANCELLED' });
}

export function handleSummary(data) {
  const value = (metric, stat) => data.metrics[metric]?.values[stat];
  const count = (metric) => value(metric, 'count') ?? 0;
  const times = (metric) =>
    ['med', 'p(95)', 'p(99)', 'max'].map((stat) => format(value(metric, stat)).padStart(10)).join('');
  const failed = Object.entries(data.metrics).flatMap(([name, metric]) =>
    Object.entries(metric.thresholds || {}).filter(([, t]) => !t.ok).map(([rule]) => `${name}: ${rule}`),
  );
  const lines = [
    '',
    `Bookings at ${RATE}/s for ${DURATION}`,
    `  accepted       ${String(count('bookings_accepted')).padStart(10)}`,
    `  allocated      ${String(count('bookings_allocated')).padStart(10)}`,
    `  rejected       ${String(count('bookings_rejected')).padStart(10)}`,
    `  undecided      ${String(count('bookings_undecided')).padStart(10)}`,
    `  answered 429   ${String(count('answers_429')).padStart(10)}`,
    `  not started    ${String(count('dropped_iterations')).padStart(10)}`,
    '  latency, ms         p50       p95       p99       max',
    `  to 202        ${times('booking_accept')}`,
    `  to outcome    ${times('booking_decide')}`,
    failed.length === 0 ? '  all thresholds hold' : `  FAILED  ${failed.join('\n          ')}`,
    '',
  ];
  return { stdout: lines.join('\n') };
}

function findShow() {
  let cursor = '';
  for (let page = 0; page < 50; page++) {
    const answer = http.get(`${API}/shows/upcoming?limit=100${cursor}`);
    if (answer.status !== 200) {
      fail(`${API}/shows/upcoming answered ${answer.status}: is the system up? (${answer.error || answer.body})`);
    }
    const found = answer.json('items').find((show) =>
      __ENV.SHOW ? show.showId === __ENV.SHOW : show.status === 'ON_SALE' && show.waitingRoom.mode === 'OFF');
    if (found) {
      const roomiest = found.available.reduce((a, b) => (b.seats > a.seats ? b : a));
      return { showId: found.showId, tier: roomiest.tier };
    }
    const next = answer.json('nextCursor');
    if (!next) {
      break;
    }
    cursor = `&cursor=${encodeURIComponent(next)}`;
  }
  return fail('no show is on sale with the waiting room OFF: `usher seed` makes one');
}

function signUp(n) {
  const unique = `${Date.now()}-${n}-${Math.floor(Math.random() * 1e9)}`;
  const body = JSON.stringify({
    name: `k6 ${n}`,
    email: `k6-${unique}@example.com`,
    password: `k6-${unique}`,
  });
  const answer = http.post(`${API}/auth/signup`, body, { headers: headersOf(n) });
  if (answer.status !== 201) {
    fail(`sign-up answered ${answer.status}: ${answer.body}`);
  }
  const { email, password } = JSON.parse(body);
  return { email, password, ...tokenIn(answer) };
}

// A token that does not expire soon. It is not refreshed, since other virtual users share the
// session, and a second refresh would end it: the user signs in again.
function tokenOf(users, n) {
  const user = renewed.get(n) || users[n];
  if (Date.now() < user.expiresAt - TOKEN_LEEWAY_MS) {
    return user.token;
  }
  const { email, password } = users[n];
  const answer = http.post(`${API}/auth/login`, JSON.stringify({ email, password }), { headers: headersOf(n) });
  if (answer.status !== 200) {
    fail(`sign-in answered ${answer.status}: ${answer.body}`);
  }
  renewed.set(n, tokenIn(answer));
  return renewed.get(n).token;
}

function tokenIn(answer) {
  return { token: answer.json('accessToken'), expiresAt: Date.parse(answer.json('expiresAt')) };
}

// Each iteration claims an address of its own, which counts if the system trusts us as a proxy.
function headersOf(n, token) {
  const address = `10.${128 + (n >> 16) % 128}.${(n >> 8) & 255}.${n & 255}`;
  const headers = { 'Content-Type': 'application/json', 'X-Forwarded-For': address };
  return token ? { ...headers, Authorization: `Bearer ${token}` } : headers;
}

function format(ms) {
  return ms === undefined ? '-' : ms.toFixed(1);
}
