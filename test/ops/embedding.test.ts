import { expect, test } from 'vitest'
import { at, compute, indices, normal, values } from './operands.js'
import { devicesOf, engineOf, testOp, type OpCase } from './test-op.js'

const of = (title: string, n: number, [rows, D]: [number, number]): OpCase => ({
  title, inputs: { table: normal([rows, D]), ids: indices([n], rows) }, outputs: { y: { shape: [n, D] } }
})
const cases = [of('odd', 5, [9, 7]), of('repeated ids', 40, [3, 130]), of('model', 77, [512, 1152]), of('empty', 0, [4, 6])]

testOp('embedding', {
  cases,
  reference: ({ table, ids }, _, { y }) => ({ y: compute(y!, (n, c) => at(table!, ids!.data[n]!, c)) }),
  tolerance: {},
  layouts: { table: 'rows', y: 'rows' },
  // An id of the 40 occurs about 13 times: as many roundings of a sum of size √13.
  gradient: { of: { dtable: 'table' }, dy: 'y', added: ['dtable'], tolerance: { own: 4, largest: 16 }, layouts: { dtable: 'rows', dy: 'rows' }, cases: [cases[0]!, cases[1]!, cases[3]!] }
})

test.each(devicesOf('embedding'))('%s refuses ids outside the table', async (device) => {
  const engine = engineOf(device, 1)
  const table = engine.upload(new Float32Array(12), [3, 4])
  for (const id of [-1, 3]) {
    const { data, shape } = values([2], [0, id], 'int32')
    const { y } = engine.op('embedding', { y: { shape: [2, 4] }, table, ids: engine.upload(data, shape) })
    await expect(y!.ready()).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  }
})
