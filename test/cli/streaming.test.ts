// Options of streaming-t2v on the command line: the run is that of the library, and its job keeps them.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { VideoPipeline } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { shake } from '../support/models.js'
import { events, start, vinNative, writeModel } from './support.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-streaming-'))
  await writeModel(join(folder, 'plain'))
  await using pipeline = await VideoPipeline.fromPretrained(join(folder, 'plain'), { device: 'cpu', addParts: ['cam', 'apm'] })
  shake(pipeline)
  await pipeline.save(join(folder, 'model'))
}, 60_000)
afterAll(() => rm(folder, { recursive: true, force: true }))

const cpu = ['--model', 'model', '--device', 'cpu']
const asked = ['a circle', ...cpu, '--method', 'streaming-t2v', '--frames', '64', '--steps', '3', '--seed', '4', '--guidance', '2']
const options = { prompt: 'a circle', method: 'streaming-t2v', numFrames: 64, numInferenceSteps: 3, seed: 4, guidanceScale: 2 } as const

test.each([
  [[], {}],
  [['--anchor-guidance-scale', '3.5'], { anchorGuidanceScale: 3.5 }],
  [['--anchor-guidance-scale=0', '--randomized-blending'], { anchorGuidanceScale: 0, randomizedBlending: true }]
] as const)('plan and generate with %j are those of the library', async (more, own) => {
  await using pipeline = await VideoPipeline.fromPretrained(join(folder, 'model'), { device: 'cpu' })
  const plan = await vinNative(folder, 'plan', ...asked, ...more, '--json')
  expect(plan.code, plan.stderr).toBe(0)
  expect(JSON.parse(plan.stdout)).toMatchObject(JSON.parse(JSON.stringify({ plan: { flops: pipeline.plan({ ...options, ...own }).flops } })) as object)
  const { code, stderr } = await vinNative(folder, 'generate', ...asked, ...more, '-o', 'out.safetensors')
  expect(code, stderr).toBe(0)
  const { data } = loadBinding().readSafetensors(join(folder, 'out.safetensors')).tensors['latents']!
  const { latents } = await pipeline.generate({ ...options, ...own, outputType: 'latents' })
  expect(Buffer.from(data!.buffer).equals(Buffer.from(latents.data.buffer))).toBe(true)
}, 60_000)

test('an interrupted run goes on with them', async () => {
  const running = start(folder, 'generate', ...asked, '--steps', '15', '--anchor-guidance-scale', '3', '--randomized-blending', '--resume', 'states', '--json', '-o', 'film.y4m')
  await running.line(/"type":"step"/)
  running.child.kill('SIGINT')
  expect((await running.result).code).toBe(130)
  const { values } = JSON.parse(await readFile(join(folder, 'states', 'job.json'), 'utf8')) as { values: object }
  expect(values).toMatchObject({ 'anchor-guidance-scale': '3', 'randomized-blending': 'true' })
  const resumed = await vinNative(folder, 'resume', 'states', '--json')
  expect(resumed.code, resumed.stderr).toBe(0)
  expect(events(resumed.stdout).at(-1)).toMatchObject({ type: 'done' })
}, 60_000)

test.each([
  [['--method', 'vin', '--anchor-guidance-scale', '3'], "Expected method 'streaming-t2v' beside --anchor-guidance-scale but received 'vin'"],
  [['--method', 'vin', '--randomized-blending'], "Expected method 'streaming-t2v' beside --randomized-blending but received 'vin'"],
  [['--anchor-guidance-scale', '1001'], 'for --anchor-guidance-scale but received 1001'],
  [['--randomized-blending=yes'], "Expected --randomized-blending without a value but received '--randomized-blending=yes'"]
] as const)('plan %j is refused', async (args, text) => {
  const { code, stderr } = await vinNative(folder, 'plan', 'a circle', ...cpu, ...args)
  expect(stderr).toContain(text)
  expect(code).toBe(2)
})
