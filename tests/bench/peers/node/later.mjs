// A service that answers 202 at once and ends each run later: with POST /go it ends all that it was given, CONNECTIONS at a time, and answers
// how long that took.
import http from 'node:http'

const { PORT, PUBLIC, CONNECTIONS = '64' } = process.env
const agent = new http.Agent({ keepAlive: true, maxSockets: Number(CONNECTIONS) })
const { hostname, port } = new URL(PUBLIC)
const given = []

function end({ id, token }) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const request = http.request({ hostname, port, agent, headers, method: 'PUT', path: `/v1/jobs/${id}/result` }, answer => {
      answer.resume()
      answer.on('end', () => (answer.statusCode === 204 ? resolve() : reject(new Error(`answered ${answer.statusCode}`))))
    })
    request.on('error', reject)
    request.end('{"outcome":"succeeded","result":{"frames":7}}')
  })
}

async function endAll() {
  const begun = process.hrtime.bigint()
  const all = given.splice(0)
  let next = 0
  const one = async () => {
    while (next < all.length) await end(all[next++])
  }
  await Promise.all(Array.from({ length: Number(CONNECTIONS) }, one))
  return { ended: all.length, seconds: Number(process.hrtime.bigint() - begun) / 1e9 }
}

http.createServer((request, response) => {
  request.resume()
  request.on('end', async () => {
    if (request.url === '/given') return response.end(JSON.stringify(given.length))
    if (request.url === '/go') return response.end(JSON.stringify(await endAll()))
    given.push({ id: request.headers['ce-id'], token: request.headers['warren-token'] })
    response.writeHead(202).end()
  })
}).listen(Number(PORT), '127.0.0.1')
