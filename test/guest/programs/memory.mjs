// Memory of one run: what plan() says, what the engine's allocator held at most, and what the process grew by.
// `collect`: garbage is collected after every micro-batch of frames, so that the process holds what is in use and not what waits for a collector.
import { readFileSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { VideoPipeline } from '../../../dist/esm/index.js'
import { answer, config } from './parent.mjs'

const { model, options, output, collect } = config

/** Resident memory now and at most, in bytes; Linux only. */
function resident() {
  try {
    const status = readFileSync('/proc/self/status', 'utf8')
    const bytes = (name) => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)[1])
    return { now: bytes('VmRSS'), peak: bytes('VmHWM') }
  } catch {
    return undefined
  }
}

const pipeline = await VideoPipeline.fromPretrained(model, { device: 'cpu' })
const sample = async (more) => {
  const video = await pipeline.generate({ ...options, ...more })
  if (options.outputType === 'latents') return video
  if (output !== undefined) await video.save(output)
  else await readFrames(video)
  return video
}

/** Most frames that were alive after a collection. */
let alive = 0
async function readFrames(video) {
  const seen = []
  for await (const frame of video.frames()) {
    seen.push(new WeakRef(frame.data.buffer))
    if (!collect || frame.index % 16 !== 15) continue
    // A WeakRef holds what it was made for until the end of the turn.
    await setImmediate()
    globalThis.gc()
    alive = Math.max(alive, seen.filter((frame) => frame.deref() !== undefined).length)
  }
}

// A run of one latent chunk and 16 × 16 pixels: code that is compiled and modules that are loaded once are no part of a run's memory.
if (collect) await sample({ numFrames: 16, width: 16, height: 16 })
if (collect) globalThis.gc()
const loaded = resident()
const plan = pipeline.plan(options).memory
const video = await sample({})
const held = pipeline.engine.native.stats().peakBytes
const ended = resident()
const latents = video.latents.data.byteLength
await pipeline.dispose()
answer({ plan, held, alive, latents, loaded, ended })
