// What a Node team would write: Fastify, an amqplib confirm channel and pg.
// `POST /jobs` stores one row, waits for one confirmed, persistent publish and answers 202.
import { randomUUID } from 'node:crypto'
import amqp from 'amqplib'
import Fastify from 'fastify'
import pg from 'pg'

const QUEUE = 'peer.node'
const db = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 })
const connection = await amqp.connect(process.env.AMQP_URL)
const channel = await connection.createConfirmChannel()
await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'quorum' } })

function publish(id, payload) {
  return new Promise((resolve, reject) => {
    const body = Buffer.from(JSON.stringify(payload))
    channel.sendToQueue(QUEUE, body, { persistent: true, messageId: id }, error =>
      error ? reject(error) : resolve())
  })
}

const app = Fastify()
app.post('/jobs', async (request, reply) => {
  const id = randomUUID()
  await db.query('insert into jobs (id, kind, payload) values ($1, $2, $3)', [id, 'noop', request.body])
  await publish(id, request.body)
  reply.code(202).header('location', `/jobs/${id}`)
  return { id }
})
await app.listen({ port: Number(process.env.PORT ?? 7001), host: '127.0.0.1' })
