// A show of its own for a load test, entered and closed by an administrator of the system.
import http from 'k6/http';
import { fail, sleep } from 'k6';
import { API, headersOf, isNotOpen, signIn } from './lib.js';

const NAME = 'Load test, not for sale';
const SEATED_MAX = 1000;
const ROW_SEATS = 40;
const OPEN_WAIT_S = 60;

// Puts a show on sale with a line: `seats` seats and places, `pace` visitors admitted per second.
export function openPremiere(seats, pace) {
  const headers = adminHeaders();
  const movie = ensure(headers, '/movies', 'title', {
    title: NAME,
    description: 'A load test makes this movie and its shows.',
    genres: ['Drama'],
    rating: 'U',
    durationMinutes: 90,
    releaseDate: new Date().toISOString().slice(0, 10),
    posterUrl: null,
    language: 'Hindi',
  });
  const theatre = ensure(headers, '/theatres', 'name', {
    name: NAME, address: '1 Queue Lane', city: 'Mumbai', latitude: 19.0544, longitude: 72.8295,
    timeZone: 'Asia/Kolkata',
  });
  const hall = { name: `Hall of ${seats}`, ...layout(seats) };
  const screen = theatre.screens.find(({ name }) => name === hall.name) ||
    call('POST', '/screens', headers, { theatreId: theatre.theatreId, ...hall });
  const startsAt = new Date(Date.now() + 24 * 3600_000).toISOString();
  const show = call('POST', '/shows?overlap=allow', headers, {
    movieId: movie.movieId,
    theatreId: theatre.theatreId,
    screenId: screen.screenId,
    startsAt,
    saleOpensAt: new Date().toISOString(),
    saleClosesAt: startsAt,
    prices: hall.tiers.map(({ tier }) => ({ tier, amount: 50_000, currency: 'INR' })),
    maxSeatsPerUser: 4,
    waitingRoom: {
      mode: 'FIFO', ratePerSecond: pace, burst: Math.max(1, Math.ceil(pace)), maxActive: null, paused: false,
    },
  });
  call('POST', `/shows/${show.showId}/open`, headers);
  for (let waited = 0; waited < OPEN_WAIT_S; waited += 0.2) {
    const opened = call('GET', `/shows/${show.showId}`, headers);
    if (!isNotOpen(opened)) {
      return opened;
    }
    sleep(0.2);
  }
  return fail(`show ${show.showId} is not on sale ${OPEN_WAIT_S} s after it was opened: is an allocator running?`);
}

export function closePremiere(showId) {
  call('POST', `/shows/${showId}/close`, adminHeaders());
}

function adminHeaders() {
  return headersOf(0, signIn(__ENV.ADMIN_EMAIL, __ENV.ADMIN_PASSWORD).token);
}

// The entry of an earlier load test, or a new one.
function ensure(headers, path, key, details) {
  let cursor = '';
  for (let page = 0; page < 50 && cursor !== null; page++) {
    const { items, nextCursor } = call('GET', `${path}?limit=100${cursor}`, headers);
    const there = items.find((entry) => entry[key] === details[key]);
    if (there) {
      return there;
    }
    cursor = nextCursor && `&cursor=${encodeURIComponent(nextCursor)}`;
  }
  return call('POST', path, headers, details);
}

// Half of it, up to a thousand, are numbered seats in rows; the rest are places on a lawn.
function layout(seats) {
  const seated = Math.min(Math.ceil(seats / 2), SEATED_MAX);
  const rows = [];
  for (let left = seated; left > 0; left -= ROW_SEATS) {
    const row = String.fromCharCode('A'.charCodeAt(0) + rows.length);
    const numbers = Array.from({ length: Math.min(left, ROW_SEATS) }, (_, at) => at + 1);
    rows.push({ row, seats: numbers.map((n) => ({ seatId: `${row}${n}`, tier: 'STALLS', kind: 'seat' })) });
  }
  const stalls = { tier: 'STALLS', name: 'Stalls', generalAdmission: false, capacity: seated };
  const lawn = { tier: 'LAWN', name: 'Lawn', generalAdmission: true, capacity: seats - seated };
  return { tiers: seats > seated ? [stalls, lawn] : [stalls], layout: { rows } };
}

function call(method, path, headers, body) {
  const answer = http.request(method, `${API}${path}`, body === undefined ? null : JSON.stringify(body), {
    headers,
    tags: { name: `${method} as administrator` },
  });
  if (answer.status < 200 || answer.status > 299) {
    fail(`${method} ${path} answered ${answer.status}: is ADMIN_EMAIL an administrator? ` +
      `(${answer.error || answer.body})`);
  }
  return answer.json();
}
