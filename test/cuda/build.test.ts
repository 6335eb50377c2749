// npm run build:cuda: what the compilers say of kernels, and what ends a build. The compilers themselves are fetched when a build asks for them, not here.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { root } from '../support/addon.js'

interface Kernel {
  name: string
  registers: number
  spills: number
  stack: number
}
const { checkKernels, kernelsOf, namesOf, stageProblem } = (await import(join(root, 'tools/cuda.mjs'))) as {
  checkKernels(images: { file: string; kernels: string[]; resources: Record<string, object[]> }[]): void
  kernelsOf(log: string): Kernel[]
  namesOf(source: string): string[]
  stageProblem(folder: string): string | undefined
}

const log = `ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'attention_kernel' for 'sm_80'
ptxas info    : Function properties for attention_kernel
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 98 registers, used 1 barriers, 568 bytes cmem[0]
ptxas info    : Compiling entry function 'attention_wide_kernel' for 'sm_80'
ptxas info    : Function properties for attention_wide_kernel
    64 bytes stack frame, 36 bytes spill stores, 36 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 568 bytes cmem[0]
`
const source = 'VIN_EMULATED_KERNEL(attention_wide_kernel)\n#endif\nVIN_EMULATED_KERNEL(attention_kernel)\n'

test('registers, stack and spills of each kernel are read from what ptxas says', () => {
  expect(kernelsOf(log)).toEqual([
    { name: 'attention_kernel', registers: 98, spills: 0, stack: 0 },
    { name: 'attention_wide_kernel', registers: 255, spills: 72, stack: 64 }
  ])
})

describe('a build ends', () => {
  const [good, spilling] = kernelsOf(log)
  const image = (...compiled: object[]) => [{ file: 'attention.fatbin', kernels: namesOf(source), resources: { 80: compiled } }]

  test('not, where all kernels are there and none spills', () => {
    expect(() => checkKernels(image(good!, { ...spilling, spills: 0 }))).not.toThrow()
  })
  test('at a kernel that spills', () => {
    expect(() => checkKernels(image(good!, spilling!))).toThrow('Expected attention_wide_kernel to keep its registers on sm_80 but it spills 72 bytes')
  })
  test('at a kernel that is missing, and at one that the source does not name', () => {
    expect(() => checkKernels(image(good!))).toThrow('Expected the kernels attention_kernel, attention_wide_kernel in attention.fatbin for sm_80 but found attention_kernel')
    expect(() => checkKernels(image(good!, { ...spilling, name: 'other_kernel', spills: 0 }))).toThrow('but found attention_kernel, other_kernel')
  })
  test.each([
    [['--toolkit', '11'], 'Expected --toolkit of 12, 13 but received 11'],
    [['--toolkit', '13', '--arch', '70'], 'Expected --arch of 75, 80, 86, 89, 90a, 100, 120 for CUDA 13 but received 70']
  ])('at %j, before anything is fetched', async (args, text) => {
    await expect(promisify(execFile)(process.execPath, [join(root, 'tools', 'cuda.mjs'), ...args])).rejects.toMatchObject({ code: 1, stderr: `${text}\n` })
  })
})

test('a kernel has one home: it is found by its name alone', () => {
  const names = readdirSync(join(root, 'cuda')).filter((name) => name.endsWith('.cu')).flatMap((name) => namesOf(readFileSync(join(root, 'cuda', name), 'utf8')))
  expect(names.length).toBeGreaterThan(47)
  expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([])
})

test('a package takes plug-ins of its own version and ABI, as their manifest has them', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vin-stage-'))
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  const manifest = { version, abi: 2, backends: [{ file: 'libvin_cuda.so', sha256: createHash('sha256').update('a plug-in').digest('hex') }] }
  const staged = (changes: object, content = 'a plug-in'): string | undefined => {
    writeFileSync(join(folder, 'manifest.json'), JSON.stringify({ ...manifest, ...changes }))
    writeFileSync(join(folder, 'libvin_cuda.so'), content)
    return stageProblem(folder)
  }
  try {
    expect(stageProblem(folder)).toBe('none is built; npm run build:cuda makes them')
    expect(staged({})).toBeUndefined()
    expect(staged({ version: '0.0.1' })).toMatch(/^those built are of version 0\.0\.1 and ABI 2, this is .* and ABI 2;/)
    expect(staged({ abi: 1 })).toMatch(/ABI 1, this is .* and ABI 2;/)
    expect(staged({}, 'another')).toBe('libvin_cuda.so is not what its manifest says; npm run build:cuda makes it anew')
  } finally {
    rmSync(folder, { recursive: true })
  }
})
