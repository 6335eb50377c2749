// The longest gap of a 10 ms timer while a job runs, beside the longest one while nothing runs for as long. What blocks the thread does so in every round, on
// any machine; neighbours come and go: so there are rounds until one of them is quiet enough.
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Trainer, VideoPipeline, demoWorld } from '../../../dist/esm/index.js'
import { answer, config } from './parent.mjs'

const { job, output, allowed, rounds: most } = config

/** Milliseconds in which this thread stood ready to run while others had the cores; Linux counts them. */
function waited() {
  try {
    return Number(readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')[1]) / 1e6
  } catch {
    return 0
  }
}

async function gapsOf(work) {
  const begin = performance.now()
  let last = { at: begin, waited: waited() }
  const gaps = []
  const tick = () => {
    const now = { at: performance.now(), waited: waited() }
    gaps.push({ ms: now.at - last.at, waiting: now.waited - last.waited })
    last = now
  }
  const timer = setInterval(tick, 10)
  await work()
  tick()
  clearInterval(timer)
  return {
    ms: last.at - begin,
    ticks: gaps.length - 1,
    waiting: gaps.reduce((sum, { waiting }) => sum + waiting, 0),
    longest: Math.max(...gaps.map(({ ms }) => ms)),
    longestRunning: Math.max(...gaps.map(({ ms, waiting }) => ms - waiting))
  }
}

/**
Milliseconds by which the job's longest gap is longer. An idle process that waits for more than a hundredth of its time says that others fill the machine:
there what the neighbours took is left out on both sides, because it is not the job's.
*/
function over({ busy, idle }) {
  const crowded = idle.waiting > idle.ms / 100
  return crowded ? busy.longestRunning - idle.longestRunning : busy.longest - idle.longest
}

const pipeline = await VideoPipeline.fromPretrained('demo', { device: 'cpu' })
const trainer = job === 'generate' ? undefined : new Trainer(pipeline, { lengths: [20], seed: 5 })
const jobs = {
  async generate() {
    const run = pipeline.generate({ prompt: 'a red circle and a blue square bounce over a meadow', numFrames: 64, numInferenceSteps: 3, seed: 7 })
    for await (const event of run) if (event.type === 'step') await event.latents()
    await (await run).save(output, { scale: 2 })
  },
  fit: () => trainer.fit(demoWorld({ seed: 7 }), { steps: 2 }),
  step: () => trainer.step([{ latents: { data: new Float32Array(4 * 20 * 64).fill(0.5), shape: [4, 20, 8, 8] }, prompt: 'a red circle' }])
}
const rounds = []
do {
  const busy = await gapsOf(jobs[job])
  const idle = await gapsOf(() => sleep(busy.ms))
  rounds.push({ busy, idle, over: over({ busy, idle }) })
} while (rounds.length < most && rounds.at(-1).over > allowed)
trainer?.dispose()
await pipeline.dispose()
answer({ rounds })
