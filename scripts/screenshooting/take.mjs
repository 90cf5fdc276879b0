// usage: node take.mjs URL VHOST FOLDER: takes the pictures of docs/management-ui.md in RabbitMQ's management UI.
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import puppeteer from 'puppeteer-core'

const [base, vhost, folder] = process.argv.slice(2)
const name = encodeURIComponent(vhost)
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--hide-scrollbars'],
})
const page = await browser.newPage()
await page.setViewport({ width: 1180, height: 900 })

// The page of one address, once it shows all of `texts`; its numbers come every five seconds.
async function open(address, ...texts) {
  await page.goto('about:blank')
  await page.goto(`${base}/${address}`)
  const there = texts => texts.every(text => document.body.innerText.includes(text))
  await page.waitForFunction(there, { timeout: 60_000 }, texts)
  await sleep(500) // charts are drawn in steps
}

// From the top of the page's own part down to the end of `last`, at most `most` pixels.
async function take(file, last, most = 900) {
  const bottom = await page.evaluate(last => document.querySelector(last)?.getBoundingClientRect().bottom ?? 0, last)
  const top = await page.evaluate(() => document.querySelector('#main').getBoundingClientRect().top)
  const height = Math.min(Math.ceil(bottom - top) + 16, most)
  const clip = { x: 0, y: Math.max(0, Math.floor(top)), width: 1180, height }
  await page.screenshot({ path: join(folder, file), clip, captureBeyondViewport: true })
}

// Shows the folded section that holds something.
async function unfold(inside) {
  await page.evaluate(inside => { document.querySelector(inside).closest('.hider').style.display = 'block' }, inside)
}

await page.goto(base)
await page.waitForSelector('input[name=username]')
await page.type('input[name=username]', 'guest')
await page.type('input[name=password]', 'guest')
await page.click('input[type=submit]')
await page.waitForSelector('#show-vhost')
await page.select('#show-vhost', vhost)

await open('#/queues', 'jobs.mails.send.dead', 'warren.retry.30s')
await take('queues.png', '#main table.list')
await open(`#/queues/${name}/jobs.reports.build`, 'jobs.reports.build', 'warren-owner', 'Message rates')
await take('work-queue.png', '#main .section, #main .section-visible', 748)
await open(`#/queues/${name}/jobs.mails.send.dead`, 'jobs.mails.send.dead', 'Get messages')
await page.select('#update-every', '') // an update would clear the message away
await unfold('#msg-wrapper')
await page.evaluate(() => [...document.querySelectorAll('input[type=submit]')].find(one => one.value.startsWith('Get Message')).click())
await page.waitForFunction(() => document.querySelector('#msg-wrapper')?.innerText.includes('warren-reason'), { timeout: 30_000 })
await sleep(1_000) // it slides into view
await (await page.$('#msg-wrapper')).screenshot({ path: join(folder, 'dead-letter.png') })
await open(`#/exchanges/${name}/warren.return`, 'warren.return')
await unfold('.bindings-wrapper')
await (await page.$('.bindings-wrapper')).screenshot({ path: join(folder, 'return.png') })
await browser.close()
