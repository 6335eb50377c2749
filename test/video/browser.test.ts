// The mp4 in a real player: headless Chromium loads it from a local server, seeks, draws frames to a canvas, plays it to its end, and reports what it saw.

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { chromium as browser } from '../support/chromium.js'
import { frameOf, syntheticVideo } from './support.js'
import type { SyntheticOptions } from './support.js'

/** What the page saw. */
interface Seen {
  error?: string
  width: number
  height: number
  duration: number
  /** RGB at the asked points of each asked frame. */
  colours: number[][][]
  ended: boolean
  /** Where playing stopped, seconds. */
  at: number
}

/** Points within the frames, and frames. */
interface Asked {
  fps: number
  frames: number[]
  points: [number, number][]
}

/** Runs in the page. Each seek aims at the middle of a frame, so that no rounding of times chooses a neighbour. */
const page = (asked: Asked) => `<!doctype html><video id="video" muted playsinline src="/video.mp4"></video><script>
const asked = ${JSON.stringify(asked)}
const video = document.getElementById('video')
const happened = (name) => new Promise((resolve, reject) => {
  video.addEventListener(name, resolve, { once: true })
  video.addEventListener('error', () => reject(new Error(video.error ? video.error.message : 'the video failed')), { once: true })
})
const report = (seen) => fetch('/seen', { method: 'POST', body: JSON.stringify(seen) })
async function look() {
  if (video.readyState < 2) await happened('loadeddata')
  const canvas = document.createElement('canvas')
  canvas.width = video.videoWidth
  canvas.height = video.videoHeight
  const context = canvas.getContext('2d', { willReadFrequently: true })
  const colours = []
  for (const frame of asked.frames) {
    // 'seeked' may come before the frame is there to be drawn. One that is shown already is not shown again.
    const shown = new Promise((resolve) => {
      video.requestVideoFrameCallback(resolve)
      setTimeout(resolve, 2000)
    })
    const seeked = happened('seeked')
    video.currentTime = (frame + 0.5) / asked.fps
    await seeked
    await shown
    context.drawImage(video, 0, 0)
    colours.push(asked.points.map(([x, y]) => Array.from(context.getImageData(x, y, 1, 1).data.slice(0, 3))))
  }
  const back = happened('seeked')
  video.currentTime = 0
  await back
  const end = happened('ended')
  await video.play()
  await end
  return { width: video.videoWidth, height: video.videoHeight, duration: video.duration, colours, ended: video.ended, at: video.currentTime }
}
look().then(report, (error) => report({ error: String(error) }))
</script>`

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    // The browser leads a process group of its own: its helpers end with it.
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    await once(child, 'exit')
  }
}

/** Answers as a file server does; players ask for ranges. */
function serveBytes(request: IncomingMessage, response: ServerResponse, bytes: Buffer): void {
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
  const headers = { 'content-type': 'video/mp4', 'accept-ranges': 'bytes' }
  if (range === null) return void response.writeHead(200, { ...headers, 'content-length': bytes.length }).end(bytes)
  const first = Number(range[1])
  const last = range[2] === '' ? bytes.length - 1 : Math.min(Number(range[2]), bytes.length - 1)
  response.writeHead(206, { ...headers, 'content-length': last - first + 1, 'content-range': `bytes ${first}-${last}/${bytes.length}` }).end(bytes.subarray(first, last + 1))
}

async function playInBrowser(program: string, mp4: Buffer, asked: Asked): Promise<Seen> {
  const profile = await mkdtemp(join(tmpdir(), 'vin-browser-'))
  let tell: (seen: Seen) => void
  const seen = new Promise<Seen>((resolve) => (tell = resolve))
  const server = createServer((request, response) => {
    if (request.url === '/video.mp4') return serveBytes(request, response, mp4)
    if (request.url !== '/seen') return void response.writeHead(request.url === '/' ? 200 : 404, { 'content-type': 'text/html' }).end(request.url === '/' ? page(asked) : '')
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      response.end()
      tell(JSON.parse(Buffer.concat(parts).toString()) as Seen)
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--no-proxy-server', '--mute-audio', '--autoplay-policy=no-user-gesture-required', `--user-data-dir=${profile}`]
  const child = spawn(program, [...flags, `http://127.0.0.1:${(server.address() as AddressInfo).port}/`], { stdio: ['ignore', 'ignore', 'pipe'], detached: true })
  let errors = ''
  child.stderr?.on('data', (text: Buffer) => (errors = (errors + text.toString()).slice(-2000)))
  const died = once(child, 'exit').then(([code]) => {
    throw new Error(`the browser ended with code ${String(code)} before it reported: ${errors}`)
  })
  died.catch(() => {})
  try {
    return await Promise.race([seen, died])
  } finally {
    await stop(child)
    server.closeAllConnections()
    server.close()
    await rm(profile, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Four flat quarters, another colour in each, that change from second to second; large enough that the mean of a compressed block is the colour. */
function quarters(fps: number): SyntheticOptions['pixel'] {
  const levels = [32, 96, 160, 224]
  return (x, y, c, frame) => levels[((x < 32 ? 0 : 1) + (y < 32 ? 0 : 2) + c * (1 + Math.floor(frame / fps))) % 4]!
}

test.skipIf(browser === undefined)(
  `Chromium plays the mp4 to its end, with the right size, duration and colours${browser === undefined ? ' (skipped: no chromium, chromium-browser or google-chrome on PATH)' : ''}`,
  { timeout: 120_000 },
  async () => {
    const fps = 16
    const scale = 4
    const options: SyntheticOptions = { width: 64, height: 64, numFrames: 32, fps, pixel: quarters(fps)! }
    const mp4 = await syntheticVideo(options).toBuffer('mp4', { scale })
    const frames = [0, 7, 15, 16, 31]
    const points: Asked['points'] = [[64, 64], [192, 64], [64, 192], [192, 192]]
    const seen = await playInBrowser(browser!, mp4, { fps, frames, points })
    expect(seen.error).toBeUndefined()
    expect([seen.width, seen.height]).toEqual([256, 256])
    expect(seen.duration).toBeCloseTo(32 / fps, 2)
    expect(seen.ended).toBe(true)
    expect(seen.at).toBeCloseTo(32 / fps, 1)
    frames.forEach((frame, index) => {
      const { data } = frameOf(options, frame)
      points.forEach(([x, y], point) => {
        const at = ((y / scale) * 64 + x / scale) * 3
        const wanted = Array.from(data.subarray(at, at + 3))
        // Rounding Y, Cb and Cr moves a channel by at most ½ (1.164 + 2.018) = 1.6 and ½ when it is rounded again; quantisation of flat blocks may add one step of Y.
        seen.colours[index]![point]!.forEach((value, c) => expect(Math.abs(value - wanted[c]!), `frame ${frame}, point ${point}: ${seen.colours[index]![point]!.join(' ')} for ${wanted.join(' ')}`).toBeLessThanOrEqual(3))
      })
    })
  }
)
