// Every op on the GPU against the CPU backend, at sizes where one grid does not reach all elements.
import { availableParallelism } from 'node:os'
import { createEngine, forItems, job, openGPU } from './job.mjs'
import { prepare, worksOf } from './works.mjs'

/**
 * Allowed difference, as a share of the largest element. Sums of up to 2,400 products of normals in another order, relative to the largest of millions of such sums:
 * 2⁻²⁴ · 2 √2400 / 5; sums of all rows in fp32 grow with the root of their number, as the sum itself does.
 */
const allowed = 2e-5

const cpu = createEngine({ device: 'cpu', threads: availableParallelism() })
const gpu = openGPU()

async function results(engine, work) {
  const { outputs, call, dispose } = prepare(engine, work)
  call()
  const found = {}
  for (const [name, tensor] of Object.entries(outputs)) found[name] = (await tensor.read()).data
  dispose()
  return found
}

await forItems(worksOf(job.rehearse ? 'small' : 'large'), ({ op }) => op, async (work) => {
  const [expected, found] = [await results(cpu, work), await results(gpu, work)]
  let worst = 0
  for (const [name, wanted] of Object.entries(expected)) {
    let [difference, largest] = [0, 0]
    wanted.forEach((value, i) => {
      const distance = Math.abs(value - found[name][i])
      if (!(distance <= difference)) difference = distance
      largest = Math.max(largest, Math.abs(value))
    })
    const share = difference / (largest || 1)
    if (!(share <= allowed)) throw new Error(`Expected ${name} to be the CPU's within ${allowed} of its largest element but the difference is ${share} of it (${work.title})`)
    worst = Math.max(worst, share)
  }
  return { work: work.title, difference: worst }
})
await cpu.dispose()
await gpu.dispose()
