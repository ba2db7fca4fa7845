// Calls of ioredis and node-redis that docs/engines/redis.md promises. Usage: node_clients.mjs PORT TOOLS
import assert from "node:assert";
import { createRequire } from "node:module";

const [, , port, tools] = process.argv;
const require = createRequire(`${tools}/package.json`);
const { Redis } = require("ioredis");
const { createClient } = require("redis");

const io = new Redis(Number(port));
await io.del("io:a", "io:b", "io:h", "io:lock");
assert.equal(await io.set("io:a", "1", "EX", 100), "OK");
assert.equal(await io.getex("io:a", "PERSIST"), "1");
assert.equal(await io.ttl("io:a"), -1);
assert.deepEqual(await io.multi().set("io:a", "1").incr("io:a").get("io:a").exec(), [[null, "OK"], [null, 2], [null, "2"]]);
assert.equal(await io.hset("io:h", { f: "1", g: "2" }), 2);
assert.deepEqual(await io.hgetall("io:h"), { f: "1", g: "2" });
io.defineCommand("unlock", {
  numberOfKeys: 1,
  lua: 'if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) else return 0 end',
});
assert.equal(await io.set("io:lock", "token", "PX", 30000, "NX"), "OK");
assert.equal(await io.unlock("io:lock", "other"), 0);
assert.equal(await io.unlock("io:lock", "token"), 1);
assert.deepEqual((await io.scanStream({ match: "io:*" }).toArray()).flat().sort(), ["io:a", "io:h"]);
await io.quit();

for (const RESP of [2, 3]) {
  const client = createClient({ url: `redis://127.0.0.1:${port}`, RESP });
  await client.connect();
  await client.del(["node:a", "node:h"]);
  assert.equal(await client.set("node:a", "1", { expiration: { type: "EX", value: 100 } }), "OK");
  assert.equal(await client.getDel("node:a"), "1");
  assert.deepEqual(await client.multi().set("node:a", "1").get("node:a").exec(), ["OK", "1"]);
  assert.equal(await client.hSet("node:h", { f: "1" }), 1);
  assert.deepEqual({ ...(await client.hGetAll("node:h")) }, { f: "1" });
  assert.equal(await client.persist("node:a"), 0);
  assert.equal(await client.touch("node:a"), 1);
  await client.del(["node:a", "node:h"]);
  client.destroy();
}

console.log("ok");
