// One sitting of a training run: goes on from CHECKPOINT, or begins with the model and options of START. Each step's numbers are appended to LOG, bit by bit, as soon as they are known.
// node kill-child.mjs START CHECKPOINT LOG STEPS
import { appendFileSync } from 'node:fs'
import { Trainer } from '../../dist/esm/index.js'

const [start, checkpoint, log, steps] = process.argv.slice(2)

const prompts = ['a red circle bounces', 'a blue square moves', 'circle']
const dataset = {
  // Videos of mixed lengths, so that some wait in their bucket whenever a checkpoint is written.
  async *[Symbol.asyncIterator]() {
    for (let index = 0; index < 17; index++) {
      const frames = [5, 10, 7, 5][index % 4]
      const data = Float32Array.from({ length: 4 * frames * 16 }, (_, i) => Math.sin((1 + (index % 5)) * (i + 1)))
      yield { prompt: prompts[index % 3], latents: { data, shape: [4, frames, 4, 4] } }
    }
  }
}

const bits = (value) => Buffer.from(Float64Array.of(value).buffer).toString('hex')
const missing = (error) => {
  if (error.code !== 'ERR_VIN_MISSING_COMPONENT') throw error
  return Trainer.resume(start, {}, { device: 'cpu' })
}
const trainer = await Trainer.resume(checkpoint, {}, { device: 'cpu' }).catch(missing)
await trainer.fit(dataset, {
  steps: Number(steps) - trainer.globalStep,
  checkpoint,
  checkpointEvery: 2,
  onStep: ({ step, loss, gradNorm }) => appendFileSync(log, `${step} ${bits(loss)} ${bits(gradNorm)}\n`)
})
