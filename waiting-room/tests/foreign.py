"""A visitor's way through the line, with a WebSocket client that is not ours.

Arguments: the address of a node, a show, an access token. Prints each frame; ends at `admitted`.
"""

import asyncio
import json
import sys
import urllib.request

import websockets


def join(address, show, token):
    url = f"http://{address}/api/v1/shows/{show}/queue"
    headers = {"authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, method="POST", headers=headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


async def watch(address, place):
    credential = f"place-ticket.{place['placeTicket']}"
    url = f"ws://{address}{place['liveUrl']}"
    async with websockets.connect(url, subprotocols=["usher.v1", credential]) as socket:
        assert socket.subprotocol == "usher.v1", socket.subprotocol
        lowest = None
        async for text in socket:
            frame = json.loads(text)
            print(text, flush=True)
            if frame["type"] == "position":
                assert frame["position"] == frame["ahead"] + 1
                assert lowest is None or frame["position"] <= lowest
                lowest = frame["position"]
            if frame["type"] == "admitted":
                assert frame["pass"].count(".") == 2
                return


address, show, token = sys.argv[1:]
asyncio.run(asyncio.wait_for(watch(address, join(address, show, token)), 30))
