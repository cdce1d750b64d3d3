#!/usr/bin/env python3
"""A client of runloopd on the standard library alone, as docs/protocol.md explains it. Usage: rmp_client.py [SOCKET]"""
import contextlib, itertools, os, socket, struct, sys, time

# The length of the frame and its header: magic, version, length of the header,
# flags, schema, reserved, length of the body, created, ttl, trace, msg, reserved.
HEADER = struct.Struct(">I 4sHHIHHIQQ16sQI")
NOTE, CONTROL, ERROR = (1, "observation.generic.v1"), (9, "intent.control.v1"), (10, "error.report.v1")

CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
NUMBERS = dict(zip(range(0xCA, 0xD4), (">f", ">d", ">B", ">H", ">I", ">Q", ">b", ">h", ">i", ">q")))
SIZED = {0xC4: (bytes, ">B"), 0xC5: (bytes, ">H"), 0xC6: (bytes, ">I"), 0xD9: (str, ">B"), 0xDA: (str, ">H"),
         0xDB: (str, ">I"), 0xDC: (list, ">H"), 0xDD: (list, ">I"), 0xDE: (dict, ">H"), 0xDF: (dict, ">I")}

def pack(v):
    """MsgPack of v."""
    if v is None or v is True or v is False:
        return b"\xc0" if v is None else b"\xc3" if v else b"\xc2"
    if isinstance(v, int):
        return bytes([v]) if 0 <= v < 128 else struct.pack(">BQ", 0xCF, v) if v > 0 else struct.pack(">Bq", 0xD3, v)
    if isinstance(v, float):
        return struct.pack(">Bd", 0xCB, v)
    if isinstance(v, (str, bytes)):
        b, tag = (v.encode(), 0xDB) if isinstance(v, str) else (v, 0xC6)
        return struct.pack(">BI", tag, len(b)) + b
    if isinstance(v, dict):
        return struct.pack(">BI", 0xDF, len(v)) + b"".join(pack(k) + pack(x) for k, x in v.items())
    return struct.pack(">BI", 0xDD, len(v)) + b"".join(map(pack, v))

def unpack(b, i=0):
    """The MsgPack value at b[i:], and where it ends."""
    t, i = b[i], i + 1
    if t < 0x80 or t >= 0xE0 or t in CONSTANTS:
        return CONSTANTS.get(t, t if t < 0x80 else t - 256), i
    if t in NUMBERS:
        return struct.unpack_from(NUMBERS[t], b, i)[0], i + struct.calcsize(NUMBERS[t])
    if t < 0xC0:
        kind, n = (dict, t & 15) if t < 0x90 else (list, t & 15) if t < 0xA0 else (str, t & 31)
    else:
        kind, size = SIZED[t]  # a KeyError for extension types: RMP has none
        n, i = struct.unpack_from(size, b, i)[0], i + struct.calcsize(size)
    if kind in (str, bytes):
        return (b[i:i + n].decode() if kind is str else b[i:i + n]), i + n
    items = [None] * (2 * n if kind is dict else n)
    for j in range(len(items)):
        items[j], i = unpack(b, i)
    return (dict(zip(items[::2], items[1::2])) if kind is dict else items), i

class Refused(Exception):
    """An error report: code is stable, message is for people."""
    def __init__(self, report):
        super().__init__(f'{report["code"]}: {report["message"]}')
        self.code = report["code"]

class Client:
    def __init__(self, path, kind="cli", name="example"):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(path)
        self.stream, self.inbox = self.sock.makefile("rb"), []
        self.ids, self.acks = itertools.count(1), itertools.count(1)
        self.welcome = self.call({"op": "hello", "kind": kind, "name": name, "proto": 0})

    def frame(self, schema, payload, meta, trace=bytes(16), ttl_ms=30_000):
        body = pack({"type": schema[1], "payload": payload, "meta": meta})
        return HEADER.pack(64 + len(body), b"RMP0", 0, 64, 0, schema[0], 0, len(body), int(time.time() * 1000), ttl_ms,
                           trace, next(self.ids), 0) + body

    def call(self, payload, schema=CONTROL, **meta):
        """Sends a frame and returns what the server answers to it; messages that come first wait in the inbox."""
        meta["ack"] = n = next(self.acks)
        with contextlib.suppress(BrokenPipeError):  # what the server said before it hung up can still be read
            self.sock.sendall(self.frame(schema, payload, meta))
        while True:
            kind, answer, meta = self.read()
            if kind == CONTROL[0] and "topic" not in meta and (n in (meta.get("ack"), answer.get("n")) or answer["op"] == "hello.ok"):
                return answer
            self.inbox.append((answer, meta))

    def read(self):
        fields = HEADER.unpack(self.stream.read(HEADER.size))  # a struct.error when the server hung up
        body, _ = unpack(self.stream.read(fields[7]))
        meta = body.get("meta") or {}
        if fields[5] == ERROR[0] and "topic" not in meta:
            raise Refused(body["payload"])
        return fields[5], body["payload"], meta

    def receive(self):
        """The next message of a subscription: its payload and meta."""
        return self.inbox.pop(0) if self.inbox else self.read()[1:]

if __name__ == "__main__":
    client = Client(sys.argv[1] if len(sys.argv) > 1 else os.path.expanduser("~/.runloop/sock/rmp.sock"))
    print("hello from", client.welcome["server"])
    client.call({"op": "subscribe", "id": 1, "topic": "examples/+"})
    print("delivered to", client.call({"text": "good morning"}, NOTE, topic="examples/python").get("delivered", 0))
    print("received", client.receive())
    print(client.call({"op": "ping"})["op"])
