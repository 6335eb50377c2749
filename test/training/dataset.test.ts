// How data sets are read: pass after pass, from any place.
import { expect, test } from 'vitest'
import { endless, exampleAt } from '../../lib/training/dataset.js'
import type { Dataset, DatasetPosition } from '../../lib/training/dataset.js'

/** Three examples; each pass names its epoch. */
const numbered: Dataset = {
  async *examples(epoch: number, skip: number) {
    for (let index = skip; index < 3; index++) yield { prompt: `${epoch}.${index}` }
  },
  [Symbol.asyncIterator]: () => numbered.examples!(0, 0)[Symbol.asyncIterator]()
}
/** The same without `examples`: every pass is alike. */
const plain: Dataset = {
  async *[Symbol.asyncIterator]() {
    for (let index = 0; index < 3; index++) yield { prompt: `.${index}` }
  }
}

async function read(dataset: Dataset, count: number, from?: DatasetPosition): Promise<string[]> {
  const seen: string[] = []
  for await (const { example, at } of endless(dataset, from)) {
    expect((await exampleAt(dataset, at)).prompt).toBe(example.prompt)
    seen.push(`${example.prompt} ${at.epoch} ${at.taken}`)
    if (seen.length === count) break
  }
  return seen
}

test('every pass asks for its own order', async () => {
  expect(await read(numbered, 7)).toEqual(['0.0 0 0', '0.1 0 1', '0.2 0 2', '1.0 1 0', '1.1 1 1', '1.2 1 2', '2.0 2 0'])
  expect(await read(plain, 4)).toEqual(['.0 0 0', '.1 0 1', '.2 0 2', '.0 1 0'])
})

test('a reader goes on from any place, also from the end of a pass', async () => {
  for (const dataset of [numbered, plain]) {
    const all = await read(dataset, 9)
    for (let begin = 0; begin < 6; begin++) expect(await read(dataset, 3, { epoch: Math.floor(begin / 3), taken: begin % 3 })).toEqual(all.slice(begin, begin + 3))
    expect(await read(dataset, 2, { epoch: 0, taken: 3 })).toEqual(all.slice(3, 5))
  }
})

test('a place that the data set no longer has, and one without examples, are refused', async () => {
  await expect(exampleAt(plain, { epoch: 0, taken: 3 })).rejects.toThrow(RangeError)
  await expect(read({ async *[Symbol.asyncIterator]() {} }, 1)).rejects.toThrow(/at least one example/)
})
