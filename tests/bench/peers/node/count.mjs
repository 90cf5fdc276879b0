// Ends when COUNT messages have come to a queue, acked as they come, many at a time: what reads the reports where there is no Warren.
import amqp from 'amqplib'

const { AMQP_URL, QUEUE, COUNT } = process.env
const connection = await amqp.connect(AMQP_URL)
const channel = await connection.createChannel()
await channel.prefetch(1024)
let seen = 0
await channel.consume(QUEUE, async message => {
  seen += 1
  if (seen % 256 === 0 || seen === Number(COUNT)) channel.ack(message, true)
  if (seen === Number(COUNT)) {
    await channel.close()
    await connection.close()
  }
})
