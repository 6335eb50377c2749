// ops.def, the kernels and the tests mirror each other.

import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { loadBinding } from '../../lib/native/load.js'

const root = new URL('../../', import.meta.url)
const text = (path: string): string => readFileSync(new URL(path, root), 'utf8')
const names = [...text('csrc/ops.def').matchAll(/^VIN_OP\((\w+),/gm)].map((match) => match[1]!)

test('the addon has the ops of ops.def', () => {
  expect(names.length).toBeGreaterThan(0)
  expect(loadBinding().ops().map(({ name }) => name)).toEqual(names)
})

describe.each(names)('%s', (name) => {
  const backward = name.endsWith('_backward')
  const forward = backward ? name.slice(0, -'_backward'.length) : name

  test('has a kernel for the CPU', () => {
    expect(text(`csrc/cpu/${name}.cpp`)).toContain(`vin_status ${name}(vin_stream*`)
  })

  test('has a kernel for CUDA', () => {
    const file = `cuda/${name}.cu`
    const there = existsSync(new URL(file, root)) && text(file).includes(`extern "C" vin_status vin_cuda_${name}(vin_stream* `)
    expect(there, `${file} with vin_cuda_${name}`).toBe(true)
  })

  test('has a test', () => {
    expect(existsSync(new URL(`test/ops/${forward}.test.ts`, root)), `test/ops/${forward}.test.ts`).toBe(true)
    const source = text(`test/ops/${forward}.test.ts`)
    expect(source).toContain(`testOp('${forward}'`)
    if (backward) expect(source).toMatch(/^ {2}gradient: \{/m)
  })

  if (backward) test('belongs to a forward op', () => expect(names).toContain(forward))
})
