// What ends a training run early: the steps that were made are in its checkpoint, and go on with the bits of a run that was not stopped.
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Trainer, VAETrainer } from '../../lib/index.js'
import type { Dataset, FitOptions, VideoPipeline } from '../../lib/index.js'
import { hashOf, mountSmall, useFolder } from '../files/support.js'
import { tinyPipeline } from '../support/models.js'

const at = useFolder()
let pipeline: VideoPipeline
beforeAll(async () => void (pipeline = await tinyPipeline()))
afterAll(() => pipeline.dispose())

const dataset: Dataset = {
  async *[Symbol.asyncIterator]() {
    for (let index = 0; index < 5; index++) yield { prompt: 'a red circle', latents: { data: Float32Array.from({ length: 4 * 5 * 16 }, (_, i) => Math.sin((1 + index) * (i + 1))), shape: [4, 5, 4, 4] } }
  }
}
const trainer = async () => new Trainer(await tinyPipeline(), { lengths: [5], seed: 4 })

async function losses(from: Trainer, options: FitOptions): Promise<number[]> {
  const seen: number[] = []
  await from.fit(dataset, { ...options, onStep: async (report) => {
    seen.push(report.loss)
    await options.onStep?.(report)
  } })
  return seen
}

describe.each<[string, (step: number, controller: AbortController) => void, string]>([
  ['a signal', (step, controller) => void (step === 2 && controller.abort(new Error('enough'))), 'enough'],
  ['an error', (step) => {
    if (step === 2) throw new Error('broken')
  }, 'broken']
])('%s in the middle', (_name, stop, message) => {
  test('saves, and the run goes on from there', async () => {
    const whole = await losses(await trainer(), { steps: 5 })
    const controller = new AbortController()
    const saved: number[] = []
    const checkpoint = at('run')
    await expect(losses(await trainer(), { steps: 5, checkpoint, signal: controller.signal, onStep: ({ step }) => stop(step, controller), onCheckpoint: (_folder, step) => void saved.push(step) })).rejects.toThrow(message)
    expect(saved).toEqual([3])
    expect(readdirSync(checkpoint).filter((name) => name.startsWith('.'))).toEqual([])
    expect(await losses(await Trainer.resume(checkpoint, {}, { device: 'cpu' }), { steps: 2 })).toEqual(whole.slice(3))
  })
})

test('an error before the first step saves nothing, and an aborted signal does no work', async () => {
  const broken: Dataset = { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new Error('no videos')) }) }
  await expect((await trainer()).fit(broken, { steps: 1, checkpoint: at('run') })).rejects.toThrow('no videos')
  await expect((await trainer()).fit(dataset, { steps: 1, checkpoint: at('run'), signal: AbortSignal.abort(new Error('no')) })).rejects.toThrow('no')
  expect(readdirSync(at())).toEqual([])
})

test('a folder of somebody else is refused by fit and by save, before the first step', async () => {
  mkdirSync(at('mine'))
  writeFileSync(at('mine', 'thesis.txt'), 'years of work')
  writeFileSync(at('file'), 'plain')
  const before = hashOf(at())
  let steps = 0
  const run = await trainer()
  const vae = new VAETrainer(pipeline.vae, { stage: 'spatial' })
  for (const [name, reason, found] of [['mine', 'EEXIST', 'thesis.txt'], ['file', 'ENOTDIR', 'no folder'], ['file/deeper', 'ENOTDIR', 'its folder is a file']] as const) {
    const refusal = { code: 'ERR_VIN_DISK', details: { reason }, message: expect.stringContaining(found) as string }
    await expect(run.fit(dataset, { steps: 1, checkpoint: at(name), onStep: () => void steps++ })).rejects.toMatchObject(refusal)
    await expect(run.save(at(name))).rejects.toMatchObject(refusal)
    await expect(vae.fit(dataset as never, { steps: 1, checkpoint: at(name) })).rejects.toMatchObject(refusal)
    await expect(vae.save(at(name))).rejects.toMatchObject(refusal)
  }
  expect(steps).toBe(0)
  expect(hashOf(at())).toBe(before)
  await expect(run.fit(dataset, { steps: 1, checkpoint: 7 as never })).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
})

test('a checkpoint of a VAE is not replaced by one of a transformer', async () => {
  await new VAETrainer(pipeline.vae, { stage: 'spatial' }).save(at('vae'))
  const before = hashOf(at())
  await expect((await trainer()).save(at('vae'))).rejects.toMatchObject({ code: 'ERR_VIN_DISK', message: expect.stringContaining("a checkpoint of kind 'vae'") as string })
  expect(hashOf(at())).toBe(before)
})

test('one run at a time trains into a folder', async () => {
  const run = await trainer()
  const other = await trainer()
  let refusal: unknown
  await run.fit(dataset, { steps: 2, checkpoint: at('run'), onStep: async () => {
    refusal = await other.fit(dataset, { steps: 1, checkpoint: at('run') }).catch((error: unknown) => error)
    // A save by hand is the run's own.
    await run.save(at('run'))
  } })
  expect(refusal).toMatchObject({ code: 'ERR_VIN_DISK', details: { reason: 'ELOCKED', pid: process.pid } })
  expect(readdirSync(at('run')).filter((name) => name.startsWith('.'))).toEqual([])
})

test('on a full disk the run ends with ERR_VIN_DISK and the checkpoint of before is whole', async (context) => {
  mkdirSync(at('small'))
  mountSmall(context, at('small'), 16 << 20)
  const checkpoint = at('small', 'run')
  await losses(await trainer(), { steps: 1, checkpoint })
  const before = hashOf(checkpoint)
  expect(() => writeFileSync(at('small', 'filler'), Buffer.alloc(16 << 20))).toThrow('ENOSPC')
  // A few bytes for the lock: the weights must not fit.
  writeFileSync(at('small', 'filler'), readFileSync(at('small', 'filler')).subarray(65_536))
  await expect(losses(await Trainer.resume(checkpoint, {}, { device: 'cpu' }), { steps: 1, checkpoint })).rejects.toMatchObject({ code: 'ERR_VIN_DISK' })
  expect(hashOf(checkpoint)).toBe(before)
  expect(existsSync(checkpoint)).toBe(true)
})
