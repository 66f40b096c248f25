// A steady, moderate load for hours: reads of a show and its seat map, bookings, cancellations. A watcher
// does the same once a second on its own and compares the last quarter of the run with the first. It
// proves that neither times nor failures creep up.
//
//   BASE_URL=http://127.0.0.1:8080 RATE=10 DURATION=8h k6 run loadtest/k6/soak.js
//
// RATE      visits per second (5)
// DURATION  how long (2h); from a minute on the comparison means something
// USERS     accounts to sign up first (50): each keeps seats unpaid for some three hours in all, a
//           second or more for each booking, so hours at a high rate need more
// TOKENS    full path of a file of `usher seed accounts N --tokens FILE`, valid for a day, instead of
//           signing up
// SHOW      a show on sale with the waiting room OFF; by default the first upcoming one
//
// Runs on k6 1.1.0 and later.
import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';
import { Counter, Gauge, Trend } from 'k6/metrics';
import { BUYING_ADVICE, BUYING_COUNTS, bookAndCancel } from './buying.js';
import {
  API, NO_WALK_IN, TIMES, count, findShow, headersOf, roomiestTier, seconds, signUp, summary, tell, tokenOf,
  walkInObjection,
} from './lib.js';

const RATE = count('RATE', 5);
const DURATION_S = seconds('DURATION', '2h');
const USERS = count('USERS', 50);
const PARTS = ['first', 'middle', 'last'];
// Below this, twice as long is noise.
const FLOOR_MS = 50;
// Samples of each quarter without which they are not compared.
const COMPARED_MIN = 5;

const read = new Trend('read_seatmap', true);
const readGrowth = new Gauge('read_growth');
const bookingGrowth = new Gauge('booking_growth');
const compared = new Counter('quarters_compared');

export const options = {
  scenarios: {
    visits: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${DURATION_S}s`,
      preAllocatedVUs: Math.max(10, RATE * 2),
      maxVUs: Math.max(50, RATE * 20),
    },
    // One virtual user, so that it alone has the whole series.
    watch: {
      executor: 'constant-arrival-rate',
      exec: 'watch',
      rate: 1,
      timeUnit: '1s',
      duration: `${DURATION_S}s`,
      preAllocatedVUs: 1,
      maxVUs: 1,
    },
  },
  setupTimeout: '5m',
  summaryTrendStats: TIMES,
  thresholds: {
    'http_req_failed': ['rate<0.01'],
    ...ofParts('http_req_failed', 'rate<0.01'),
    ...ofParts('checks', 'rate>0.99'),
    ...ofParts('booking_accept', 'p(95)<500'),
    ...ofParts('booking_decide', 'p(95)<2000'),
    ...ofParts('read_seatmap', 'p(95)<500'),
    read_growth: ['value<2'],
    booking_growth: ['value<2'],
    quarters_compared: ['count>0'],
    bookings_undecided: ['count<1'],
    bookings_accepted: ['count>0'],
  },
};

// The same threshold for each third of the run, so that a bad end does not drown in good hours.
function ofParts(metric, rule) {
  return Object.fromEntries(PARTS.map((part) => [`${metric}{part:${part}}`, [rule]]));
}

export function setup() {
  const show = findShow(walkInObjection, NO_WALK_IN);
  return { users: signUp(USERS), show: { showId: show.showId, tier: roomiestTier(show) } };
}

export default function (data) {
  visit(data, exec.scenario.iterationInTest);
}

function visit({ users, show }, n) {
  exec.vu.metrics.tags.part = PARTS[Math.min(2, Math.floor(exec.scenario.progress * 3))];
  const headers = headersOf(n, tokenOf(users, exec.vu.idInTest % USERS));
  const times = { read: readShow(headers, show.showId) };
  const since = Date.now();
  times.isBooked = bookAndCancel(headers, show);
  times.booking = Date.now() - since;
  return times;
}

function readShow(headers, showId) {
  const answer = http.get(`${API}/shows/${showId}/seatmap`, { headers, tags: { name: 'GET /shows/{id}/seatmap' } });
  read.add(answer.timings.duration);
  if (!check(answer, { 'a seat map': (r) => r.status === 200 && r.json('showId') === showId })) {
    tell('GET /shows/{id}/seatmap', answer);
  }
  return answer.timings.duration;
}

// ---- The watcher

const first = { read: [], booking: [] };
const last = { read: [], booking: [] };

export function watch(data) {
  const times = visit(data, exec.scenario.iterationInTest);
  const { progress } = exec.scenario;
  if (!times.isBooked) {
    return; // counted as a failure, and no time to compare
  }
  // The first moments warm connections and caches up.
  if (progress > 0.03 && progress < 0.28) {
    first.read.push(times.read);
    first.booking.push(times.booking);
  } else if (progress >= 0.75) {
    last.read.push(times.read);
    last.booking.push(times.booking);
  }
  if (Math.min(first.read.length, last.read.length) >= COMPARED_MIN) {
    readGrowth.add(growth(first.read, last.read));
    bookingGrowth.add(growth(first.booking, last.booking));
    compared.add(1);
  }
}

function growth(before, after) {
  return Math.max(median(after), FLOOR_MS) / Math.max(median(before), FLOOR_MS);
}

function median(times) {
  return [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
}

// ---- What is printed

export function handleSummary(data) {
  const isCompared = data.metrics.quarters_compared?.values.count > 0;
  const grown = (metric) => (isCompared ? data.metrics[metric].values.value.toFixed(2) : '-');
  const share = (part) => ((data.metrics[`http_req_failed{part:${part}}`]?.values.rate ?? 0) * 100).toFixed(2);
  const creeps = 'times grew during the run: compare processors, memory and tables at the end with the beginning';
  return summary(data, {
    title: `Visits at ${RATE}/s for ${DURATION_S} s`,
    counts: BUYING_COUNTS,
    times: PARTS.flatMap((part) => [
      [`seat map, ${part}`, `read_seatmap{part:${part}}`],
      [`to 202, ${part}`, `booking_accept{part:${part}}`],
      [`outcome, ${part}`, `booking_decide{part:${part}}`],
    ]),
    notes: [
      `failed calls: ${PARTS.map((part) => `${share(part)} % in the ${part} third`).join(', ')}`,
      `last quarter over first: reads ${grown('read_growth')}, bookings ${grown('booking_growth')} times`,
    ],
    advice: {
      ...BUYING_ADVICE,
      read_growth: creeps,
      booking_growth: creeps,
      read_seatmap: 'look at PostgreSQL, and at the processors of ingress',
      quarters_compared: 'too few bookings in the first or the last quarter to compare: DURATION of a minute at least',
    },
  });
}
