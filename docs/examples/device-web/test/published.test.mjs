// What `npm publish` would send: the built modules with their types, and nothing else.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const folder = new URL("..", import.meta.url);

test("the package is what it says", () => {
  const [packed] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  const files = packed.files.map(({ path }) => path).sort();
  const modules = ["backoff", "connection", "device", "events", "frames", "inbox", "index", "lane", "presence", "publications", "requests", "seen", "shared", "wakeups"];
  const expected = ["README.md", "package.json", ...modules.flatMap((name) => [`dist/${name}.d.ts`, `dist/${name}.js`])];
  assert.deepEqual(files, expected.sort());
  const about = JSON.parse(readFileSync(new URL("package.json", folder), "utf8"));
  assert.equal(about.dependencies, undefined, "it needs nothing");
  for (const path of Object.values(about.exports["."])) assert.ok(files.includes(path.replace("./", "")), path);
});
