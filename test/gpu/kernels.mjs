// One call of each op, for compute-sanitizer: a process by itself, which ends where the work does.
import { forItems, openGPU } from './job.mjs'
import { prepare, worksOf } from './works.mjs'

const engine = openGPU()
await forItems(worksOf('small'), ({ name }) => name, async (work) => {
  const { call, outputs, dispose } = prepare(engine, work)
  call()
  for (const tensor of Object.values(outputs)) await tensor.ready()
  dispose()
  await engine.fence()
})
await engine.dispose()
