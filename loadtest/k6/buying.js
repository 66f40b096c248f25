// The steps of a purchase, with their metrics.
import http from 'k6/http';
import { check } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import { API, freshKey, tell } from './lib.js';

const accept = new Trend('booking_accept', true);
const decide = new Trend('booking_decide', true);
const accepted = new Counter('bookings_accepted');
const allocated = new Counter('bookings_allocated');
const rejected = new Counter('bookings_rejected');
const undecided = new Counter('bookings_undecided');
const limited = new Counter('answers_429');

// What a summary counts of bookings.
export const BUYING_COUNTS = [
  ['accepted', 'bookings_accepted'],
  ['allocated', 'bookings_allocated'],
  ['rejected', 'bookings_rejected'],
  ['undecided', 'bookings_undecided'],
  ['answered 429', 'answers_429'],
  ['not started', 'dropped_iterations'],
];

export const BUYING_ADVICE = {
  booking_accept: 'ingress waits for the broker to confirm: look at RabbitMQ, its disk, and the processors of ingress',
  booking_decide: 'allocators do not keep up: look at PostgreSQL, and at usher_bookings_undecided',
  bookings_undecided: 'no outcome within 20 s: is an allocator running? GET /readyz says what is missing',
  bookings_accepted: 'nothing was accepted: warnings above say why',
};

// Why a booking may be refused in a sale with more buyers than seats.
const OUT_OF_SEATS = ['SOLD_OUT', 'ALL_HELD', 'SEAT_TAKEN'];

// Sends a booking; returns its id if it was accepted. `isOut` says that the tier has no free seat,
// which is a failure unless `mayBeOut`.
export function submit(headers, wish, { mayBeOut = false } = {}) {
  const answer = http.post(`${API}/bookings`, JSON.stringify(wish), {
    headers: { ...headers, 'Idempotency-Key': freshKey() },
    tags: { name: 'POST /bookings' },
    responseCallback: mayBeOut ? http.expectedStatuses(202, 409) : http.expectedStatuses(202),
  });
  limited.add(answer.status === 429 ? 1 : 0);
  accept.add(answer.timings.duration);
  if (mayBeOut && answer.status === 409 && OUT_OF_SEATS.includes(answer.json('code'))) {
    return { isOut: true };
  }
  const isAccepted = check(answer, {
    'accepted with 202': (r) => r.status === 202,
    'with a booking id': (r) => r.status === 202 && Boolean(r.json('bookingId')),
  });
  if (!isAccepted) {
    tell('POST /bookings', answer);
    return {};
  }
  accepted.add(1);
  return { bookingId: answer.json('bookingId') };
}

// Waits for the outcome; returns the order of an allocated booking. In a sale with more buyers than
// seats, a booking may be rejected for lack of seats.
export function orderOf(headers, bookingId, { mayBeOut = false } = {}) {
  const since = Date.now();
  const answer = http.get(`${API}/bookings/${bookingId}`, {
    headers: { ...headers, Prefer: 'wait=20' },
    tags: { name: 'GET /bookings/{id}' },
  });
  decide.add(Date.now() - since);
  const status = answer.status === 200 ? answer.json('status') : null;
  const isDecided = check(answer, { 'has an outcome': () => status === 'ALLOCATED' || status === 'REJECTED' });
  allocated.add(status === 'ALLOCATED' ? 1 : 0);
  rejected.add(status === 'REJECTED' ? 1 : 0);
  undecided.add(isDecided ? 0 : 1);
  if (status === 'ALLOCATED') {
    return answer.json('order');
  }
  const isOut = status === 'REJECTED' && OUT_OF_SEATS.includes(answer.json('reason'));
  if (mayBeOut && isDecided) {
    check(answer, { 'rejected only for lack of seats': () => isOut });
  }
  if (!isOut) {
    tell('GET /bookings/{id}', answer);
  }
  return undefined;
}

function cancel(headers, orderId) {
  const answer = http.post(`${API}/orders/${orderId}/cancel`, null, {
    headers,
    tags: { name: 'POST /orders/{id}/cancel' },
  });
  const isCancelled = check(answer, { cancelled: (r) => r.status === 200 && r.json('status') === 'CANCELLED' });
  if (!isCancelled) {
    tell('POST /orders/{id}/cancel', answer);
  }
  return isCancelled;
}

// One place, booked, decided and cancelled; returns whether all of it went well.
export function bookAndCancel(headers, { showId, tier }) {
  const { bookingId } = submit(headers, { showId, tier, quantity: 1 });
  const order = bookingId && orderOf(headers, bookingId);
  return Boolean(order) && cancel(headers, order.orderId);
}
