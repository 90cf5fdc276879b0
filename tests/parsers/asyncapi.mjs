// usage: node asyncapi.mjs FILE: tells what AsyncAPI's own parser finds, and fails when anything of it is an error or a warning.
import { readFileSync } from "node:fs";
import { DiagnosticSeverity, Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const found = diagnostics.filter(({ severity }) => severity <= DiagnosticSeverity.Warning);
for (const { code, message, path } of found) console.log(`${code} at ${path.join("/")}: ${message}`);
const names = (list) => list.all().map((one) => one.id());
if (document) console.log(JSON.stringify({ channels: names(document.channels()), operations: names(document.operations()), messages: names(document.messages()) }));
process.exit(found.length > 0 || !document ? 1 : 0);
