// VIN_NATIVE_TRACE shows chunks at the same time where they may be, and one after another where they may not.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { answerOf, writeTinyModel } from './support.js'

vi.setConfig({ testTimeout: 180_000 })

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-chunks-'))
  await writeTinyModel(join(folder, 'model'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** An op of the trace; times in microseconds, chunk −1 for what all chunks share. */
interface Op {
  name: string
  tid: number
  ts: number
  dur: number
  args: { chunk: number }
}

/** Ops of a run of four chunks, in order of their start, and its latents. */
async function traced(name: string, threads: number, chunksInFlight: number): Promise<{ ops: Op[]; latents: Buffer }> {
  const [file, latents] = [join(folder, `${name}.json`), join(folder, `${name}.f32`)]
  const options = { prompt: 'a red circle bounces', numFrames: 128, seed: 3, numInferenceSteps: 6, outputType: 'latents', chunksInFlight }
  await answerOf('sample.mjs', { model: join(folder, 'model'), load: { threads }, options, latents }, { env: { VIN_NATIVE_TRACE: file } })
  // The closing bracket of the array format is optional: it comes when the last handle is gone.
  const text = (await readFile(file, 'utf8')).trimEnd()
  const ops = JSON.parse(text.endsWith(']') ? text : `${text}]`) as Op[]
  return { ops: ops.filter(({ args }) => args.chunk >= 0).sort((a, b) => a.ts - b.ts), latents: await readFile(latents) }
}

/** Pairs of ops of different chunks that ran at the same time: [start, end) of one meets that of the other. */
function overlaps(ops: Op[]): [Op, Op][] {
  const pairs: [Op, Op][] = []
  ops.forEach((one, i) => {
    for (let k = i + 1; k < ops.length && ops[k]!.ts < one.ts + one.dur; k++) if (ops[k]!.args.chunk !== one.args.chunk) pairs.push([one, ops[k]!])
  })
  return pairs
}

test('chunks in flight overlap in time, one at a time never does, and the bits are the same', async () => {
  // A machine that is busy may give a short run one core and no more; one that never overlaps is at fault.
  let together = await traced('together', 2, 2)
  for (let i = 0; i < 9 && overlaps(together.ops).length === 0; i++) together = await traced('together', 2, 2)
  const alone = await traced('alone', 2, 1)
  const oneThread = await traced('one-thread', 1, 4)
  for (const { ops } of [together, alone, oneThread]) expect(new Set(ops.map(({ args }) => args.chunk))).toEqual(new Set([0, 1, 2, 3]))
  const pairs = overlaps(together.ops)
  expect(pairs.length).toBeGreaterThan(0)
  for (const [one, other] of pairs) expect(one.tid).not.toBe(other.tid)
  expect(overlaps(alone.ops).length).toBe(0)
  expect(overlaps(oneThread.ops).length).toBe(0)
  expect(alone.latents.equals(together.latents)).toBe(true)
  expect(oneThread.latents.equals(together.latents)).toBe(true)
})
