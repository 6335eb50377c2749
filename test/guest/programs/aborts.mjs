// Runs that are aborted at every kind of moment, round after round; the answer is what engine and process hold before and after, and their memory on the way.
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { VideoPipeline } from '../../../dist/esm/index.js'
import { answer, config } from './parent.mjs'

const { model, warmUp, rounds, encodes, folder } = config
const pipeline = await VideoPipeline.fromPretrained(model, { device: 'cpu' })
const { native, binding } = pipeline.engine
const options = { prompt: 'a red circle bounces', numFrames: 64, seed: 3, numInferenceSteps: 6 }

class Stop extends Error {}

async function stopped(promise) {
  try {
    await promise
  } catch (error) {
    if (error instanceof Stop) return
    throw error
  }
  throw new Error('Expected the run to be aborted')
}

/** Starts a run; `abort` may be called at any time. */
function start(more = {}) {
  const controller = new AbortController()
  const abort = () => controller.abort(new Stop())
  return { abort, controller, job: pipeline.generate({ ...options, signal: controller.signal, ...more }) }
}

async function untilEvent(type, count = 1) {
  const { abort, job } = start()
  await stopped(
    (async () => {
      for await (const event of job) if (event.type === type && --count === 0) abort()
    })()
  )
}

const kinds = [
  () => stopped(pipeline.generate({ ...options, signal: AbortSignal.abort(new Stop()) })),
  () => untilEvent('plan'),
  () => untilEvent('step', 2),
  () => untilEvent('decode', 2),
  async () => {
    const { abort, job } = start({ onStep: ({ step }) => (step === 3 ? abort() : undefined) })
    await stopped(job)
  },
  async (round) => {
    const { abort, job } = start({ numInferenceSteps: 200 })
    await Promise.all([stopped(job), sleep(round % 40).then(abort)])
  },
  async () => {
    const { job } = start()
    await setImmediate()
    job.cancel(new Stop())
    await stopped(job)
  },
  async () => {
    const { abort, job } = start({ resume: `${folder}/states`, onStep: ({ step }) => (step === 2 ? abort() : undefined) })
    await stopped(job)
    rmSync(`${folder}/states`, { recursive: true })
  },
  async () => {
    // A finished video is read, and stopped, by signals of its own.
    const { job } = start({ numInferenceSteps: 1 })
    const video = await job
    const reading = new AbortController()
    await stopped(
      (async () => {
        for await (const { index } of video.frames({ signal: reading.signal })) if (index === 20) reading.abort(new Stop())
      })()
    )
  },
  () => encode('y4m')
]

async function encode(format) {
  const { job } = start({ numInferenceSteps: 1, numFrames: 32 })
  const video = await job
  const saving = new AbortController()
  await stopped(video.save(`${folder}/out.${format}`, { signal: saving.signal, onProgress: ({ done }) => (done === 10 ? saving.abort(new Stop()) : undefined) }))
}

async function round(i) {
  await kinds[i % kinds.length](i)
  await native.fence()
  globalThis.gc()
  await setImmediate()
}

/** Open files and threads of this process; Linux lists them. */
function held() {
  return existsSync('/proc/self/task') ? { files: readdirSync('/proc/self/fd').length, threads: readdirSync('/proc/self/task').length } : {}
}

for (let i = 0; i < warmUp; i++) await round(i)
const before = { ...binding.memory(), ...held() }
const rss = []
for (let i = 0; i < rounds; i++) {
  await round(i)
  rss.push(process.memoryUsage.rss())
}
const after = { ...binding.memory(), ...held() }

// An encoder of .mp4 is a thread with megabytes of its own, which a process gives back when it likes: what counts is that the thread is gone.
await encode('mp4')
const beforeEncodes = { ...binding.memory(), ...held() }
for (let i = 0; i < encodes; i++) await encode('mp4')
const afterEncodes = { ...binding.memory(), ...held() }

await pipeline.dispose()
const disposed = binding.memory()
answer({ before, after, beforeEncodes, afterEncodes, disposed, rss, left: readdirSync(folder) })
