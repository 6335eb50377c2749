import { expect, test } from 'vitest'
import { at, compute, indices, normal, values } from './operands.js'
import { isAsynchronous } from '../support/devices.js'
import { devicesOf, engineOf, testOp, type OpCase } from './test-op.js'

const of = (title: string, n: number, [rows, D]: [number, number]): OpCase => ({
  title, inputs: { table: normal([rows, D]), ids: indices([n], rows) }, outputs: { y: { shape: [n, D] } }
})
const cases = [of('odd', 5, [9, 7]), of('repeated ids', 40, [3, 130]), of('model', 77, [512, 1152]), of('empty', 0, [4, 6])]
// More ids than one thread adds up by itself on CUDA.
const buckets = of('buckets', 5000, [33, 5])

testOp('embedding', {
  cases,
  reference: ({ table, ids }, _, { y }) => ({ y: compute(y!, (n, c) => at(table!, ids!.data[n]!, c)) }),
  tolerance: {},
  layouts: { table: 'rows', y: 'rows' },
  // An id of the 40 occurs about 13 times: as many roundings of a sum of size √13.
  gradient: { of: { dtable: 'table' }, dy: 'y', added: ['dtable'], tolerance: { own: 4, largest: 16 }, layouts: { dtable: 'rows', dy: 'rows' }, cases: [cases[0]!, cases[1]!, cases[3]!, buckets] }
})

test.each(devicesOf('embedding'))('%s refuses ids outside the table, or makes their rows NaN where only the device sees them', async (device) => {
  const engine = engineOf(device, 1)
  const table = engine.upload(Float32Array.from({ length: 12 }, (_, i) => i), [3, 4])
  for (const id of [-1, 3, 2 ** 31 - 1, -(2 ** 31)]) {
    const { data, shape } = values([3], [1, id, 2], 'int32')
    const { y } = engine.op('embedding', { y: { shape: [3, 4] }, table, ids: engine.upload(data, shape) })
    if (isAsynchronous(device)) expect([...(await y!.read()).data]).toEqual([4, 5, 6, 7, NaN, NaN, NaN, NaN, 8, 9, 10, 11])
    else await expect(y!.ready()).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  }
})
