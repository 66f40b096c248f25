// What the scripts have in common: settings, accounts, a show, sockets, and the summary.
import http from 'k6/http';
import { fail } from 'k6';
import exec from 'k6/execution';
import { SharedArray } from 'k6/data';

export const API = `${__ENV.BASE_URL || 'http://127.0.0.1:8080'}/api/v1`;
export const TIMES = ['med', 'p(95)', 'p(99)', 'max'];

// `k6/websockets` exists from k6 1.6; before, the same was an experiment.
let found;
try {
  found = require('k6/websockets').WebSocket;
} catch (e) {
  found = require('k6/experimental/websockets').WebSocket;
}
export const WebSocket = found;

// How long before its expiry a token is no longer used.
const TOKEN_LEEWAY_MS = 60_000;
// Sign-ups sent at once; each costs the system 19 MiB and some 30 ms of one core.
const SIGN_UPS_AT_ONCE = 8;
// Access tokens that were made beforehand, shared by all virtual users.
const tokens = new SharedArray('tokens', () =>
  __ENV.TOKENS ? open(__ENV.TOKENS).split(/\s+/).filter(Boolean) : []);
// Users that this virtual user has signed in again, by their index.
const renewed = new Map();
const told = new Set();

// ---- Settings

export function count(name, otherwise) {
  const value = Number(__ENV[name] || otherwise);
  if (!Number.isInteger(value) || value < 1) {
    throw new Error(`${name}=${__ENV[name]} is not a whole number above zero`);
  }
  return value;
}

// Seconds of a duration as k6 writes it.
export function seconds(name, otherwise) {
  const text = __ENV[name] || otherwise;
  const units = { ms: 0.001, s: 1, m: 60, h: 3600 };
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) {
    throw new Error(`${name}=${text} is not a duration such as 90s, 10m or 1h30m`);
  }
  return [...text.matchAll(/([\d.]+)(ms|s|m|h)/g)].reduce((sum, [, n, unit]) => sum + n * units[unit], 0);
}

// ---- Accounts

// Signs up accounts; none if TOKENS names a file with tokens of accounts that exist.
export function signUp(wanted) {
  if (tokens.length > 0) {
    checkTokens(wanted);
    return [];
  }
  const users = [];
  while (users.length < wanted) {
    const people = [];
    while (people.length < Math.min(SIGN_UPS_AT_ONCE, wanted - users.length)) {
      people.push(person(users.length + people.length));
    }
    const calls = people.map((who, at) => ({
      method: 'POST',
      url: `${API}/auth/signup`,
      body: JSON.stringify(who),
      params: { headers: headersOf(users.length + at), tags: { name: 'POST /auth/signup' } },
    }));
    http.batch(calls).forEach((answer, at) => {
      if (answer.status !== 201) {
        fail(`sign-up answered ${answer.status}: ${answer.error || answer.body}${signUpAdvice(answer, wanted)}`);
      }
      const { email, password } = people[at];
      users.push({ email, password, ...tokenIn(answer) });
    });
  }
  return users;
}

function checkTokens(wanted) {
  if (tokens.length < wanted) {
    fail(`the file TOKENS has ${tokens.length} tokens and ${wanted} accounts are needed: ` +
      `\`usher seed accounts ${wanted} --tokens FILE\` makes them`);
  }
  const answer = http.get(`${API}/auth/profile`, { headers: headersOf(0, tokens[0]) });
  if (answer.status !== 200) {
    fail(`${API}/auth/profile answered ${answer.status} to the first token of ${__ENV.TOKENS}: is the system up, and ` +
      `was the file made for it within a day? (${answer.error || answer.body})`);
  }
}

function person(n) {
  const unique = `${Date.now()}-${n}-${Math.floor(Math.random() * 1e9)}`;
  return { name: `k6 ${n}`, email: `k6-${unique}@example.com`, password: `k6-${unique}` };
}

function signUpAdvice(answer, wanted) {
  if (answer.status === 0) {
    return '\nis the system up, and BASE_URL right?';
  }
  return answer.status === 429
    ? '\nlet the system believe our X-Forwarded-For (docs/proving.md, "Your own deployment"), so that each account ' +
      `has an address of its own; or give TOKENS the file of \`usher seed accounts ${wanted} --tokens FILE\``
    : '';
}

// A token of account `n` that does not expire soon. It is not refreshed, since other virtual users
// share the session, and a second refresh would end it: the user signs in again.
export function tokenOf(users, n) {
  if (tokens.length > 0) {
    return tokens[n % tokens.length];
  }
  const at = n % users.length;
  const user = renewed.get(at) || users[at];
  if (Date.now() < user.expiresAt - TOKEN_LEEWAY_MS) {
    return user.token;
  }
  const { email, password } = users[at];
  renewed.set(at, signIn(email, password, n));
  return renewed.get(at).token;
}

export function signIn(email, password, n = 0) {
  const answer = http.post(`${API}/auth/login`, JSON.stringify({ email, password }), {
    headers: headersOf(n),
    tags: { name: 'POST /auth/login' },
  });
  if (answer.status !== 200) {
    fail(`sign-in of ${email} answered ${answer.status}: ${answer.error || answer.body}`);
  }
  return tokenIn(answer);
}

function tokenIn(answer) {
  return { token: answer.json('accessToken'), expiresAt: Date.parse(answer.json('expiresAt')) };
}

// Each `n` claims an address of its own, which counts if the system trusts us as a proxy.
export function headersOf(n, token) {
  const address = `10.${128 + (n >> 16) % 128}.${(n >> 8) & 255}.${n & 255}`;
  const headers = { 'Content-Type': 'application/json', 'X-Forwarded-For': address };
  return token ? { ...headers, Authorization: `Bearer ${token}` } : headers;
}

// ---- Shows

// The show that SHOW names, or the first upcoming one to which there is no objection. `objection`
// says in words why a show cannot be used; `advice` what to do if there is none.
export function findShow(objection, advice) {
  if (__ENV.SHOW) {
    const answer = http.get(`${API}/shows/${__ENV.SHOW}`, { tags: { name: 'GET /shows/{id}' } });
    if (answer.status !== 200) {
      fail(`show ${__ENV.SHOW} answered ${answer.status}: is the id right? (${answer.error || answer.body})`);
    }
    const why = objection(answer.json());
    return why ? fail(`show ${__ENV.SHOW} cannot be used, ${why}: name another one, or none`) : answer.json();
  }
  return upcoming().find((show) => !objection(show)) || fail(advice);
}

export function upcoming() {
  const shows = [];
  let cursor = '';
  for (let page = 0; page < 50; page++) {
    const answer = http.get(`${API}/shows/upcoming?limit=100${cursor}`, { tags: { name: 'GET /shows/upcoming' } });
    if (answer.status !== 200) {
      fail(`${API}/shows/upcoming answered ${answer.status}: is the system up, and BASE_URL right? ` +
        `(${answer.error || answer.body})`);
    }
    shows.push(...answer.json('items'));
    const next = answer.json('nextCursor');
    if (!next) {
      break;
    }
    cursor = `&cursor=${encodeURIComponent(next)}`;
  }
  return shows;
}

export function isNotOpen(show) {
  return show.status === 'ON_SALE' ? undefined : `it is ${show.status}`;
}

export function walkInObjection(show) {
  return isNotOpen(show) || (show.waitingRoom.mode === 'OFF' ? undefined : 'it has a waiting room');
}

export const NO_WALK_IN = 'no show is on sale with the waiting room OFF: `usher seed` makes one';

export function roomiestTier(show) {
  return show.available.reduce((a, b) => (b.seats > a.seats ? b : a)).tier;
}

// ---- What is printed

// Tells of an unexpected answer, once for each virtual user and kind of call.
export function tell(call, answer) {
  if (!told.has(call)) {
    told.add(call);
    console.warn(`${call} answered ${answer.status}: ${answer.error || String(answer.body).slice(0, 300)}`);
  }
}

const ADVICE = {
  checks: 'an answer was not what the API promises; warnings above show the first ones',
  http_req_failed: 'calls failed or were refused: for 429 see the limits in docs/operations.md, for 5xx the logs',
  dropped_iterations: 'k6 could not send so much: a larger machine for k6, or a lower rate',
};

// The text of the end: counts, times in milliseconds, and whether the thresholds hold. `counts` and
// `times` are lists of [words, metric]; `advice` says what to do about a metric's threshold.
export function summary(data, { title, counts, times, notes = [], advice = {} }) {
  if (!data.metrics.iterations?.values.count) {
    return { stdout: `\n${title}\n  nothing was sent: the set-up failed, and the error says why\n\n` };
  }
  const value = (metric, stat) => data.metrics[metric]?.values[stat];
  const row = ([words, metric]) => `  ${words.padEnd(18)}${TIMES.map((stat) => cell(value(metric, stat))).join('')}`;
  const failed = Object.entries(data.metrics).flatMap(([name, metric]) =>
    Object.entries(metric.thresholds || {}).filter(([, t]) => !t.ok).map(([rule]) => [name, rule]));
  const why = (name) => advice[name] || { ...ADVICE, ...advice }[name.split('{')[0]];
  const lines = [
    '',
    title,
    ...counts.map(([words, metric]) => `  ${words.padEnd(18)}${String(value(metric, 'count') ?? 0).padStart(10)}`),
    `  ${'latency, ms'.padEnd(18)}${['p50', 'p95', 'p99', 'max'].map((name) => name.padStart(10)).join('')}`,
    ...times.map(row),
    ...notes.map((note) => `  ${note}`),
    ...failed.flatMap(([name, rule]) => [`  FAILED  ${name}: ${rule}`, `          ${why(name) || ''}`]),
    failed.length === 0 ? '  all thresholds hold' : `  ${failed.length} of the thresholds do not hold`,
    '',
  ];
  return { stdout: lines.join('\n') };
}

function cell(ms) {
  return (ms === undefined ? '-' : ms.toFixed(1)).padStart(10);
}

// A number that differs for every call of this run.
let calls = 0;
export function freshKey() {
  calls += 1;
  return `k6-${exec.vu.idInTest}-${calls}-${Date.now()}`;
}
