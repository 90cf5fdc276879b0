"""The client against docs/device-protocol/vectors.json. Needs nothing but Python: python3 -m unittest test_device_client.py"""

import base64
import json
import os
import tempfile
import unittest

import device_client as client
import stream_client

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "..", "..", "device-protocol", "vectors.json"), encoding="utf-8") as file:
    VECTORS = json.load(file)

ID = "0192f3c4-5b6a-7c8d-9e0f-112233445566"
BUILT = {
    "hello": client.hello("phone-1"),
    "hello with everything": client.hello("phone-1", "secret", 1, 4096, 60000, [ID], "shop-app/2.1"),
    "ack up to": client.ack(up_to=12),
    "ack some": client.ack(seqs=[9, 11]),
    "ack up to and some": client.ack(up_to=7, seqs=[9, 11]),
    "ack an entry": client.ack(entry=31),
    "ack a gap": client.ack(gap=3),
    "nack later": client.nack(9, delay_ms=5000),
    "nack reject": client.nack(9, reason="no such screen"),
    "read": client.read([ID]),
    "publish": client.publish("room-7", {"text": "hello"}, "m-1", "chat.message"),
    "publish bytes": client.publish("room-7", b"\x00\x01\xff", "A_2", content_type="application/octet-stream"),
    "signal": client.signal("room-7", "typing"),
    "signal with data": client.signal("room-7", "cursor", {"x": 1.5}),
    "watch": client.watch(["room-7", "room-8"]),
    "watch nothing": client.watch([]),
    "ping": client.PING,
    "auth": client.auth("another"),
    "bye": client.BYE,
}


def text_of(group, name):
    return next(case["text"] for case in VECTORS[group] if case["name"] == name)


class Frames(unittest.TestCase):
    def test_subprotocol(self):
        self.assertEqual(client.SUBPROTOCOL, VECTORS["subprotocol"])

    def test_every_client_frame_is_built_as_in_the_vectors(self):
        self.assertEqual({case["name"] for case in VECTORS["client"]}, set(BUILT))
        for case in VECTORS["client"]:
            self.assertEqual(BUILT[case["name"]], json.loads(case["text"]), case["name"])

    def test_no_more_is_seen_than_a_hello_takes(self):
        seen = client.hello("phone-1", seen=[str(number) for number in range(1000)])["seen"]
        self.assertEqual((len(seen), seen[-1]), (256, "999"))

    def test_payloads_are_what_was_sent(self):
        for case in VECTORS["deliver"]:
            message = client.decode(case["text"])
            got = client.payload(message)
            sent = base64.b64decode(case["payload_base64"]) if "payload_base64" in case else case["payload"].encode()
            if isinstance(got, bytes):
                self.assertEqual(got, sent, case["name"])
            elif message["content_type"].startswith("text/"):
                self.assertEqual(got.encode(), sent, case["name"])
            else:
                self.assertEqual(got, client.decode(sent.decode()), case["name"])

    def test_numbers_keep_their_digits(self):
        data = client.payload(client.decode(text_of("deliver", "json")))
        self.assertEqual((str(data["price"]), data["units"], str(data["tiny"])), ("0.10", 12345678901234567890, "1E-400"))


class Streams(unittest.TestCase):
    def events(self, text):
        events = stream_client.Events()
        found = [event for line in text.split("\n") if (event := events.line(line.rstrip("\r")))]
        return events, found

    def test_events_are_the_frames_of_the_vectors(self):
        for case in VECTORS["stream"]:
            events, [(name, data)] = self.events(case["text"])
            self.assertEqual({"frame": name} | client.decode(data), client.decode(case["frame"]), case["name"])
            self.assertEqual(events.last_id, case.get("id"), case["name"])
            self.assertEqual(events.retry, case["retry_ms"] / 1000 if "retry_ms" in case else None, case["name"])

    def test_a_close_says_why(self):
        for case in VECTORS["stream_closes"]:
            _, [(name, data)] = self.events(case["text"])
            self.assertEqual((name, client.decode(data)["code"]), ("close", case["code"]))

    def test_comments_and_unknown_fields_are_skipped_and_what_is_cut_off_is_no_event(self):
        _, found = self.events(": keep-alive\n\nmood: good\nevent: idle\ndata: {}\n\nevent: deliver\ndata: {")
        self.assertEqual(found, [("idle", "{}")])


class ComingBack(unittest.TestCase):
    def test_bands(self):
        for case in VECTORS["closes"] + VECTORS["other_closes"]:
            self.assertEqual(client.band(case["code"]), case["client"], case)
        self.assertEqual(client.band(None), "come-back")

    def test_waits_are_anything_up_to_a_limit_that_doubles(self):
        for case in VECTORS["backoff"]:
            for dice in (lambda low, high: low, lambda low, high: high):
                backoff = client.Backoff(dice)
                backoff.tries = case["try"]
                self.assertEqual(backoff.wait(), dice(0, case["most_ms"] / 1000))

    def test_only_a_session_that_held_begins_anew(self):
        backoff = client.Backoff()
        backoff.tries = 5
        backoff.held(1)
        self.assertEqual(backoff.tries, 5)
        backoff.held(60)
        self.assertEqual(backoff.tries, 0)


class Sessions(unittest.TestCase):
    def setUp(self):
        self.got = []
        self.session = client.Session(client.Handled(), lambda message, text: self.got.append(message["id"]))

    def on(self, group, name):
        return self.session.on(text_of(group, name))

    def test_a_message_is_handled_once_and_acked_each_time(self):
        for _ in range(2):
            self.assertEqual(self.on("deliver", "json"), [client.ack(up_to=7)])
        self.assertEqual((self.got, self.session.count), ([ID], 1))
        self.assertEqual(list(self.session.handled), [ID])

    def test_nothing_is_acked_whose_handling_failed(self):
        def fails(message, text):
            raise OSError("disk full")

        session = client.Session(client.Handled(), fails)
        with self.assertRaises(OSError):
            session.on(text_of("deliver", "json"))
        self.assertNotIn(ID, session.handled)

    def test_idle_gap_goaway_and_the_unknown(self):
        self.assertEqual(self.on("server", "gap"), [client.ack(gap=3)])
        self.assertEqual(self.on("server", "idle"), [])
        self.assertTrue(self.session.idle)
        self.on("deliver", "json")
        self.assertFalse(self.session.idle)
        self.on("server", "goaway")
        self.assertEqual(self.session.away, (0, 10))
        self.on("server", "welcome")
        self.assertEqual(self.session.heartbeat, 25)
        self.on("server", "error")
        self.assertEqual(self.session.error["field"], "up_to")
        self.on("server", "cancel")
        self.assertEqual(self.session.on(VECTORS["unknown_server_frame"]), [])

    def test_what_was_taken_back_is_news_when_it_comes_again(self):
        text = text_of("server", "deliver to a group")
        cancel = text_of("server", "cancel")
        self.assertIn(json.loads(text)["id"], json.loads(cancel)["ids"])
        for count in (1, 1):
            before = len(self.got)
            self.session.on(text)
            self.session.on(text)
            self.assertEqual(len(self.got), before + count)
            self.session.on(cancel)

    def test_a_restart_remembers(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "handled")
            first = client.Handled(path)
            for number in range(3 * client.SEEN_KEPT):
                first.ids[str(number)] = None  # as if they had been there before
            first.add(ID)
            first.lines = 2 * client.SEEN_KEPT + 1
            first.trim()
            again = client.Handled(path)
            self.assertIn(ID, again)
            self.assertEqual(list(first), list(again))
            self.assertEqual(len(list(again)), client.SEEN_KEPT)
            first.file.close(), again.file.close()


if __name__ == "__main__":
    unittest.main()
