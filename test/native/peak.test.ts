// The measured peak that benchmarks divide by. How fast a machine is says nothing about right and wrong: only the contract is tested.
import { expect, test } from 'vitest'
import { binding } from '../support/addon.js'

test.each(binding().cpuFeatures())('multiply-adds of %s run on one thread and on two', (isa) => {
  for (const threads of [1, 2]) {
    const peak = binding().measurePeak({ isa, threads })
    // Between a pocket calculator and the largest machine there is.
    expect(peak).toBeGreaterThan(1e6)
    expect(peak).toBeLessThan(1e18)
  }
})

test('the best instruction set and one thread are the defaults', () => {
  expect(binding().measurePeak({})).toBeGreaterThan(1e6)
})

test('an instruction set that is missing and a senseless number of threads are refused', () => {
  expect(() => binding().measurePeak({ isa: 'abacus' })).toThrow(expect.objectContaining({ code: 'ERR_VIN_NOT_SUPPORTED', details: { isa: 'abacus' } }))
  for (const threads of [0, -1, 1025]) expect(() => binding().measurePeak({ threads })).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }))
})
