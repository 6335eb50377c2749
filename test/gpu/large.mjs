// Every op on the GPU against the CPU backend, at sizes where one grid does not reach all elements.
import { availableParallelism } from 'node:os'
import { createEngine, forItems, job, openGPU } from './job.mjs'
import { prepare, worksOf } from './works.mjs'

/**
 * Allowed difference, as a share of the largest element. A sum of n products that is taken one after another errs by about 2⁻²⁵ √n / 12 of the largest of millions of such
 * sums, five times that at worst: 2e-6 for the 17,424 of conv3d's dweight. The emulated device is 2.7e-6 away at most, instruction sets of the CPU 6e-7 from each other.
 */
const allowed = 8e-6

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

await forItems(worksOf(job.rehearse ? 'small' : 'large'), ({ name }) => name, async (work) => {
  const [expected, found] = [await results(cpu, work), await results(gpu, work)]
  let worst = 0
  for (const [name, wanted] of Object.entries(expected)) {
    const values = found[name]
    let [difference, largest] = [0, 0]
    for (let i = 0; i < wanted.length; i++) {
      const distance = Math.abs(wanted[i] - values[i])
      if (!(distance <= difference)) difference = distance
      if (Math.abs(wanted[i]) > largest) largest = Math.abs(wanted[i])
    }
    const share = difference / (largest || 1)
    if (!(share <= allowed)) throw new Error(`Expected ${name} to be the CPU's within ${allowed} of its largest element but the difference is ${share} of it (${work.title})`)
    worst = Math.max(worst, share)
  }
  return { work: work.title, difference: worst }
})
await cpu.dispose()
await gpu.dispose()
