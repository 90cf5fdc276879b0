// Fills a queue with COUNT messages as Warren publishes them, pipelined and confirmed.
import { randomUUID } from 'node:crypto'
import amqp from 'amqplib'

const { AMQP_URL, QUEUE, COUNT } = process.env
const connection = await amqp.connect(AMQP_URL)
const channel = await connection.createConfirmChannel()
const body = Buffer.from('{"pages": 7}')
for (let n = 0; n < Number(COUNT); n++) {
  const messageId = randomUUID()
  const headers = {
    'cloudEvents_specversion': '1.0', 'cloudEvents_id': messageId, 'cloudEvents_type': 'bench.foreign', 'cloudEvents_source': '/warren/hub',
    'cloudEvents_time': new Date().toISOString(), 'warren-v': 1, 'warren-epoch': 1, 'warren-attempt': 1, 'warren-tenant': 'bench',
    'warren-deadline': new Date().toISOString(), 'warren-token': 'x'.repeat(43),
  }
  channel.sendToQueue(QUEUE, body, { persistent: true, messageId, type: 'bench.foreign', contentType: 'application/json', headers })
  if (n % 1000 === 999) await channel.waitForConfirms()
}
await channel.waitForConfirms()
await connection.close()
