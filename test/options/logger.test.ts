// The option logger: what was loaded and why, and every warning, in pino's shape. Without one, loading warns through Node, and only where something was refused.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Video, VideoPipeline, generate } from '../../lib/index.js'
import { bindingPath } from '../../lib/native/load.js'
import { tinyPipeline } from '../support/models.js'

interface Line {
  level: 'debug' | 'warn'
  facts: Record<string, unknown>
  message: string
}

/** As pino: its methods need their `this`. */
class Recorder {
  readonly #lines: Line[] = []
  get lines(): Line[] {
    return this.#lines
  }
  debug(facts: object, message: string): void {
    this.#lines.push({ level: 'debug', facts: { ...facts }, message })
  }
  warn(facts: object, message: string): void {
    this.#lines.push({ level: 'warn', facts: { ...facts }, message })
  }
  warnings(): unknown[] {
    return this.#lines.filter(({ level }) => level === 'warn').map(({ facts }) => facts['code'])
  }
}

let folder = ''
const emitWarning = vi.spyOn(process, 'emitWarning')
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-logger-'))
  emitWarning.mockReset().mockImplementation(() => {})
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true, force: true })
})

/** A plug-in of another ABI, which this version refuses. */
async function plugIn(): Promise<string> {
  const path = join(folder, 'backends')
  await mkdir(path)
  await writeFile(join(path, 'manifest.json'), '{ "abi": 0 }')
  return path
}

test('where there is no GPU the CPU is no fallback', async () => {
  const logger = new Recorder()
  await using pipeline = await tinyPipeline({ device: 'auto', logger })
  await using other = await tinyPipeline({ device: 'auto' })
  expect(pipeline.runtime.rejected.filter(({ code }) => code !== 'not_found' && code !== 'driver_missing')).toEqual([])
  expect(other.runtime.device).toBe('cpu')
  expect(logger.warnings()).toEqual([])
  expect(emitWarning).not.toHaveBeenCalled()
})

test('a plug-in that is refused is warned of: to the logger, else once by Node; never for the CPU itself', async () => {
  const path = await plugIn()
  vi.stubEnv('VIN_NATIVE_BACKEND_PATH', path)
  const logger = new Recorder()
  await using first = await tinyPipeline({ device: 'auto', logger })
  expect(first.runtime.device).toBe('cpu')
  const [warning] = logger.lines.filter(({ level }) => level === 'warn')
  expect(logger.warnings()).toEqual(['VIN_CPU_FALLBACK'])
  expect(warning).toMatchObject({ message: expect.stringContaining(`${path}: abi, `) as string, facts: { rejected: [{ backend: path, code: 'abi' }] } })
  expect(emitWarning).not.toHaveBeenCalled()
  await using second = await tinyPipeline({ device: 'auto' })
  await using third = await tinyPipeline({ device: 'auto' })
  await using direct = await tinyPipeline({ device: 'cpu' })
  expect([second, third, direct].map(({ runtime }) => runtime.rejected.filter(({ code }) => code === 'abi').length)).toEqual([1, 1, 0])
  expect(emitWarning).toHaveBeenCalledTimes(1)
  expect(emitWarning).toHaveBeenCalledWith(warning!.message, { type: 'VinNativeWarning', code: 'VIN_CPU_FALLBACK' })
})

test('debug tells the addon, the engine and why, each weight file and the scheduler', async () => {
  const logger = new Recorder()
  await using pipeline = await VideoPipeline.fromPretrained('demo', { device: 'cpu', threads: 1, logger })
  const [addon, engine, ...rest] = logger.lines
  expect(logger.lines.every(({ level }) => level === 'debug')).toBe(true)
  expect(addon).toMatchObject({ facts: { addon: bindingPath() }, message: `addon ${bindingPath()!}` })
  const { isa } = pipeline.runtime
  expect(engine).toMatchObject({ facts: pipeline.runtime, message: expect.stringMatching(new RegExp(`^engine on cpu: ${isa}, (the best of .*${isa}|as VIN_NATIVE_ISA asks); 1 threads`)) as string })
  for (const component of ['transformer', 'vae', 'text_encoder']) {
    expect(rest.find(({ facts }) => facts['component'] === component)).toMatchObject({ message: expect.stringContaining(join('models', 'demo', component)) as string })
  }
  expect(rest.at(-1)).toMatchObject({ facts: { scheduler: pipeline.scheduler.config }, message: expect.stringContaining(pipeline.scheduler.className) as string })
})

test('the warnings of a run go to the logger of its call', async () => {
  const options = { prompt: 'a zebra moves', device: 'cpu', numFrames: 1, numInferenceSteps: 1, seed: 7, outputType: 'latents' } as const
  const loggers = [new Recorder(), new Recorder()] as const
  for (const logger of loggers) {
    const video = await generate({ ...options, logger })
    expect(video.warnings.map(({ code }) => code)).toContain('unknown-words')
    expect(logger.warnings()).toEqual(video.warnings.map(({ code }) => code))
  }
  await generate(options)
  expect(loggers.map((logger) => logger.warnings().length)).toEqual([1, 1])
  await using pipeline = await VideoPipeline.fromPretrained('demo', { device: 'cpu', logger: loggers[0] })
  const { device: _, ...run } = options
  await pipeline.generate(run)
  expect(loggers[0].warnings()).toEqual(['unknown-words', 'unknown-words'])
})

test('what a writer adjusts is heard once', async () => {
  const heard: string[] = []
  const frame = { index: 0, data: new Uint8Array(7 * 6 * 3), width: 7, height: 6 }
  const latents = { data: new Float32Array(), shape: [0, 0, 0, 0] }
  const decode = async function* () {
    yield frame
  }
  const video = new Video({ latents, decode, width: 7, height: 6, fps: 16, numFrames: 1, seed: 0, options: {}, plan: undefined, timings: {}, warnings: [], onWarning: ({ code }) => heard.push(code) })
  await video.save(join(folder, 'a.mp4'))
  await video.save(join(folder, 'b.mp4'))
  expect(heard).toEqual(['odd-size'])
})

test.each([null, 'pino', 3, {}, { warn: () => {} }, () => {}])('%o is no logger', async (logger) => {
  const refused = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message: expect.stringContaining("Expected an object with the methods debug and warn, as pino's for logger but received") as string }
  await expect(VideoPipeline.fromPretrained('demo', { logger } as never)).rejects.toMatchObject(refused)
  await expect(generate({ prompt: 'a', logger } as never)).rejects.toMatchObject(refused)
})
