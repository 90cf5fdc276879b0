// Compiled and never run: what the types promise.

import { Device, type Message } from "warren-device";

const device = new Device<{ "order.shipped": { order: number }; note: string }>({
  url: "https://hub.example.com",
  device: "phone-1",
  token: () => "secret",
  handlers: {
    "order.shipped": ({ data, type }) => {
      const order: number = data.order;
      const literal: "order.shipped" = type;
      // @ts-expect-error there is no such field
      void [order, literal, data.price];
    },
    // @ts-expect-error the data of a note is a text
    note: (message: Message<"note", number>) => void message,
  },
  handle: ({ data }) => {
    // @ts-expect-error nothing is known of others
    void data.order;
  },
});
device.on("state", (state) => {
  if (state.name === "live") void state.session.length;
  // @ts-expect-error only while it is live
  else void state.session;
});
// @ts-expect-error what is handled by nobody would be lost
void new Device({ url: "https://hub.example.com", device: "phone-1", token: () => "secret" });
