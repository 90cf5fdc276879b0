// Load on the accept path: every request must end in a 202 with an id, and soon.
//
// Two scenarios run one after the other. `stages` climbs to RATE in steps, so that a cold hub is
// not judged; `constant` holds RATE for DURATION, and only its p99 counts against P99_MS. Arrival
// rates are open: k6 goes on sending at RATE however slowly the hub answers, so a stall shows in
// the latency instead of thinning the load. Requests k6 could not send in time are
// `dropped_iterations` and fail the run too.
//
// Environment (k6 run -e NAME=value, or `tests/k6/run`, which also mints a token):
//   BASE_URL  where the hub listens            http://127.0.0.1:8080
//   TOKEN     bearer token, scope jobs:submit  none is sent when empty
//   KIND      kind of job to submit            demo.echo
//   ROUTE     path to post to                  /v1/kinds/KIND/jobs
//   RATE      requests per second              200
//   DURATION  of the constant part             30s
//   CLIMB     of the stages, all together      10s
//   P99_MS    limit for the constant part      100
//   SIZE      bytes of body                    1024
//   SUMMARY   files to write: SUMMARY.json and SUMMARY.txt   k6-accept
import http from 'k6/http'
import { check } from 'k6'

const env = (name, otherwise) => __ENV[name] || otherwise
const seconds = duration => {
  const parts = /^(\d+)(s|m)$/.exec(duration)
  if (!parts) throw new Error(`"${duration}" is not a duration such as 30s or 2m`)
  return Number(parts[1]) * (parts[2] === 'm' ? 60 : 1)
}

const KIND = env('KIND', 'demo.echo')
const ROUTE = env('ROUTE', `/v1/kinds/${KIND}/jobs`)
const URL = env('BASE_URL', 'http://127.0.0.1:8080').replace(/\/$/, '') + ROUTE
const RATE = Number(env('RATE', '200'))
const DURATION = seconds(env('DURATION', '30s'))
const CLIMB = seconds(env('CLIMB', '10s'))
const P99_MS = Number(env('P99_MS', '100'))
const SUMMARY = env('SUMMARY', 'k6-accept')

const virtualUsers = { preAllocatedVUs: Math.max(50, Math.ceil(RATE / 5)), maxVUs: 2000 }
const step = Math.max(1, Math.floor(CLIMB / 3))

export const options = {
  discardResponseBodies: false,
  summaryTrendStats: ['avg', 'min', 'med', 'p(90)', 'p(95)', 'p(99)', 'max'],
  scenarios: {
    stages: {
      executor: 'ramping-arrival-rate',
      timeUnit: '1s',
      startRate: Math.ceil(RATE / 10),
      stages: [
        { target: Math.ceil(RATE / 4), duration: `${step}s` },
        { target: Math.ceil(RATE / 2), duration: `${step}s` },
        { target: RATE, duration: `${step}s` },
      ],
      gracefulStop: '5s',
      ...virtualUsers,
    },
    constant: {
      executor: 'constant-arrival-rate',
      timeUnit: '1s',
      rate: RATE,
      duration: `${DURATION}s`,
      startTime: `${3 * step}s`,
      gracefulStop: '30s',
      ...virtualUsers,
    },
  },
  // A threshold also makes k6 report its series, so `http_reqs{scenario:constant}` is here for that.
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    dropped_iterations: ['count==0'],
    'http_req_duration{scenario:constant}': [`p(99)<${P99_MS}`],
    'http_reqs{scenario:constant}': ['count>0'],
  },
}

// Exactly SIZE bytes of JSON, shaped like an order.
const BODY = (() => {
  const [head, tail] = ['{"order":"A-1001","amount":42,"note":"', '"}']
  const padding = Number(env('SIZE', '1024')) - head.length - tail.length
  return head + 'x'.repeat(Math.max(0, padding)) + tail
})()

// Keys of two runs never meet: the time of this run's start is shared by all virtual users.
export function setup() {
  return { run: Date.now().toString(36) }
}

export default function (data) {
  const headers = {
    'Content-Type': 'application/json',
    'Idempotency-Key': `k6-${data.run}-${__VU}-${__ITER}-${Math.random().toString(36).slice(2, 10)}`,
  }
  if (__ENV.TOKEN) headers.Authorization = `Bearer ${__ENV.TOKEN}`
  const answer = http.post(URL, BODY, { headers })
  check(answer, {
    'answers 202': r => r.status === 202,
    'names the job': r => r.status === 202 && Boolean(jobId(r)),
  })
}

// A body that is no JSON must fail the check, not throw past it.
function jobId(answer) {
  try {
    return answer.json('id')
  } catch {
    return null
  }
}

export function handleSummary(data) {
  const text = describe(data.metrics)
  return {
    stdout: text,
    [`${SUMMARY}.json`]: JSON.stringify(data, null, 2),
    [`${SUMMARY}.txt`]: text,
  }
}

// The page a person reads; the JSON beside it has everything.
function describe(metrics) {
  const value = (name, key) => metrics[name]?.values[key] ?? 0
  const constant = 'http_req_duration{scenario:constant}'
  const ms = key => `${value(constant, key).toFixed(1)} ms`
  const failed = Object.entries(metrics).flatMap(([name, metric]) =>
    Object.entries(metric.thresholds ?? {}).filter(([, t]) => !t.ok).map(([rule]) => `${name} ${rule}`))
  return [
    '',
    `POST ${URL}`,
    `  constant part   ${RATE} requests/s for ${DURATION} s, ${value('http_reqs{scenario:constant}', 'count')} sent`,
    `  latency         p50 ${ms('med')}   p95 ${ms('p(95)')}   p99 ${ms('p(99)')}   max ${ms('max')}`,
    `  all requests    ${value('http_reqs', 'count')}, of which failed ${value('http_req_failed', 'passes')}, never sent ${value('dropped_iterations', 'count')}`,
    failed.length ? `  FAILED          ${failed.join('; ')}` : '  every threshold held',
    '',
  ].join('\n')
}
