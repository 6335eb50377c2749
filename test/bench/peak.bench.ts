// What the other tables divide by: multiply-adds in registers, one thread and all.

import { expect, test } from 'vitest'
import { loadBinding } from '../../lib/native/load.js'
import { allThreads, record } from './harness.js'
import { options } from './options.js'
import { ratio } from './table.js'

test('measured peak', () => {
  const binding = loadBinding()
  const one: number[] = []
  const all: number[] = []
  for (let round = 0; round < options.rounds; round++) {
    one.push(binding.measurePeak({ threads: 1 }))
    all.push(binding.measurePeak({ threads: allThreads }))
  }
  for (const peak of [...one, ...all]) expect(peak).toBeGreaterThan(0)
  const ratios = { 'times 1 thread': ratio(all, one) }
  record({ group: 'measured peak', work: 'fp32 multiply-adds in registers', threads: allThreads, ratios, seconds: {}, peak: { 1: one, [allThreads]: all } })
})
