// usage: node mermaid.mjs FILE: fails when Mermaid cannot read it.
import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";

// Mermaid cleans labels with the help of a page.
globalThis.window = new JSDOM("").window;
globalThis.document = window.document;
const { default: mermaid } = await import("mermaid");
console.log(JSON.stringify(await mermaid.parse(readFileSync(process.argv[2], "utf8"))));
