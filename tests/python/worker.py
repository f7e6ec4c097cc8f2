#!/usr/bin/env python3
"""A worker for shovel-pool in plain Python: docs/wire.md as a program.

Start it with:  shovel-pool tests/python/worker.py

    GET /hello            Hello, world!
    GET /info             who answers, as JSON
    GET /ws/echo          a WebSocket that sends back what it gets
    GET /ws/room/{name}   one that publishes what it gets to everyone in the room
    GET /ws/counter       one that numbers what it gets, and outlives its worker

Its handlers answer within the turn in which they are called, so nothing is ever under way when the
next frame is read: none has to be waited for when a connection is given up. One that waits needs a
loop that goes on reading meanwhile.
"""

import json
import os
import re
import select
import socket
import struct
import sys
from collections import deque
from enum import IntEnum
from urllib.parse import unquote

HEADER = struct.Struct("<IBBHQ")  # len, kind, flags, reserved, id
GREETING = struct.Struct("<4sHHQ")  # magic, newest and oldest version, capabilities
PIECE_BYTES = 65536
MORE, BINARY, END, LAST, STAGED = 0x01, 0x02, 0x04, 0x08, 0x10
ADOPT = 1  # the capability
VERSION = struct.pack("<I", 1)  # of the attachment, which is the count in digits
SUBSCRIBE, ATTACH = struct.pack("<I", 1), struct.pack("<I", 5)  # effects of `ws:upgrade`


class FromSupervisor(IntEnum):
    HELLO, HTTP_REQUEST = 1, 2
    WS_MESSAGE, WS_CLOSE, WS_GONE, WS_PRESSURE = 6, 7, 8, 9
    WS_RELEASE, WS_REVOKE, WS_ADOPT = 10, 11, 12
    PING, SHUTDOWN = 16, 17


class ToSupervisor(IntEnum):
    READY, HTTP_RESPONSE, HTTP_BODY = 64, 65, 66
    WS_UPGRADE, WS_SEND, WS_ATTACH, WS_COMMIT = 69, 70, 72, 73
    WS_RELEASED, WS_ADOPTED, WS_PRESSED = 74, 75, 76
    CHANNEL_PUBLISH, PONG, SHUTDOWN_COMPLETE = 79, 81, 82


class Fields:
    """Reads the fields of a control payload, one after another."""

    def __init__(self, payload, at=0):
        self.payload, self.at = payload, at

    def fixed(self, letter):
        (value,) = struct.unpack_from("<" + letter, self.payload, self.at)
        self.at += struct.calcsize("<" + letter)
        return value

    def data(self):
        length = self.fixed("Q")
        self.at += length
        return bytes(self.payload[self.at - length : self.at])

    def text(self):
        return self.data().decode()

    def headers(self):
        return [(self.text(), self.data()) for _ in range(self.fixed("Q"))]


def field(data):
    """A str or bytes field."""
    data = data.encode() if isinstance(data, str) else data
    return struct.pack("<Q", len(data)) + data


def headers(pairs):
    """A list of headers."""
    return struct.pack("<Q", len(pairs)) + b"".join(field(n) + field(v) for n, v in pairs)


class Connection:
    """A client's WebSocket, from `ws:upgrade` or `ws:adopt` until it is given up or has closed."""

    def __init__(self, name, count=0, committed=0, pressed=False):
        self.name = name  # "echo", "counter", or a channel: "room:..."
        self.count = count
        self.committed = committed
        self.pressed = pressed
        self.mailbox = deque()  # (seq, flags, message) that wait for the pressure to go


class Link:
    """One socket to the supervisor, and the connections that came over it."""

    def __init__(self, descriptor):
        os.set_inheritable(descriptor, False)
        self.socket = socket.socket(fileno=descriptor)
        self.socket.setblocking(True)
        self.received = bytearray()
        self.pieces = {}  # (kind, flags, id): what has come of a payload so far
        self.batch = bytearray()
        self.connections = {}

    def fileno(self):
        return self.socket.fileno()

    def put(self, kind, identity, payload=b"", flags=0):
        """Adds a frame to the batch, in pieces if it is long."""
        for at in range(0, max(len(payload), 1), PIECE_BYTES):
            piece = payload[at : at + PIECE_BYTES]
            more = MORE if at + PIECE_BYTES < len(payload) else 0
            self.batch += HEADER.pack(len(piece), kind, flags | more, 0, identity) + piece

    def flush(self):
        self.socket.sendall(self.batch)
        self.batch.clear()

    def frames(self):
        """Reads what there is and yields (kind, flags, id, payload) of each whole payload."""
        read = self.socket.recv(4 * PIECE_BYTES)
        if not read:
            sys.exit("the supervisor has gone")
        self.received += read
        at = 0
        while len(self.received) - at >= HEADER.size:
            length, kind, flags, _, identity = HEADER.unpack_from(self.received, at)
            if length > PIECE_BYTES:
                sys.exit(f"bad frame: kind {kind} announces {length} bytes")
            end = at + HEADER.size + length
            if end > len(self.received):
                break
            payload = self.received[at + HEADER.size : end]
            at = end
            key = kind, flags & ~MORE, identity
            held = self.pieces.setdefault(key, bytearray())
            held += payload
            if not flags & MORE:
                yield kind, flags, identity, self.pieces.pop(key)
        del self.received[:at]


class Worker:
    def __init__(self, links):
        self.links = links
        self.greeted = 0
        self.index = self.generation = None
        self.staged = 0  # STAGED, if the supervisor can have connections adopted

    def run(self):
        while True:
            readable, _, _ = select.select(self.links, [], [])
            for link in readable:
                for kind, flags, identity, payload in link.frames():
                    self.handle(link, kind, flags, identity, payload)
                link.flush()

    def handle(self, link, kind, flags, identity, payload):
        match kind:
            case FromSupervisor.HELLO:
                self.hello(payload)
            case FromSupervisor.HTTP_REQUEST:
                self.request(link, identity, Fields(payload))
            case FromSupervisor.WS_MESSAGE:
                message = (Fields(payload).fixed("Q"), flags & BINARY, bytes(payload[8:]))
                if connection := link.connections.get(identity):
                    connection.mailbox.append(message)
                    self.work_off(link, identity, connection)
            case FromSupervisor.WS_CLOSE:
                self.closed(link, identity, Fields(payload))
            case FromSupervisor.WS_GONE:
                link.connections.pop(identity, None)
            case FromSupervisor.WS_PRESSURE:
                self.pressure(link, identity, over=payload[0] != 0)
            case FromSupervisor.WS_RELEASE | FromSupervisor.WS_REVOKE:
                # What is in the mailbox goes to the next owner. A revoke that crossed the answer to
                # a release finds nothing.
                if connection := link.connections.pop(identity, None):
                    handled = struct.pack("<Q", connection.committed)
                    link.put(ToSupervisor.WS_RELEASED, identity, handled + handled)
            case FromSupervisor.WS_ADOPT:
                self.adopt(link, identity, Fields(payload))
            case FromSupervisor.PING:
                link.put(ToSupervisor.PONG, identity)
            case FromSupervisor.SHUTDOWN:
                link.put(ToSupervisor.SHUTDOWN_COMPLETE, 0)
                for each in self.links:
                    each.flush()
                sys.exit(0)
            case _:
                # Bodies, which no route here reads; `http:cancel`, which comes when the request
                # has been answered already; and kinds of later versions, which are skipped.
                pass

    def hello(self, payload):
        magic, newest, oldest, capabilities = GREETING.unpack_from(payload)
        if magic != b"SHVL" or not oldest <= 1 <= newest:
            sys.exit("the supervisor does not speak version 1 of the link protocol")
        fields = Fields(payload, GREETING.size)
        _, self.index, self.generation = (fields.fixed("I") for _ in range(3))
        self.greeted += 1
        self.staged = STAGED if capabilities & ADOPT else 0
        if self.greeted == len(self.links):
            ready = GREETING.pack(b"SHVL", 1, 1, capabilities & ADOPT)
            self.links[0].put(ToSupervisor.READY, 0, ready)
            self.links[0].flush()

    def request(self, link, request, head):
        method, target = head.text(), head.text()
        head.fixed("B"), head.headers(), head.data()  # version, headers, client
        connection = head.fixed("Q") if head.fixed("B") else None
        path = target.split("?")[0]
        if method == "GET" and path == "/hello":
            self.respond(link, request, 200, "text/plain; charset=utf-8", "Hello, world!")
        elif method == "GET" and path == "/info":
            info = {"mode": "supervised", "pid": os.getpid(), "worker": self.index}
            info["generation"] = self.generation
            self.respond(link, request, 200, "application/json", json.dumps(info))
        elif connection is not None and path == "/ws/echo":
            self.upgrade(link, request, connection, "echo")
        elif connection is not None and path == "/ws/counter":
            attach = ATTACH + VERSION + field("0")
            self.upgrade(link, request, connection, "counter", attach, self.staged)
        elif connection is not None and re.fullmatch("/ws/room/[^/]{1,200}", path):
            room = "room:" + unquote(path[len("/ws/room/") :])
            self.upgrade(link, request, connection, room, SUBSCRIBE + field(room))
        else:
            self.respond(link, request, 404, "text/plain; charset=utf-8", "not found")

    def respond(self, link, request, status, content_type, body):
        head = struct.pack("<H", status) + headers([("content-type", content_type)])
        link.put(ToSupervisor.HTTP_RESPONSE, request, head)
        link.put(ToSupervisor.HTTP_BODY, request, body.encode(), END)

    def upgrade(self, link, request, connection, name, effects=b"", flags=0):
        accept = struct.pack("<Q", request) + b"\0" + headers([]) + effects  # no subprotocol
        link.put(ToSupervisor.WS_UPGRADE, connection, accept, flags)
        link.connections[connection] = Connection(name)

    def adopt(self, link, identity, fields):
        fields.fixed("I"), fields.fixed("16s")  # cause, UUID
        _ = fields.text() if fields.fixed("B") else None  # subprotocol
        committed, pressed = fields.fixed("Q"), fields.fixed("B") != 0
        version, count = fields.fixed("I"), fields.data()
        for _ in range(fields.fixed("Q")):
            fields.text()  # a channel: it is still subscribed
        _, target = fields.text(), fields.text()  # method; the rest of the request's head follows
        taken = version == 1 and count.isdigit() and target.split("?")[0] == "/ws/counter"
        # One that is refused is ours for its close event.
        count = int(count) if taken else 0
        link.connections[identity] = Connection("counter", count, committed, pressed)
        link.put(ToSupervisor.WS_ADOPTED, identity, bytes([taken]))

    def work_off(self, link, identity, connection):
        """Handles the messages of a connection, unless its client has to catch up first."""
        while connection.mailbox and not connection.pressed:
            connection.committed, binary, message = connection.mailbox.popleft()
            if connection.name == "echo":
                # The echo is all that the handler does, so the commit can travel with it.
                link.put(ToSupervisor.WS_SEND, identity, message, binary | LAST)
            elif connection.name == "counter":
                # The count and the answer that tells it take effect together, or not at all.
                connection.count += 1
                digits = str(connection.count).encode()
                link.put(ToSupervisor.WS_ATTACH, identity, VERSION + digits, self.staged)
                flags = binary | LAST | self.staged
                link.put(ToSupervisor.WS_SEND, identity, digits + b" " + message, flags)
            else:
                name = connection.name.encode()
                payload = struct.pack("<H", len(name)) + name + message
                link.put(ToSupervisor.CHANNEL_PUBLISH, 0, payload, binary)
                self.commit(link, identity, connection.committed)

    def commit(self, link, identity, seq):
        link.put(ToSupervisor.WS_COMMIT, identity, struct.pack("<Q", seq))

    def pressure(self, link, identity, over):
        if connection := link.connections.get(identity):
            connection.pressed = over
            if over:
                link.put(ToSupervisor.WS_PRESSED, identity)
            self.work_off(link, identity, connection)

    def closed(self, link, identity, fields):
        if connection := link.connections.pop(identity, None):
            # The client is beyond being pressed, and the close comes after all messages.
            connection.pressed = False
            self.work_off(link, identity, connection)
            seq, code, reason = fields.fixed("Q"), fields.fixed("H"), fields.text()
            print(f"closed {connection.name} {code} {reason}".strip(), flush=True)
            self.commit(link, identity, seq)


if __name__ == "__main__":
    if "SHOVEL_LINK_FDS" not in os.environ:
        sys.exit("start it with: shovel-pool tests/python/worker.py")
    Worker([Link(int(number)) for number in os.environ["SHOVEL_LINK_FDS"].split(",")]).run()
