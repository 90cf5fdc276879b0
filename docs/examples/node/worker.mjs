// A worker of a Warren kind with `worker = "amqp"`, in Node. docs/worker-contract.md says what it keeps to.
//
// It builds reports: {"pages": 4}. Each page takes `seconds` (0.1), and the first `fails` (0) attempts fail, to be seen trying again.
// The result has a text of `letters` (0) letters, to be seen growing too large.
//
//     npm ci
//     AMQP_URL=amqp://guest:guest@127.0.0.1:5682/%2f WARREN_QUEUE=jobs.reports.build node worker.mjs
import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import amqp from 'amqplib'

const URL = process.env.AMQP_URL ?? 'amqp://guest:guest@127.0.0.1:5682/%2f'
const QUEUE = process.env.WARREN_QUEUE ?? 'jobs.reports.build'
const RESULTS = process.env.WARREN_RESULTS ?? 'warren.results'
const PREFETCH = Number(process.env.WARREN_PREFETCH ?? 16) // jobs at one time
const NAME = process.env.WARREN_WORKER ?? `${hostname()}:${process.pid}`
const DONE = process.env.WARREN_DONE ?? 'done'
const RESULT_MAX = 64 * 1024 // bytes; of a larger result nothing is kept
const GRACE = 25_000 // milliseconds that running jobs have after SIGTERM

await mkdir(DONE, { recursive: true })
const now = () => new Date().toISOString()

// One run of a job, and what is said about it.
class Run {
  constructor(message, publish) {
    const { messageId, headers } = message.properties
    this.publish = publish
    this.job = messageId
    this.attempt = headers['warren-attempt']
    this.about = { job: messageId, epoch: headers['warren-epoch'], attempt: this.attempt, token: headers['warren-token'], worker: NAME }
    this.trace = Object.fromEntries(['traceparent', 'tracestate'].filter(name => name in headers).map(name => [name, headers[name]]))
  }

  say(type, fields) {
    const { job, epoch, attempt } = this.about
    const messageId = `${job}/${epoch}/${attempt}`
    return this.publish({ ...this.about, ...fields }, { type, messageId, headers: this.trace })
  }
}

// The work itself: gives what is reported as the end.
async function build(run, body) {
  let job
  try {
    job = JSON.parse(body)
  } catch (error) {
    return { outcome: 'rejected', failure: { code: 'invalid', message: String(error) } }
  }
  const { pages, seconds = 0.1, fails = 0, letters = 0 } = job ?? {}
  if (!Number.isInteger(pages)) return { outcome: 'rejected', failure: { code: 'invalid', message: '`pages` is to be a number' } }
  const result = letters ? { pages, text: 'x'.repeat(letters) } : { pages }
  if (JSON.stringify(result).length > RESULT_MAX) {
    return { outcome: 'rejected', failure: { code: 'too-large', message: `a result has ${RESULT_MAX} bytes at most` } }
  }
  // The effect is a file that is named by the job: a message that comes again has no second effect.
  const report = join(DONE, `${run.job}.json`)
  const done = await readFile(report, 'utf8').catch(() => null)
  if (done) return { outcome: 'succeeded', result: JSON.parse(done) }
  if (run.attempt <= fails) {
    const failure = { code: 'printer-busy', message: `attempt ${run.attempt} of ${fails} that fail` }
    return { outcome: 'failed', failure, retry_after_ms: 1000 }
  }
  for (let page = 1; page <= pages; page++) {
    await sleep(seconds * 1000)
    const percent = Math.floor((100 * page) / pages)
    await run.say('warren.progress', { percent, note: `page ${page} of ${pages}`, at: now() })
  }
  const draft = `${report}.${randomUUID()}` // the same job may run twice at one time
  await writeFile(draft, JSON.stringify(result), { flush: true })
  await rename(draft, report)
  return { outcome: 'succeeded', result }
}

async function handle(message, channel, publish) {
  if (!message.properties.headers['warren-token']) return channel.reject(message, false) // no message of the hub's: a dead letter
  const run = new Run(message, publish)
  const started_at = now()
  try {
    await run.say('warren.started', { started_at })
    const end = await build(run, message.content).catch(error => {
      if (error instanceof Lost) throw error
      return { outcome: 'failed', failure: { code: 'worker', message: String(error) } }
    })
    await run.say('warren.result', { started_at, ended_at: now(), ...end })
    channel.ack(message)
    console.log(JSON.stringify({ job: run.job, attempt: run.attempt, outcome: end.outcome }))
  } catch (error) {
    // Not acked: with the connection gone the broker delivers it again, here or to another worker.
    console.error(`${run.job}: ${error.message}; it will come again`)
    throw error
  }
}

// What the broker did not take.
class Lost extends Error {}

// Settles once the broker has it for good; rejects if it does not take it. Many may be on their way at one time.
function publisher(channel) {
  const returned = new Set()
  channel.on('return', message => returned.add(message.properties.correlationId))
  let number = 0
  return (body, properties) => {
    const correlationId = String(++number)
    const options = { ...properties, correlationId, contentType: 'application/json', persistent: true, mandatory: true }
    return new Promise((resolve, reject) => {
      const confirmed = error => {
        if (returned.delete(correlationId)) reject(new Lost(`there is no ${RESULTS}`))
        else if (error) reject(error)
        else resolve()
      }
      channel.publish(RESULTS, RESULTS, Buffer.from(JSON.stringify(body)), options, confirmed)
    }).catch(error => Promise.reject(new Lost(error.message)))
  }
}

// Works until the connection is lost, or it is told to stop.
async function session(stop) {
  const connection = await amqp.connect(URL, { timeout: 10_000, clientProperties: { connection_name: NAME } })
  const lost = new Promise((_, reject) => {
    connection.on('error', reject)
    connection.on('close', () => reject(new Error('the connection is closed')))
  })
  lost.catch(() => {})
  const leave = () => connection.close().catch(() => {})
  const channel = await connection.createConfirmChannel()
  channel.on('error', leave)
  await channel.prefetch(PREFETCH)
  const [publish, running] = [publisher(channel), new Set()]
  const { consumerTag } = await channel.consume(QUEUE, message => {
    if (!message) return void leave() // the queue is gone: begin anew
    const task = handle(message, channel, publish).catch(leave).finally(() => running.delete(task))
    running.add(task)
  })
  await Promise.race([stop, lost])
  await channel.cancel(consumerTag) // no more, and what runs ends; what does not is delivered again
  await Promise.race([Promise.allSettled(running), sleep(GRACE)])
  await channel.close() // after the last ack
  await connection.close()
}

let stopping = false
const stop = new Promise(resolve => {
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => resolve((stopping = true)))
})
for (let wait = 500; !stopping; wait = Math.min(wait * 2, 10_000)) {
  const begun = Date.now()
  await session(stop).catch(error => console.error(`${error.message}; connecting again`))
  if (Date.now() - begun > 30_000) wait = 500
  if (!stopping) await Promise.race([stop, sleep(wait * Math.random())])
}
process.exit(0)
