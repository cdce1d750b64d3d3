// Provokes every error that a server can report, and prints the code of each.
//
//   node errors.mjs SOCKET     with the limits that clients_test.go sets
import { CONTROL, Client, NOTE, Refused } from "./rmp_client.mjs";

const path = process.argv[2];
const DECISION = [3006, "toolresult.action.decision.v1"];
const subscribe = (client, topic, id = 1) => client.call({ op: "subscribe", id, topic });

/** The code of the report that f ends with. */
async function code(f) {
  for (;;) {
    try {
      await f();
    } catch (e) {
      if (e instanceof Refused) return e.code;
      throw e;
    }
  }
}

async function refused(payload, schema, meta) {
  const client = await Client.connect(path);
  return code(() => client.call(payload, schema, meta));
}

/** The code of the report that ends a client. */
const last = async (client) => (await client.ended).code;

/** The report about a frame that was edited. */
async function edited(edit, times = 1) {
  const client = await Client.connect(path);
  await subscribe(client, "a");
  const frame = client.frame(NOTE, { text: "x" }, { topic: "a", ack: 77 });
  edit(frame);
  for (let i = 0; i < times; i++) client.sock.write(frame);
  return last(client);
}

async function truncated() {
  const client = await Client.connect(path);
  client.sock.write(Buffer.concat([Buffer.from([0, 0, 0, 10]), Buffer.alloc(10)]));
  return last(client);
}

async function subscriptions() {
  const client = await Client.connect(path);
  let n = 0;
  return code(() => subscribe(client, `t/${++n}`, n));
}

/** One who publishes to a client that does not read, and then that client. */
async function pressure() {
  const lazy = await Client.connect(path);
  await subscribe(lazy, "flood");
  lazy.sock.pause();
  const busy = await Client.connect(path);
  const publish = () => busy.call({ text: "x".repeat(20_000) }, NOTE, { topic: "flood" });
  const first = await code(publish);
  for (const end = Date.now() + 20_000; Date.now() < end; ) {
    const n = await publish().then((answer) => answer.delivered ?? 0, () => 1);
    if (n === 0) break; // it was cut off
  }
  lazy.sock.resume();
  return `${first} ${await last(lazy)}`;
}

async function connections() {
  const held = [];
  const said = await code(async () => {
    try {
      held.push(await Client.connect(path));
    } catch (e) {
      if (e.code !== "EPIPE") throw e; // the server hung up before it could be read why
    }
  });
  for (const client of held) client.sock.destroy();
  await new Promise((done) => setTimeout(done, 500)); // until the server knows that they are gone
  return said;
}

const far = 2n ** 64n - 1n;
console.log("protocol", await code(() => Client.connect(path, "boss")));
console.log("forbidden", await refused({ op: "action.decision" }, DECISION, { topic: "rlp/actions" }));
console.log("too_large", await refused({ op: "subscribe", id: 1, topic: "t".repeat(2000) }));
console.log("unknown_op", await refused({ op: "subscirbe" }));
console.log("bad_topic", await refused({ op: "subscribe", id: 1, topic: "a//b" }));
console.log("too_many_subscriptions", await subscriptions());
console.log("InvalidMagic", await edited((b) => b.write("X", 4)));
console.log("UnsupportedVersion", await edited((b) => b.writeUInt16BE(1, 8)));
console.log("InvalidHeaderFlags", await edited((b) => b.writeUInt32BE(1, 12)));
console.log("BodyTooLarge", await edited((b) => { b.writeUInt32BE(0x7f000040, 0); b.writeUInt32BE(0x7f000000, 20); }));
console.log("LengthMismatch", await edited((b) => b.writeUInt32BE(b.readUInt32BE(0) + 1, 0)));
console.log("UnknownSchema", await edited((b) => b.writeUInt16BE(0x3ff, 16)));
console.log("InvalidTtl", await edited((b) => b.writeBigUInt64BE(0n, 32)));
console.log("InvalidExpiry", await edited((b) => b.writeBigUInt64BE(far, 24)));
console.log("BodyDecodeError", await edited((b) => b.writeUInt8(0xc1, 68)));
console.log("BodyTypeMismatch", await edited((b) => b.writeUInt16BE(2, 16)));
console.log("Expired", await edited((b) => b.writeBigUInt64BE(1n, 24)));
console.log("Duplicate", await edited(() => {}, 2));
console.log("TruncatedHeader", await truncated());
console.log("backpressure slow_consumer", await pressure());
console.log("idle", await last(await Client.connect(path)));
console.log("too_many_connections", await connections());
const client = await Client.connect(path);
console.log("ready"); // for the end of the server
console.log("shutdown", await last(client));
process.exit(0);
