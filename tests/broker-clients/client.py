"""A device, or somebody who has a device's token, at the broker: does what it is told and says what came of it, a line of JSON each.

    client.py amqp PORT VHOST USER       steps on standard input, a JSON list each: each has a channel of its own
    client.py mqtt PORT USER CLIENT      the same over MQTT; VERSION is 3 or 5, CLEAN and EXPIRY in the environment

The password is in WARREN_DEVICE_TOKEN.
"""

import json
import os
import queue
import sys
import threading
import time


def say(**what):
    print(json.dumps(what), flush=True)


def steps():
    for line in sys.stdin:
        yield json.loads(line)


def amqp(port, vhost, user):
    import pika

    credentials = pika.PlainCredentials(user, os.environ["WARREN_DEVICE_TOKEN"])
    parameters = pika.ConnectionParameters("127.0.0.1", int(port), vhost, credentials, heartbeat=10)
    try:
        connection = pika.BlockingConnection(parameters)
    except Exception as error:
        say(connected=False, why=repr(error))
        return
    say(connected=True)

    def message(method, properties, body):
        say(
            id=properties.message_id,
            data=body.decode(),
            mode=properties.delivery_mode,
            expiration=properties.expiration,
            redelivered=method.redelivered,
        )

    def do(channel, what, *how):
        match what:
            case "take":  # queue, how many, seconds
                channel.basic_qos(prefetch_count=8)
                taken = 0
                for method, properties, body in channel.consume(how[0], inactivity_timeout=how[2]):
                    if method is None:
                        break
                    message(method, properties, body)
                    channel.basic_ack(method.delivery_tag)
                    taken += 1
                    if taken == how[1]:
                        break
                channel.cancel()
                return taken
            case "get":
                return channel.basic_get(how[0])[0] is not None
            case "purge":
                return channel.queue_purge(how[0]).method.message_count
            case "delete":
                channel.queue_delete(how[0])
            case "declare":
                channel.queue_declare(how[0], durable=True)
            case "passive":
                return channel.queue_declare(how[0], passive=True).method.message_count
            case "exchange":
                channel.exchange_declare(how[0])
            case "bind":  # queue, exchange, key
                channel.queue_bind(*how)
            case "unbind":
                channel.queue_unbind(*how)
            case "publish":  # exchange, key, headers
                channel.confirm_delivery()
                properties = pika.BasicProperties(headers=how[2])
                channel.basic_publish(how[0], how[1], b"smuggled", properties, mandatory=True)
            case "wait":  # seconds, for the connection to be closed
                connection.process_data_events(time_limit=how[0])
        return None

    for step in steps():
        try:
            channel = connection.channel()
            answer = do(channel, *step)
            if channel.is_open:
                channel.close()
            say(step=step[0], answer=answer)
        except (pika.exceptions.ChannelClosedByBroker, pika.exceptions.ConnectionClosedByBroker) as error:
            say(step=step[0], refused=error.reply_code, why=error.reply_text)
        except pika.exceptions.AMQPError as error:
            say(step=step[0], refused=0, why=repr(error))


def mqtt(port, user, client_id):
    import paho.mqtt.client as paho
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    fifth = os.environ.get("VERSION") == "5"
    clean = os.environ.get("CLEAN") == "1"
    more = {} if fifth else {"clean_session": clean}
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5 if fifth else paho.MQTTv311, **more
    )
    client.username_pw_set(user, os.environ["WARREN_DEVICE_TOKEN"])
    said = queue.Queue()
    gone = threading.Event()

    def disconnected(client, data, flags, reason, properties):
        gone.set()
        say(gone=str(reason))

    client.on_connect = lambda client, data, flags, reason, properties: said.put(("connect", str(reason), reason == 0))
    client.on_subscribe = lambda client, data, mid, codes, properties: said.put(("subscribe", str(codes[0]), codes[0].value < 3))
    client.on_publish = lambda client, data, mid, code, properties: said.put(("publish", str(code), not code.is_failure))
    client.on_disconnect = disconnected
    client.on_message = lambda client, data, message: say(
        topic=message.topic, data=message.payload.decode(), qos=message.qos, dup=message.dup
    )
    how = {}
    if fifth:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = int(os.environ.get("EXPIRY", "3600"))
        how = {"clean_start": clean, "properties": properties}
    client.connect("127.0.0.1", int(port), keepalive=10, **how)
    client.loop_start()

    def answer(what):
        until = time.monotonic() + 15
        while time.monotonic() < until:
            try:
                return said.get(timeout=0.1)
            except queue.Empty:
                if gone.is_set():
                    return (what, "the connection was closed", False)
        return (what, "nothing was answered", False)

    _, why, well = answer("connect")
    say(connected=well, why=why)
    if not well:
        client.loop_stop()
        return
    for step in steps():
        what, *how = step
        match what:
            case "subscribe":  # topic, QoS
                client.subscribe(how[0], how[1])
                _, why, well = answer(what)
                say(step=what, well=well, why=why)
            case "publish":  # topic, QoS
                client.publish(how[0], b"smuggled", how[1])
                _, why, well = answer(what)
                say(step=what, well=well, why=why)
            case "wait":  # seconds, for the connection to be closed
                say(step=what, well=gone.wait(how[0]))
            case "leave":  # in good order
                client.disconnect()
                say(step=what, well=gone.wait(10))
                break
    client.loop_stop()


if __name__ == "__main__":
    {"amqp": amqp, "mqtt": mqtt}[sys.argv[1]](*sys.argv[2:])
