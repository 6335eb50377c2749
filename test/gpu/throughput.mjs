// Seconds of each op: a warm-up, then rounds of as many calls as fill a sample, queued as one command and waited for once.
import { forItems, job, openGPU } from './job.mjs'
import { prepare, worksOf } from './works.mjs'

const { size, sample, rounds } = job.rehearse ? { size: 'small', sample: 0.001, rounds: 2 } : { size: 'full', sample: 0.05, rounds: 5 }
const engine = openGPU()

async function seconds(call, times) {
  const start = performance.now()
  call(times)
  await engine.fence()
  return (performance.now() - start) / 1000
}

await forItems(worksOf(size), ({ name }) => name, async (work) => {
  const { call, outputs, dispose } = prepare(engine, work)
  try {
    call()
    // Waits, and rejects where the launch has failed.
    for (const tensor of Object.values(outputs)) await tensor.ready()
    const times = Math.max(1, Math.min(1000, Math.round(sample / (await seconds(call, 1)))))
    const measured = []
    for (let round = 0; round < rounds; round++) measured.push((await seconds(call, times)) / times)
    return { work: work.title, bytes: work.bytes, flops: work.flops, seconds: measured.sort((a, b) => a - b)[rounds >> 1], rounds: measured, times }
  } finally {
    dispose()
  }
})
await engine.dispose()
