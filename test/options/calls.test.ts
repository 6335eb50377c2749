// Wrong calls from JavaScript, where no type stops them: each is one sentence with a code, never a TypeError from inside.

import { describe, expect, test } from 'vitest'
import * as library from '../../lib/index.js'

const wrong = { code: 'ERR_INVALID_ARG_TYPE', message: expect.stringMatching(/^Expected /) as string }
const classes = Object.entries(library).filter(([name, value]) => typeof value === 'function' && /^[A-Z]/.test(name) && name !== 'VinError') as unknown as [string, new (...values: unknown[]) => unknown][]

function thrown(call: () => unknown): unknown {
  try {
    return call()
  } catch (error) {
    return error
  }
}

describe('new of what functions make', () => {
  test('there are classes', () => expect(classes.map(([name]) => name)).toEqual(expect.arrayContaining(['DDIMScheduler', 'Tensor', 'Trainer', 'VideoPipeline'])))

  test.each(classes)('%s', (_name, Class) => {
    for (const values of [[], [null], [{}], [5], ['demo']]) expect(thrown(() => new Class(...values))).toMatchObject(wrong)
  })

  test('a scheduler of a config that nobody has checked would compute with NaN', () => {
    const Made = library.FlowMatchEulerDiscreteScheduler as unknown as new (config: object) => library.Scheduler
    expect(() => new Made({ shift: 3 })).toThrow('Expected a scheduler of fromConfig, as DDIMScheduler.fromConfig(config), but received new FlowMatchEulerDiscreteScheduler(…)')
  })
})

const loose = library as unknown as Record<'VideoPipeline' | 'Transformer' | 'VAE' | 'TextEncoder', Record<'fromPretrained' | 'fromConfig', (...values: unknown[]) => Promise<unknown>>>
const { randn, demoWorld, generate, openLatents, videoFolder } = library as unknown as Record<'randn' | 'demoWorld' | 'generate' | 'openLatents' | 'videoFolder', (...values: unknown[]) => unknown>

describe('options that are none', () => {
  test.each(['VideoPipeline', 'Transformer', 'VAE', 'TextEncoder'] as const)('%s', async (name) => {
    for (const options of [null, 5, [], 'cpu']) {
      await expect(loose[name].fromConfig({ transformer: {} }, options)).rejects.toMatchObject(wrong)
      if (name === 'VideoPipeline') await expect(loose[name].fromPretrained('demo', options)).rejects.toMatchObject(wrong)
    }
  })

  test.each([undefined, null, 5, [], { seed: '1', shape: [1] }])('randn(%j)', async (options) => {
    await expect(randn(options)).rejects.toMatchObject(wrong)
  })

  test.each([undefined, null, 5, [], {}, { seed: 'x' }, { seed: 1, durations: 4 }, { seed: 1, durations: ['4'] }, { seed: 1, count: '3' }, { seed: 1, captions: 5 }])('demoWorld(%j)', (options) => {
    expect(() => demoWorld(options)).toThrow(expect.objectContaining(wrong) as Error)
  })

  test.each(['', 'a\0b', 5, null])('videoFolder(%j)', (path) => {
    expect(() => videoFolder(path, { width: 32, height: 32 })).toThrow(expect.objectContaining({ code: typeof path === 'string' ? 'ERR_OUT_OF_RANGE' : wrong.code, message: expect.stringMatching(/^Expected a path .*for path/) as string }) as Error)
  })

  test.each(['', 'a\0b', 5, null])('generate({ resume: %j })', async (resume) => {
    await expect(generate({ resume })).rejects.toMatchObject({ code: typeof resume === 'string' ? 'ERR_OUT_OF_RANGE' : wrong.code, message: expect.stringMatching(/^Expected a path .*for resume/) as string })
  })

  test.each(['', 'a\0b'])('fromPretrained(%j)', async (folder) => {
    for (const name of ['VideoPipeline', 'Transformer', 'VAE', 'TextEncoder'] as const) {
      await expect(loose[name].fromPretrained(folder)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: expect.stringMatching(/^Expected a path .*for (the )?model/) as string })
    }
  })

  test.each([['latents.safetensors'], [null, 'latents.safetensors'], [5]])('openLatents(%j, %j)', async (...values) => {
    await expect(openLatents(...values)).rejects.toMatchObject(wrong)
  })
})
