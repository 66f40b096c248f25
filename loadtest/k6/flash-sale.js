// A flash sale: a crowd arrives within seconds. Each visitor joins the line, watches the place over a
// socket, is admitted with a pass, books one place, waits for the outcome and pays. It proves that the
// line never tells a larger number than before, that everybody hears how it ended, and that
// admission, bookings and payments stay quick in a spike.
//
//   BASE_URL=http://127.0.0.1:8080 VISITORS=500 DURATION=30s k6 run loadtest/k6/flash-sale.js
//
// VISITORS  how many come (100), each with an account of its own
// DURATION  within which they come (30s): few at first, most of them in a spike
// PATIENCE  how long a visitor waits in the line before giving up (3m)
// TOKENS    full path of a file of `usher seed accounts N --tokens FILE`, instead of signing up
// SHOW      a show on sale with its waiting room on; by default the first upcoming one
// ADMIN_EMAIL, ADMIN_PASSWORD  an administrator: then the script makes a show of its own and closes
//           it at the end; SEATS (four fifths of VISITORS) and PACE (visitors admitted per second,
//           so that the line lasts twice DURATION) shape it
//
// Tickets are bought and mock-paid: use a show that nobody else wants to buy from.
// Runs on k6 1.1.0 and later.
import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import { BUYING_ADVICE, orderOf, submit } from './buying.js';
import {
  API, TIMES, count, findShow, freshKey, headersOf, isNotOpen, seconds, signUp, summary, tell, tokenOf,
} from './lib.js';
import { takePlace, turnOf } from './line.js';
import { closePremiere, openPremiere } from './premiere.js';

const VISITORS = count('VISITORS', 100);
const DURATION_S = seconds('DURATION', '30s');
const PATIENCE_S = seconds('PATIENCE', '3m');
const SEATS = count('SEATS', Math.max(2, Math.floor(VISITORS * 0.8)));
const PACE = __ENV.PACE ? count('PACE', 1) : Math.max(0.5, VISITORS / (2 * DURATION_S));

const joined = new Counter('visitors_joined');
const admitted = new Counter('visitors_admitted');
const gaveUp = new Rate('visitors_gave_up');
const turnedAway = new Counter('visitors_turned_away');
const tickets = new Counter('tickets_paid');
const wait = new Trend('line_wait', true);
const payment = new Trend('order_payment', true);

// Arrivals per minute at the top of the spike: the area under the stages below is VISITORS, rounded up.
const PEAK = Math.ceil((60 * (VISITORS + 0.5)) / (0.7 * DURATION_S));
const GOOD_ENDS = ['ADMITTED', 'SOLD_OUT', 'CLOSED', 'GAVE_UP'];
// Time for what follows the line.
const AFTER_LINE_S = 60;

export const options = {
  scenarios: {
    spike: {
      executor: 'ramping-arrival-rate',
      startRate: 0,
      timeUnit: '1m',
      stages: [
        { target: PEAK, duration: `${0.2 * DURATION_S}s` },
        { target: PEAK, duration: `${0.4 * DURATION_S}s` },
        { target: 0, duration: `${0.4 * DURATION_S}s` },
      ],
      preAllocatedVUs: VISITORS + 1,
      gracefulStop: `${PATIENCE_S + AFTER_LINE_S}s`,
    },
  },
  setupTimeout: '10m',
  summaryTrendStats: TIMES,
  thresholds: {
    checks: ['rate>0.99'],
    http_req_failed: ['rate<0.01'],
    line_join: ['p(95)<1000'],
    line_first_frame: ['p(95)<2000'],
    booking_accept: ['p(95)<500'],
    booking_decide: ['p(95)<2000'],
    order_payment: ['p(95)<1000'],
    positions_risen: ['count<1'],
    visitors_gave_up: ['rate<0.05'],
    bookings_undecided: ['count<1'],
    tickets_paid: ['count>0'],
  },
};

export function setup() {
  const isOwn = Boolean(__ENV.ADMIN_EMAIL) && !__ENV.SHOW;
  const there = isOwn ? undefined : findShow(objection, NO_LINE);
  const users = signUp(VISITORS);
  const { showId, available } = there || openPremiere(SEATS, PACE);
  return { users, showId, tiers: available.filter(({ seats }) => seats > 0).map(({ tier }) => tier), isOwn };
}

const NO_LINE = 'no show is on sale with its waiting room on: open one, or give ADMIN_EMAIL and ADMIN_PASSWORD, ' +
  'which `usher seed` prints, and the script makes its own';

function objection(show) {
  const { mode, paused } = show.waitingRoom;
  if (mode === 'OFF' || mode === 'REJECT') {
    return `its waiting room is ${mode}`;
  }
  return isNotOpen(show) || (paused ? 'its line is paused' : undefined);
}

export function teardown({ showId, isOwn }) {
  if (isOwn) {
    closePremiere(showId);
  }
}

export default async function ({ users, showId, tiers }) {
  const n = exec.scenario.iterationInTest;
  if (n >= VISITORS) {
    return; // rounding brought one more than there are accounts
  }
  const headers = headersOf(n, tokenOf(users, n));
  const place = takePlace(headers, showId);
  if (!place) {
    return;
  }
  joined.add(1);
  const since = Date.now();
  const turn = await turnOf(place, headers, showId, since + PATIENCE_S * 1000);
  check(turn, { 'the line ended for a good reason': ({ end }) => GOOD_ENDS.includes(end) });
  gaveUp.add(turn.end === 'GAVE_UP');
  turnedAway.add(turn.end === 'SOLD_OUT' || turn.end === 'CLOSED' ? 1 : 0);
  if (turn.end !== 'ADMITTED') {
    return;
  }
  admitted.add(1);
  wait.add(Date.now() - since);
  const buyer = headersOf(n, tokenOf(users, n)); // a long line outlasts a token
  const order = buy(turn.pass ? { ...buyer, 'Admission-Pass': turn.pass } : buyer, showId, tiers, n);
  if (order) {
    pay(buyer, order.orderId);
  }
}

// ---- The purchase

// Books one place in the first tier that has one; returns the order.
function buy(headers, showId, tiers, n) {
  for (let at = 0; at < tiers.length; at++) {
    const wish = { showId, tier: tiers[(n + at) % tiers.length], quantity: 1 };
    const { bookingId, isOut } = submit(headers, wish, { mayBeOut: true });
    if (!isOut) {
      return bookingId && orderOf(headers, bookingId, { mayBeOut: true });
    }
  }
  turnedAway.add(1);
  return undefined;
}

function pay(headers, orderId) {
  const answer = http.post(`${API}/orders/${orderId}/confirm-payment`, JSON.stringify({ method: 'mock' }), {
    headers: { ...headers, 'Idempotency-Key': freshKey() },
    tags: { name: 'POST /orders/{id}/confirm-payment' },
  });
  payment.add(answer.timings.duration);
  const isPaid = check(answer, {
    'paid, with a ticket': (r) => r.status === 200 && r.json('status') === 'CONFIRMED' && Boolean(r.json('ticketCode')),
  });
  tickets.add(isPaid ? 1 : 0);
  if (!isPaid) {
    tell('POST /orders/{id}/confirm-payment', answer);
  }
}

// ---- What is printed

export function handleSummary(data) {
  const impatient = data.metrics.visitors_gave_up?.values.passes ?? 0;
  return summary(data, {
    title: `Flash sale: ${VISITORS} visitors within ${DURATION_S} s`,
    counts: [
      ['joined the line', 'visitors_joined'],
      ['admitted', 'visitors_admitted'],
      ['turned away', 'visitors_turned_away'],
      ['accepted', 'bookings_accepted'],
      ['allocated', 'bookings_allocated'],
      ['rejected', 'bookings_rejected'],
      ['undecided', 'bookings_undecided'],
      ['tickets paid', 'tickets_paid'],
      ['positions heard', 'positions_heard'],
      ['positions risen', 'positions_risen'],
      ['sockets lost', 'sockets_lost'],
      ['answered 429', 'answers_429'],
      ['not started', 'dropped_iterations'],
    ],
    times: [
      ['to a place', 'line_join'],
      ['to first frame', 'line_first_frame'],
      ['in the line', 'line_wait'],
      ['to 202', 'booking_accept'],
      ['to outcome', 'booking_decide'],
      ['to pay', 'order_payment'],
    ],
    notes: [`${impatient} gave up after ${PATIENCE_S} s in the line`],
    advice: {
      ...BUYING_ADVICE,
      line_join: 'look at Redis, and at the processors of the waiting room',
      line_first_frame: 'look at the processors of the waiting room, and at the open-file limits of both ends',
      order_payment: 'look at PostgreSQL',
      positions_risen: 'a visitor was told a larger number than before: please report it, with the logs',
      visitors_gave_up: 'the line is slower than PATIENCE: admit more per second (PATCH /shows/{id}/waiting-room, ' +
        'or PACE), or set PATIENCE to what your visitors have',
      tickets_paid: 'nobody got a ticket: warnings above say why; was the show sold out before?',
    },
  });
}
