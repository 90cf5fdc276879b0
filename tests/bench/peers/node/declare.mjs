// Declares the exchanges, queues and bindings of a definitions file over CONNECTIONS connections, each at work on its share, and says how long that
// took: what `warren topology apply` is measured against. The clock runs from the first connection.
import { readFileSync } from 'node:fs'
import amqp from 'amqplib'

const { AMQP_URL, DEFINITIONS, CONNECTIONS } = process.env
const { exchanges, queues, bindings } = JSON.parse(readFileSync(DEFINITIONS, 'utf8'))
const begun = performance.now()
const connections = await Promise.all(Array.from({ length: Number(CONNECTIONS) }, () => amqp.connect(AMQP_URL)))
const channels = await Promise.all(connections.map(connection => connection.createChannel()))

// One after the other on each channel, as the protocol has it.
const each = (objects, declare) => Promise.all(channels.map(async (channel, at) => {
  for (let n = at; n < objects.length; n += channels.length) await declare(channel, objects[n])
}))
await each(exchanges, (channel, { name, type, durable, internal, arguments: given }) =>
  channel.assertExchange(name, type, { durable, internal, arguments: given }))
await each(queues, (channel, { name, durable, arguments: given }) => channel.assertQueue(name, { durable, arguments: given }))
await each(bindings, (channel, { source, destination, destination_type: sort, routing_key: key, arguments: given }) =>
  sort === 'queue' ? channel.bindQueue(destination, source, key, given) : channel.bindExchange(destination, source, key, given))
console.log(JSON.stringify({ seconds: (performance.now() - begun) / 1000 }))
await Promise.all(connections.map(connection => connection.close()))
