// Serves the page and the built client. The hub is another origin: name this one in its `[cors] origins`.
// usage: node serve.mjs [PORT (8090)] [ADDRESS OF THE HUB (http://127.0.0.1:8080)]

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";

const [port = "8090", hub = "http://127.0.0.1:8080"] = process.argv.slice(2);
const types = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript" };

// A path such as `main.js` or `client/index.js`: one folder, no way out of it.
const found = (path) => {
  const [, folder, name] = /^\/(client\/)?([a-z-]+\.(?:js|css|html))$/.exec(path === "/" ? "/index.html" : path) ?? [];
  return name && new URL(`${folder ? "dist" : "page"}/${name}`, import.meta.url);
};

createServer(async (request, response) => {
  const file = found(new URL(request.url, "http://localhost").pathname);
  const content = file && (await readFile(file, "utf8").catch(() => undefined));
  if (content === undefined || !["GET", "HEAD"].includes(request.method)) return void response.writeHead(404).end();
  response.writeHead(200, {
    "Content-Type": `${types[extname(file.pathname)]}; charset=utf-8`,
    "Content-Security-Policy": "frame-ancestors 'none'", // the rest is in the page
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
  });
  // Where the page may connect to.
  response.end(content.replaceAll("http://127.0.0.1:8080", hub).replaceAll("ws://127.0.0.1:8080", hub.replace(/^http/, "ws")));
}).listen(Number(port), "127.0.0.1", () => console.log(`http://127.0.0.1:${port}`));
