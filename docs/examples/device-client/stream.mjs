// A device of Warren that reads a stream of events, with what browsers and Node (18 or later) have: `fetch`. A browser's EventSource reads the same
// stream, but sends no Authorization header. docs/device-protocol.md says what a device keeps to.
//
//     WARREN_URL=http://127.0.0.1:8080 WARREN_DEVICE_TOKEN=... node stream.mjs [how many messages]

// Events as [name, data], from the text of a stream however it is cut.
export async function* events(texts) {
  let rest = "", name = "", data = [];
  for await (const text of texts) {
    const lines = (rest + text).split("\n"); // the hub ends lines with LF
    rest = lines.pop();
    for (const line of lines) {
      const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
      if (line === "") {
        if (data.length) yield [name, data.join("\n")];
        [name, data] = ["", []];
      } else if (field === "event") name = value;
      else if (field === "data") data.push(value);
    }
  }
}

async function* texts(body) {
  const decoder = new TextDecoder();
  for await (const chunk of body) yield decoder.decode(chunk, { stream: true });
}

// One stream; answers the code that it closed with, and calls `handle` once for each id.
export async function stream(url, token, seen, handle) {
  const headers = { Authorization: `Bearer ${token}` };
  const ack = (acks) => fetch(`${url}/v1/device/acks`, { method: "POST", headers, body: JSON.stringify(acks) });
  const response = await fetch(`${url}/v1/device/stream?acks=post`, { headers });
  if (!response.ok) return [401, 403, 404, 410].includes(response.status) ? 4102 : 1006;
  for await (const [name, text] of events(texts(response.body))) {
    const data = JSON.parse(text);
    if (name === "deliver") {
      if (!seen.has(data.id)) await handle(data);
      seen.add(data.id);
      await ack(data.entry ? { entry: data.entry } : { up_to: data.seq }); // after the effect, never before
    } else if (name === "gap") await ack({ gap: data.number });
    else if (name === "close") return data.code;
  }
  return 1006;
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { WARREN_URL: url, WARREN_DEVICE_TOKEN: token } = process.env;
  const seen = new Set(), most = Number(process.argv[2] ?? Infinity);
  const handle = (message) => console.log(JSON.stringify(message));
  const done = (message) => { handle(message); if (seen.size + 1 >= most) setTimeout(() => process.exit(0), 500); };
  for (let tries = 0; ; tries++) {
    const code = await stream(url, token, seen, done).catch(() => 1006);
    if ([41, 44].includes(Math.floor(code / 100))) process.exit(2); // other credentials first, or never
    await new Promise((wake) => setTimeout(wake, Math.random() * Math.min(60_000, 500 * 2 ** Math.min(tries, 7))));
  }
}
