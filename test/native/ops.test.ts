// Ops by name: what the addon refuses, and that a failure is never lost.
import { afterAll, expect, test } from 'vitest'
import { loadBinding } from '../../lib/native/load.js'

const engine = loadBinding().createEngine({ device: 'cpu', threads: 1 })
afterAll(() => engine.dispose())

test('a failure shows on a tensor that is written in place', async () => {
  const y = engine.upload(new Float32Array(6), [2, 3])
  const x = engine.upload(new Float32Array(4), [2, 2])
  engine.op('gelu', { y, x })
  await expect(y.ready()).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  await expect(x.ready()).resolves.toBeUndefined()
})

test('an unknown op, field or missing operand throws in the line of the caller', () => {
  const x = engine.upload(new Float32Array(4), [2, 2])
  expect(() => engine.op('gleu', { y: { shape: [2, 2] }, x })).toThrow(/gleu/)
  expect(() => engine.op('gelu', { y: { shape: [2, 2] }, x, z: 1 })).toThrow(/received z/)
  expect(() => engine.op('gelu', { y: { shape: [2, 2] } })).toThrow(/for x of gelu/)
})
