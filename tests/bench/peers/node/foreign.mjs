// A worker that keeps to Warren's contract and does nothing else: for each job one report that the broker confirmed, then the ack.
//
// The same program works for both sides: PLAIN reads and writes queues that nobody else knows, and has no token to hand back.
import amqp from 'amqplib'

const { AMQP_URL, QUEUE, RESULTS_EXCHANGE = '', RESULTS_KEY, PREFETCH = '1024' } = process.env

const connection = await amqp.connect(AMQP_URL)
const channel = await connection.createConfirmChannel()
await channel.prefetch(Number(PREFETCH))
await channel.consume(QUEUE, message => {
  const { messageId, headers } = message.properties
  const [epoch, attempt] = [headers['warren-epoch'], headers['warren-attempt']]
  const report = { job: messageId, epoch, attempt, token: headers['warren-token'], outcome: 'succeeded', worker: 'bench' }
  const options = { persistent: true, type: 'warren.result', messageId: `${messageId}/${epoch}/${attempt}`, contentType: 'application/json' }
  channel.publish(RESULTS_EXCHANGE, RESULTS_KEY, Buffer.from(JSON.stringify(report)), options, error => {
    if (error) throw error
    channel.ack(message)
  })
})
