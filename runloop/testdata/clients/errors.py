"""Provokes every error that a server can report, and prints the code of each.

    errors.py SOCKET     with the limits that clients_test.go sets
"""
import os, struct, sys, time

sys.path.insert(0, os.environ["CLIENTS"])
from rmp_client import CONTROL, NOTE, Client, Refused

path = sys.argv[1]
DECISION = (3006, "toolresult.action.decision.v1")


def code(f):
    """The code of the report that f ends with."""
    try:
        while True:
            f()
    except Refused as e:
        return e.code


def subscribe(client, topic, id=1):
    return client.call({"op": "subscribe", "id": id, "topic": topic})


def refused(payload, schema=CONTROL, **meta):
    return code(lambda: Client(path).call(payload, schema, **meta))


def edited(longer=False, **edits):
    """The report about a frame that is wrong in one place: offset from the magic, and bytes."""
    client = Client(path)
    frame = bytearray(client.frame(NOTE, {"text": "x"}, {"topic": "a", "ack": 77}))
    for at, new in edits.items():
        i = 4 + int(at[1:]) if at[0] == "h" else int(at[1:])
        frame[i:i + len(new)] = new
    if longer:
        frame[3] += 1
    client.sock.sendall(frame)
    return code(client.read)


def truncated():
    client = Client(path)
    client.sock.sendall(struct.pack(">I", 10) + bytes(10))
    return code(client.read)


def duplicate():
    client = Client(path)
    subscribe(client, "a")
    frame = client.frame(NOTE, {"text": "x"}, {"topic": "a", "ack": 77})
    client.sock.sendall(frame + frame)
    return code(client.read)


def subscriptions():
    client = Client(path)
    numbers = iter(range(1, 1000))
    return code(lambda: [subscribe(client, f"t/{n}", n) for n in numbers])


def connections():
    held = []
    said = code(lambda: held.append(Client(path)))
    for client in held:
        client.stream.close()
        client.sock.close()
    return said


def idle():
    client = Client(path)
    return code(client.read)


def pressure():
    """One who publishes to a client that does not read, and then that client."""
    lazy, busy = Client(path), Client(path)
    subscribe(lazy, "flood")
    first = code(lambda: busy.call({"text": "x" * 20_000}, NOTE, topic="flood"))
    end = time.time() + 20
    while time.time() < end:  # until it is cut off
        try:
            if busy.call({"text": "x" * 20_000}, NOTE, topic="flood").get("delivered", 0) == 0:
                break
        except Refused:
            pass
    return first, code(lazy.read)


far = struct.pack(">Q", 2**64 - 1)
print("protocol", code(lambda: Client(path, kind="boss")))
print("forbidden", refused({"op": "action.decision"}, DECISION, topic="rlp/actions"))
print("too_large", refused({"op": "subscribe", "id": 1, "topic": "t" * 2000}))
print("unknown_op", refused({"op": "subscirbe"}))
print("bad_topic", refused({"op": "subscribe", "id": 1, "topic": "a//b"}))
print("too_many_subscriptions", subscriptions())
print("InvalidMagic", edited(h0=b"X"))
print("UnsupportedVersion", edited(h5=b"\x01"))
print("InvalidHeaderFlags", edited(h8=b"\x01"))
print("BodyTooLarge", edited(f0=b"\x7f", h16=b"\x7f"))
print("LengthMismatch", edited(longer=True))
print("UnknownSchema", edited(h12=b"\x03\xff"))
print("InvalidTtl", edited(h28=bytes(8)))
print("InvalidExpiry", edited(h20=far))
print("BodyDecodeError", edited(h64=b"\xc1"))
print("BodyTypeMismatch", edited(h12=b"\x00\x02"))
print("Expired", edited(h20=struct.pack(">Q", 1)))
print("Duplicate", duplicate())
print("TruncatedHeader", truncated())
print("backpressure slow_consumer", *pressure())
print("idle", idle())
print("too_many_connections", connections())
sys.stdout.flush()
time.sleep(0.5)  # until the server knows that they are gone
last = Client(path)
print("ready", flush=True)  # for the end of the server
print("shutdown", code(last.read))
