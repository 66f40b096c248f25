// The line of a show: joining it, and watching a place over a socket, with their metrics.
import http from 'k6/http';
import { check } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import { clearTimeout, setTimeout } from 'k6/timers';
import { API, WebSocket, freshKey, tell } from './lib.js';

const join = new Trend('line_join', true);
const firstFrame = new Trend('line_first_frame', true);
const positions = new Counter('positions_heard');
const rises = new Counter('positions_risen');
const lost = new Counter('sockets_lost');

// Joins, or comes back to the place that the account has.
export function takePlace(headers, showId) {
  const answer = http.post(`${API}/shows/${showId}/queue`, null, {
    headers: { ...headers, 'Idempotency-Key': freshKey() },
    tags: { name: 'POST /shows/{id}/queue' },
  });
  join.add(answer.timings.duration);
  if (!check(answer, { 'has a place': (r) => (r.status === 201 || r.status === 200) && Boolean(r.json('ticketId')) })) {
    tell('POST /shows/{id}/queue', answer);
    return undefined;
  }
  return answer.json();
}

// Waits for the turn until patience ends, over sockets, one after another if a connection is lost.
// Returns how the line ended, ADMITTED with a pass.
export async function turnOf(first, headers, showId, until) {
  const heard = { last: Infinity };
  let place = first;
  while (place) {
    const turn = endIn(place) || (await watch(place, headers, until, heard));
    if (turn.end !== 'LOST') {
      return turn;
    }
    if (Date.now() > until) {
      return { end: 'GAVE_UP' };
    }
    lost.add(1);
    await new Promise((resolve) => setTimeout(resolve, 500 + Math.random() * 1000));
    place = takePlace(headers, showId);
  }
  return { end: 'LOST' };
}

// How the line ended for this place, by its state; undefined while it waits.
function endIn({ state, pass }) {
  return state === 'PREQUEUE' || state === 'WAITING' ? undefined : { end: state, pass };
}

// Watches a place over one socket: until the turn, until patience ends, or until it is lost.
function watch(place, headers, until, heard) {
  return new Promise((resolve) => {
    const began = Date.now();
    const protocols = ['usher.v1', `place-ticket.${place.placeTicket}`];
    const socket = new WebSocket(socketUrl(place.liveUrl), protocols, {
      headers: { 'X-Forwarded-For': headers['X-Forwarded-For'] },
      tags: { name: 'GET /shows/{id}/queue/{ticketId}/live' },
    });
    let isOpen = false;
    let ending;
    const end = (turn) => {
      if (ending) {
        return;
      }
      ending = turn;
      clearTimeout(patience);
      // A socket that is closed before it opened would keep some versions of k6 waiting.
      if (isOpen) {
        socket.close();
      }
      resolve(turn);
    };
    const patience = setTimeout(() => {
      if (isOpen) {
        socket.send(JSON.stringify({ type: 'leave' }));
      }
      end({ end: 'GAVE_UP' });
    }, Math.max(0, until - began));
    socket.onopen = () => {
      isOpen = true;
      if (ending) {
        socket.close();
      }
    };
    socket.onmessage = ({ data }) => {
      if (heard.isHeard === undefined) {
        heard.isHeard = true;
        firstFrame.add(Date.now() - began);
      }
      const turn = endOf(JSON.parse(data), heard);
      if (turn) {
        end(turn);
      }
    };
    socket.onerror = () => end({ end: 'LOST' });
    socket.onclose = () => end({ end: 'LOST' });
  });
}

// How the line ended, by a frame; undefined while it goes on.
function endOf(frame, heard) {
  switch (frame.type) {
    case 'position':
      if (frame.position !== null) {
        positions.add(1);
        rises.add(frame.position > heard.last ? 1 : 0);
        heard.last = frame.position;
      }
      return undefined;
    case 'admitted':
      return { end: 'ADMITTED', pass: frame.pass };
    case 'sold_out':
      return { end: 'SOLD_OUT' };
    case 'closed':
      return { end: 'CLOSED' };
    default: // paused, resumed, all_held: the place is kept
      return undefined;
  }
}

function socketUrl(path) {
  return API.replace(/^http/, 'ws').replace(/\/api\/v1$/, '') + path;
}
