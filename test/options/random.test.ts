// Random values of the options that change how a run is stepped through: each is taken, or refused in one sentence, as its type says; never anything else.
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { GenerateOptions, VideoPipeline } from '../../lib/index.js'
import { samplingOptions } from '../../lib/cli/options.js'
import { methodNames } from '../../lib/methods/index.js'
import { resolvedFusion, readFusion, type FusionOptions } from '../../lib/plan/fusion.js'
import { tinyPipeline } from '../support/models.js'

let pipeline: VideoPipeline
beforeAll(async () => {
  pipeline = await tinyPipeline({ addParts: ['cam', 'apm', 'fusion', 'memory'] })
})
afterAll(() => pipeline.dispose())

/** What came of it: a value, or an error of one sentence. */
function outcome<T>(work: () => T): { value: T } | { error: Error & { code?: string } } {
  try {
    return { value: work() }
  } catch (thrown) {
    const error = thrown as Error & { code?: string }
    expect(error).toBeInstanceOf(Error)
    expect(['ERR_OUT_OF_RANGE', 'ERR_INVALID_ARG_TYPE']).toContain(error.code)
    expect(error).toBeInstanceOf(error.code === 'ERR_OUT_OF_RANGE' ? RangeError : TypeError)
    expect(error.message).toMatch(/^Expected [^\n]+$/)
    expect(error.message.length).toBeLessThan(400)
    return { error }
  }
}

const weights = ['linear', 'raised-cosine', 'learned']
const names = ['early', 'mid', 'late', 'none']
const within = (value: unknown, least: number, most: number): boolean => typeof value === 'number' && value >= least && value <= most
const steps = 4

/** As the types and their comments say. */
const fits = {
  stagger: (value: unknown, method: string): boolean => value === undefined || (Number.isInteger(value) && within(value, 0, method === 'vin' || method === 'independent' ? steps : 0)),
  stepCache: (value: unknown): boolean => value === undefined || within(value, 0, 100) || ['off', 'slow', 'fast'].some((name) => name === value),
  globalTokenMemory: (value: unknown, method: string): boolean => value === undefined || value === false || (value === true && method === 'vin'),
  randomizedBlending: (value: unknown, method: string): boolean => value === undefined || value === false || (value === true && method === 'streaming-t2v'),
  anchorGuidanceScale: (value: unknown, method: string): boolean => value === undefined || (within(value, 0, 1000) && method === 'streaming-t2v'),
  fusion: (value: unknown): boolean => {
    if (value === undefined || names.some((name) => name === value)) return true
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
    if (Object.keys(value).some((name) => !['from', 'until', 'weights'].includes(name))) return false
    const { from = 1, until = 0.4, weights: how = 'linear' } = value as FusionOptions
    return within(from, 0, 1) && within(until, 0, 1) && until <= from && weights.includes(how)
  }
}

const number = fc.oneof(fc.integer({ min: -2, max: 8 }), fc.double({ min: -0.5, max: 1.5 }), fc.double(), fc.constantFrom(0, -0, 1, 100, 100.5, 1000, 1001))
const anything = fc.oneof(fc.anything({ withBigInt: true, withNullPrototype: true, withTypedArray: true, withSparseArray: true }), fc.constantFrom(Symbol('x'), () => 1))
const word = fc.constantFrom('early', 'mid', 'late', 'none', 'off', 'slow', 'fast', 'linear', 'raised-cosine', 'learned', 'Early', '', 'toString', '__proto__')
const window = fc.record({ from: fc.oneof(number, fc.constant(undefined), anything), until: fc.oneof(number, fc.constant(undefined)), weights: fc.oneof(word, fc.constant(undefined)) }, { requiredKeys: [] })
const values = fc.oneof(fc.constant(undefined), number, word, fc.boolean(), window, anything)

test.each(Object.keys(fits) as (keyof typeof fits)[])('%s', (name) => {
  fc.assert(
    fc.property(values, fc.constantFrom(...methodNames), (value, method) => {
      const result = outcome(() => pipeline.plan({ numFrames: 64, numInferenceSteps: steps, method, [name]: value }))
      expect('value' in result).toBe(fits[name](value, method))
    }),
    { numRuns: 200 }
  )
})

test('all of them together: a plan, whose work is a number, or one sentence', () => {
  /** Mostly what the option takes. */
  const mostly = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<unknown> => fc.oneof({ weight: 50, arbitrary }, { weight: 1, arbitrary: values })
  const share = fc.double({ min: 0, max: 1, noNaN: true })
  const several = fc.record(
    {
      method: mostly(fc.constantFrom(...methodNames)),
      stagger: mostly(fc.integer({ min: 0, max: 3 })),
      stepCache: mostly(fc.oneof(share, fc.constantFrom('off', 'slow', 'fast'))),
      globalTokenMemory: mostly(fc.boolean()),
      randomizedBlending: mostly(fc.boolean()),
      anchorGuidanceScale: fc.oneof({ weight: 5, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: mostly(share) }),
      fusion: mostly(fc.oneof(fc.constantFrom(...names), fc.record({ from: fc.double({ min: 0.4, max: 1 }), weights: fc.constantFrom(...weights) }, { requiredKeys: [] }))),
      guidanceScale: mostly(fc.constantFrom(0, 1, 2.5)),
      keyframeInterval: mostly(fc.constantFrom(0.2, 1, 3600)),
      chunkFrames: mostly(fc.integer({ min: 4, max: 30 })),
      contextFrames: mostly(fc.integer({ min: 0, max: 4 })),
      numFrames: mostly(fc.integer({ min: 1, max: 120 })),
      numInferenceSteps: mostly(fc.integer({ min: 3, max: 6 }))
    },
    { requiredKeys: [] }
  )
  let planned = 0
  fc.assert(
    fc.property(several, (options) => {
      const result = outcome(() => pipeline.plan(options as GenerateOptions))
      if ('error' in result) return
      planned++
      const { flops, memory, chunks } = result.value
      for (const count of [flops.total, flops.evaluations, flops.perStep, memory.peak]) expect(count > 0 && Number.isFinite(count)).toBe(true)
      expect(flops.evaluations).toBeGreaterThanOrEqual(chunks.length)
    }),
    { numRuns: 500 }
  )
  expect(planned).toBeGreaterThan(20)
})

test('a fusion in one word is what it says, or one sentence', () => {
  const hundredths = fc.integer({ min: 0, max: 100 }).map((value) => value / 100)
  const said = fc.oneof(fc.constantFrom(...names), fc.tuple(hundredths, hundredths).map(([a, b]) => ({ from: Math.max(a, b), until: Math.min(a, b) })))
  fc.assert(
    fc.property(said, fc.constantFrom(undefined, 'linear', 'raised-cosine', 'learned'), fc.boolean(), (when, how, first) => {
      const text = [typeof when === 'string' ? when : `${when.from}..${when.until}`, ...(how === undefined ? [] : [how])]
      const fusion = readFusion((first ? text : text.reverse()).join('+'))
      const wanted = resolvedFusion(when as GenerateOptions['fusion'] & object)
      expect(resolvedFusion(fusion)).toEqual({ ...wanted, weights: how ?? 'linear' })
    })
  )
  const parts = fc.array(fc.oneof(word, fc.string(), fc.constantFrom('0..1', '1..0', '..', '1..', '+', '-1..0', '1e5..0', 'NaN..0', '99999999999999999999..0')), { maxLength: 4 })
  fc.assert(fc.property(parts, (several) => void outcome(() => readFusion(several.join('+')))))
})

test('texts of the command line are options, or one sentence', () => {
  const text = fc.oneof(fc.string(), word, number.map(String), fc.constantFrom('late+learned', '0.8..0.3', '1..2', ' ', '0x10', '1_000', 'Infinity', '-0'))
  fc.assert(
    fc.property(fc.record({ fusion: text, stagger: text, 'step-cache': text, 'keyframe-interval': text, 'anchor-guidance-scale': text, method: text, seed: text }, { requiredKeys: [] }), (given) => {
      const result = outcome(() => samplingOptions(given))
      if ('value' in result) expect(Object.keys(result.value)).toHaveLength(Object.keys(given).length)
    }),
    { numRuns: 1000 }
  )
})
