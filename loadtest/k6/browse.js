// Reads the catalogue, shows and seat maps of a running system, as people do who look around before
// a sale. A page that has an ETag is asked for again with If-None-Match. It proves that reads are
// quick, and that an unchanged page is answered 304 without a body.
//
//   BASE_URL=http://127.0.0.1:8080 RATE=100 DURATION=1m k6 run loadtest/k6/browse.js
//
// RATE      visits per second, of five reads each (20)
// DURATION  how long (30s)
// VISITORS  addresses that the visits claim (1000); an address may read 500 times per second
// SHOW      the show whose seat map is read; by default all of the first hundred upcoming ones
//
// Runs on k6 1.1.0 and later. It needs no account and changes nothing.
import http from 'k6/http';
import { check, fail } from 'k6';
import exec from 'k6/execution';
import { Counter, Trend } from 'k6/metrics';
import { API, TIMES, count, findShow, headersOf, seconds, summary, tell, upcoming } from './lib.js';

const RATE = count('RATE', 20);
const DURATION = `${seconds('DURATION', '30s')}s`;
const VISITORS = count('VISITORS', 1000);

const catalogue = new Trend('read_catalogue', true);
const ofShow = new Trend('read_show', true);
const seatMap = new Trend('read_seatmap', true);
const complete = new Counter('reads_complete');
const unchanged = new Counter('reads_unchanged');
const withoutTag = new Counter('reads_without_etag');
const ignoredTag = new Counter('etags_ignored');
const limited = new Counter('answers_429');

// What this virtual user keeps of each page, as a browser does: its ETag.
const etags = new Map();

export const options = {
  scenarios: {
    browse: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: DURATION,
      preAllocatedVUs: Math.max(10, RATE),
      maxVUs: Math.max(50, RATE * 5),
    },
  },
  summaryTrendStats: TIMES,
  thresholds: {
    checks: ['rate>0.99'],
    http_req_failed: ['rate<0.01'],
    read_catalogue: ['p(95)<500'],
    read_show: ['p(95)<500'],
    read_seatmap: ['p(95)<500'],
    etags_ignored: ['count<1'],
    reads_without_etag: ['count<1'],
    reads_unchanged: ['count>0'],
    reads_complete: ['count>0'],
  },
};

export function setup() {
  const shows = __ENV.SHOW ? [findShow(() => undefined, '')] : upcoming().slice(0, 100);
  if (shows.length === 0) {
    fail('there are no upcoming shows: `usher seed` makes a catalogue');
  }
  return { shows: shows.map(({ showId, movieId }) => ({ showId, movieId })) };
}

export default function ({ shows }) {
  const n = exec.scenario.iterationInTest;
  const headers = { ...headersOf(n % VISITORS), 'Accept-Encoding': 'gzip, br' };
  const { showId, movieId } = shows[n % shows.length];
  read(catalogue, headers, '/shows/upcoming?limit=20', 'GET /shows/upcoming', (page) => page.items.length > 0);
  read(catalogue, headers, '/movies?limit=20', 'GET /movies', (page) => page.items.length > 0);
  read(catalogue, headers, `/movies/${movieId}`, 'GET /movies/{id}', (movie) => movie.movieId === movieId);
  read(ofShow, headers, `/shows/${showId}`, 'GET /shows/{id}', (show) => show.showId === showId);
  read(seatMap, headers, `/shows/${showId}/seatmap`, 'GET /shows/{id}/seatmap', (map) =>
    map.showId === showId && Array.isArray(map.layout.rows) && map.version >= 0);
}

function read(time, headers, path, name, isComplete) {
  const etag = etags.get(path);
  const answer = http.get(`${API}${path}`, {
    headers: etag ? { ...headers, 'If-None-Match': etag } : headers,
    tags: { name },
  });
  time.add(answer.timings.duration);
  limited.add(answer.status === 429 ? 1 : 0);
  if (answer.status === 304) {
    unchanged.add(1);
    check(answer, { '304 only if asked for': () => Boolean(etag), '304 without a body': (r) => !r.body });
    return;
  }
  if (!check(answer, { 'complete, or unchanged': (r) => r.status === 200 && isComplete(r.json()) })) {
    tell(name, answer);
    return;
  }
  complete.add(1);
  const now = answer.headers.Etag;
  withoutTag.add(now ? 0 : 1);
  ignoredTag.add(etag && now === etag ? 1 : 0);
  if (now) {
    etags.set(path, now);
  }
}

export function handleSummary(data) {
  return summary(data, {
    title: `Visits at ${RATE}/s for ${DURATION}`,
    counts: [
      ['complete reads', 'reads_complete'],
      ['unchanged (304)', 'reads_unchanged'],
      ['without an ETag', 'reads_without_etag'],
      ['ETag ignored', 'etags_ignored'],
      ['answered 429', 'answers_429'],
      ['not started', 'dropped_iterations'],
    ],
    times: [['catalogue', 'read_catalogue'], ['a show', 'read_show'], ['a seat map', 'read_seatmap']],
    advice: {
      read_catalogue: 'look at PostgreSQL, and at DATABASE_REPLICA_URL for the catalogue',
      read_show: 'look at PostgreSQL, and at the processors of ingress',
      read_seatmap: 'look at PostgreSQL, and at the processors of ingress',
      etags_ignored: 'an unchanged page was sent again: does a proxy remove If-None-Match?',
      reads_without_etag: 'a page came without its ETag: does a proxy remove it?',
      reads_unchanged: 'no page was answered 304: is each read only once, or all changed by a sale?',
      reads_complete: 'nothing could be read: warnings above say why',
    },
  });
}
