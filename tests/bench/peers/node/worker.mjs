// One row update and one ack per job, 256 at a time.
import amqp from 'amqplib'
import pg from 'pg'

const QUEUE = 'peer.node'
const db = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 })
const channel = await (await amqp.connect(process.env.AMQP_URL)).createChannel()
await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
await channel.prefetch(256)
await channel.consume(QUEUE, async delivery => {
  await db.query("update jobs set state = 'succeeded' where id = $1", [delivery.properties.messageId])
  channel.ack(delivery)
})
