#!/usr/bin/env python3
"""Torrents of single files and a tracker for them. Needs nothing but Python 3. For scripts/bench-swarm.

    tracker.py make FILE URL > TORRENT    for a tracker that announces at URL
    tracker.py serve ADDRESS PORT         until it is ended

It serves whatever torrent it is asked for (packaged trackers refuse what is not on their lists), over HTTP, to peers with IPv4
addresses: `/announce` (BEP 3, always with compact peers: BEP 23), and `/seeds`, which says in plain text how many peers have
everything, of all torrents together.
"""

import collections
import hashlib
import http.server
import pathlib
import socket
import socketserver
import sys
import threading
import urllib.parse

PIECE = 1 << 20
# Seconds until a client asks again: soon, because the peers of a bench come within seconds.
INTERVAL = 5
# Peers in an answer, as many as clients usually ask for.
MAX_PEERS = 50


def bencode(value):
    """Bytes of BEP 3 for numbers, bytes, and dictionaries with text for keys."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    pairs = sorted((key.encode(), item) for key, item in value.items())
    return b"d" + b"".join(bencode(key) + bencode(item) for key, item in pairs) + b"e"


def make(path, url):
    pieces, length = b"", 0
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            pieces += hashlib.sha1(piece).digest()
            length += len(piece)
    # A private torrent's peers come from its tracker alone (BEP 27).
    info = {
        "length": length,
        "name": pathlib.Path(path).name.encode(),
        "piece length": PIECE,
        "pieces": pieces,
        "private": 1,
    }
    return bencode({"announce": url.encode(), "info": info})


class Swarms:
    """Who is there, by info hash and address, and whether they have everything."""

    def __init__(self):
        self.lock = threading.Lock()
        self.peers = collections.defaultdict(dict)

    def announce(self, info_hash, address, event, left):
        """Notes a peer, and answers with the others."""
        with self.lock:
            peers = self.peers[info_hash]
            if event == "stopped":
                peers.pop(address, None)
            else:
                peers[address] = left == 0
            others = [other for other in peers if other != address][:MAX_PEERS]
            seeds = sum(peers.values())
            return {
                "complete": seeds,
                "incomplete": len(peers) - seeds,
                "interval": INTERVAL,
                "peers": b"".join(socket.inet_aton(ip) + port.to_bytes(2, "big") for ip, port in others),
            }

    def seeds(self):
        with self.lock:
            return sum(sum(peers.values()) for peers in self.peers.values())


class Server(socketserver.ThreadingTCPServer):
    """http.server's own asks the name service for the address, which takes half a minute where there is none."""

    allow_reuse_address = daemon_threads = True


class Handler(http.server.BaseHTTPRequestHandler):
    swarms = Swarms()

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/announce":
            self.answer(bencode(self.announced(url.query)))
        elif url.path == "/seeds":
            self.answer(b"%d\n" % self.swarms.seeds())
        else:
            self.send_error(404)

    def announced(self, query):
        # An info hash is any bytes: each becomes the character of its number.
        given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True, encoding="latin-1"))
        try:
            info_hash, port = given["info_hash"].encode("latin-1"), int(given["port"])
            left = int(given.get("left", 1))
        except (KeyError, ValueError):
            return {"failure reason": b"info_hash and port are needed, and numbers for port and left"}
        if len(info_hash) != 20 or not 0 < port < 1 << 16:
            return {"failure reason": b"no such info hash or port"}
        return self.swarms.announce(info_hash, (self.client_address[0], port), given.get("event"), left)

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main(arguments):
    match arguments:
        case ["make", path, url]:
            sys.stdout.buffer.write(make(path, url))
        case ["serve", address, port]:
            Server((address, int(port)), Handler).serve_forever()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
