// A client of runloopd for Node, on @msgpack/msgpack; docs/protocol.md explains it.
//
//   npm install @msgpack/msgpack
//   node rmp_client.mjs [SOCKET]     says hello, subscribes, publishes, receives, pings
import { decode, encode } from "@msgpack/msgpack";
import net from "node:net";
import os from "node:os";

export const NOTE = [1, "observation.generic.v1"];
export const CONTROL = [9, "intent.control.v1"];
export const ERROR = [10, "error.report.v1"];

/** An error report: code is stable, message is for people. */
export class Refused extends Error {
  constructor({ code, message }) {
    super(`${code}: ${message}`);
    this.code = code;
  }
}

export class Client {
  constructor() {
    this.bytes = Buffer.alloc(0);
    this.inbox = []; // messages that nobody has received yet
    this.takers = []; // those who wait for one
    this.calls = new Map(); // by acknowledgement number
    this.acks = 0;
    this.ids = 0n;
    this.ended = new Promise((resolve) => (this.end = resolve));
  }

  static async connect(path, kind = "cli", name = "example") {
    const c = new Client();
    c.sock = net.connect(path);
    c.sock.on("data", (b) => c.take(b));
    c.sock.on("error", (e) => c.fail(e));
    c.sock.on("close", () => c.fail(new Error("the server hung up")));
    c.welcome = await c.call({ op: "hello", kind, name, proto: 0 });
    return c;
  }

  frame(schema, payload, meta, { trace = Buffer.alloc(16), ttl = 30_000n } = {}) {
    const body = encode({ type: schema[1], payload, meta });
    const b = Buffer.alloc(68 + body.length); // the length, the header, the body
    b.writeUInt32BE(64 + body.length, 0);
    b.write("RMP0", 4, "latin1");
    b.writeUInt16BE(64, 10);
    b.writeUInt16BE(schema[0], 16);
    b.writeUInt32BE(body.length, 20);
    b.writeBigUInt64BE(BigInt(Date.now()), 24);
    b.writeBigUInt64BE(ttl, 32);
    trace.copy(b, 40);
    b.writeBigUInt64BE(++this.ids, 56);
    b.set(body, 68);
    return b;
  }

  /** Sends a frame and resolves to what the server answers to it. */
  call(payload, schema = CONTROL, meta = {}) {
    if (this.why) return Promise.reject(this.why);
    const ack = ++this.acks;
    this.sock.write(this.frame(schema, payload, { ...meta, ack }));
    return new Promise((resolve, reject) => this.calls.set(ack, { resolve, reject }));
  }

  /** Resolves to the next message of a subscription: its payload and meta. */
  receive() {
    if (this.inbox.length > 0) return Promise.resolve(this.inbox.shift());
    if (this.why) return Promise.reject(this.why);
    return new Promise((resolve, reject) => this.takers.push({ resolve, reject }));
  }

  take(chunk) {
    this.bytes = Buffer.concat([this.bytes, chunk]);
    while (this.bytes.length >= 4 && this.bytes.length >= 4 + this.bytes.readUInt32BE(0)) {
      const end = 4 + this.bytes.readUInt32BE(0);
      const { payload, meta } = decode(this.bytes.subarray(68, end));
      this.handle(this.bytes.readUInt16BE(16), payload, meta ?? {});
      this.bytes = this.bytes.subarray(end);
    }
  }

  handle(schema, payload, meta) {
    const ours = meta.topic === undefined && (schema === CONTROL[0] || schema === ERROR[0]);
    if (!ours) {
      const taker = this.takers.shift();
      return taker ? taker.resolve({ payload, meta }) : this.inbox.push({ payload, meta });
    }
    const ack = payload.op === "hello.ok" ? 1 : (meta.ack || payload.n);
    const call = this.calls.get(ack);
    this.calls.delete(ack);
    if (schema === CONTROL[0]) return call?.resolve(payload);
    return call ? call.reject(new Refused(payload)) : this.fail(new Refused(payload));
  }

  /** Ends everything that waits, for the first reason there was. */
  fail(why) {
    this.why ??= why;
    for (const { reject } of [...this.calls.values(), ...this.takers]) reject(this.why);
    this.calls.clear();
    this.takers = [];
    this.end(this.why);
  }
}

if (import.meta.url === `file://${process.argv[1]}`) {
  const client = await Client.connect(process.argv[2] ?? os.homedir() + "/.runloop/sock/rmp.sock");
  console.log("hello from", client.welcome.server);
  await client.call({ op: "subscribe", id: 1, topic: "examples/+" });
  console.log("delivered to", (await client.call({ text: "good morning" }, NOTE, { topic: "examples/node" })).delivered ?? 0);
  console.log("received", JSON.stringify(await client.receive()));
  console.log((await client.call({ op: "ping" })).op);
  client.sock.end();
}
