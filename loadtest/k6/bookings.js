// Submits bookings to a running system at a steady rate, waits for each outcome and cancels each
// order, so that it can run for hours. It proves that bookings are accepted and decided in time, each
// with an outcome.
//
//   BASE_URL=http://127.0.0.1:8080 RATE=50 DURATION=30s k6 run loadtest/k6/bookings.js
//
// RATE      bookings per second (20)
// DURATION  how long (30s)
// USERS     accounts to sign up first (10); each may send 20 bookings per second, and keep seats
//           unpaid for some three hours in all, so a longer run needs more users
// TOKENS    full path of a file of `usher seed accounts N --tokens FILE`, instead of signing up
// SHOW      a show on sale with the waiting room OFF; by default the first upcoming one
//
// Runs on k6 1.1.0 and later.
import exec from 'k6/execution';
import { BUYING_ADVICE, BUYING_COUNTS, bookAndCancel } from './buying.js';
import {
  NO_WALK_IN, TIMES, count, findShow, headersOf, roomiestTier, seconds, signUp, summary, tokenOf, walkInObjection,
} from './lib.js';

const RATE = count('RATE', 20);
const DURATION = `${seconds('DURATION', '30s')}s`;
const USERS = count('USERS', 10);

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
  summaryTrendStats: TIMES,
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
  const show = findShow(walkInObjection, NO_WALK_IN);
  return { users: signUp(USERS), show: { showId: show.showId, tier: roomiestTier(show) } };
}

export default function ({ users, show }) {
  const n = exec.scenario.iterationInTest;
  bookAndCancel(headersOf(n, tokenOf(users, n % USERS)), show);
}

export function handleSummary(data) {
  return summary(data, {
    title: `Bookings at ${RATE}/s for ${DURATION}`,
    counts: BUYING_COUNTS,
    times: [['to 202', 'booking_accept'], ['to outcome', 'booking_decide']],
    advice: BUYING_ADVICE,
  });
}
