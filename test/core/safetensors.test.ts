import { execFileSync } from 'node:child_process'
import { closeSync, linkSync, mkdirSync, mkdtempSync, openSync, readFileSync, readdirSync, realpathSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { bindingPath, loadBinding } from '../../lib/native/load.js'
import type { VinError } from '../../lib/errors.js'
import type { DType, NativeEngine, TypedArray } from '../../lib/native/binding.js'

const folder = mkdtempSync(join(tmpdir(), 'vin-safetensors-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const binding = loadBinding()

type Entry = { dtype?: unknown; shape?: unknown; data_offsets?: unknown }
const u8 = (begin: number, end: number): Entry => ({ dtype: 'U8', shape: [end - begin], data_offsets: [begin, end] })

function file(header: string | Buffer | Record<string, unknown>, data: Uint8Array = Buffer.alloc(0), length?: bigint): Buffer {
  const text = Buffer.isBuffer(header) ? header : Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const start = Buffer.alloc(8)
  start.writeBigUInt64LE(length ?? BigInt(text.length))
  return Buffer.concat([start, text, data])
}

function failureOf(work: () => unknown): VinError {
  try {
    work()
  } catch (error) {
    return error as VinError
  }
  throw new Error('it was accepted')
}

/** Reads the bytes as a buffer and as a file: one error, which differs only in the name. */
function refusal(bytes: Uint8Array): VinError {
  const fromBuffer = failureOf(() => binding.readSafetensors(bytes))
  const path = join(folder, 'refused.safetensors')
  writeFileSync(path, bytes)
  const fromFile = failureOf(() => binding.readSafetensors(path))
  expect(fromFile.message.replace(path, 'buffer')).toBe(fromBuffer.message)
  expect(fromFile.code).toBe(fromBuffer.code)
  expect(fromFile.details['file']).toBe(path)
  return fromBuffer
}

describe('header length', () => {
  const body = Buffer.from('{}')
  const cases: [string, Buffer, string][] = [
    ['2^63', file(body, undefined, 1n << 63n), 'buffer: expected a header of at most 16777216 bytes (limit) but found 9223372036854775808'],
    ['2^64 - 1', file(body, undefined, (1n << 64n) - 1n), 'buffer: expected a header of at most 16777216 bytes (limit) but found 18446744073709551615'],
    ['0', file(body, undefined, 0n), 'buffer: expected a header of at least 2 bytes but found 0'],
    ['file size - 7', file(body, undefined, 3n), "buffer: expected a header that ends within the file's 10 bytes but found one of 3 bytes after the first 8"],
    ['16 MiB + 1', file(body, undefined, (16n << 20n) + 1n), 'buffer: expected a header of at most 16777216 bytes (limit) but found 16777217'],
    ['100,000,001', file(body, undefined, 100_000_001n), 'buffer: expected a header of at most 16777216 bytes (limit) but found 100000001'],
  ]
  test.each(cases)('%s', (_, bytes, message) => {
    const error = refusal(bytes)
    expect(error.code).toBe('ERR_VIN_FORMAT')
    expect(error.message).toBe(message)
  })

  test('files shorter than the length itself', () => {
    for (let size = 0; size < 8; size++) {
      expect(refusal(Buffer.alloc(size)).message).toBe(`buffer: expected at least the 8 bytes of the header's length but found a file of ${size}`)
    }
  })

  test('is compared with the limits and the real file before memory is taken', () => {
    const paths = cases.map(([, bytes], i) => {
      const path = join(folder, `length-${i}.safetensors`)
      writeFileSync(path, bytes)
      return path
    })
    // A sparse file large enough for the header it declares.
    const sparse = join(folder, 'sparse.safetensors')
    writeFileSync(sparse, file(body, undefined, 1n << 30n))
    truncateSync(sparse, 2 ** 31)
    paths.push(sparse)
    for (const path of paths) failureOf(() => binding.readSafetensors(path))
    const before = process.memoryUsage.rss()
    const errors = paths.map((path) => failureOf(() => binding.readSafetensors(path)))
    const growth = process.memoryUsage.rss() - before
    expect(errors.map(({ code }) => code)).toEqual(paths.map(() => 'ERR_VIN_FORMAT'))
    expect(growth).toBeLessThan(1 << 20)
  })
})

describe('limits', () => {
  const empty: Entry = { dtype: 'U8', shape: [0], data_offsets: [0, 0] }
  const cases: [string, () => Buffer, RegExp][] = [
    ['65,537 tensors', () => file(Object.fromEntries(Array.from({ length: 65_537 }, (_, i) => [`t${i}`, empty]))), /^buffer: expected at most 65536 tensors \(limit\) but found 65537$/],
    ['rank 9', () => file({ a: { dtype: 'U8', shape: Array(9).fill(1), data_offsets: [0, 1] } }, Buffer.alloc(1)), /^buffer: expected a rank of at most 8 \(limit\) for tensor "a" but found 9$/],
    ['a name of 513 bytes', () => file({ ['é'.repeat(256) + 'x']: u8(0, 1) }, Buffer.alloc(1)), /^buffer: expected a name of at most 512 bytes \(limit\) for tensor "é+…" but found 513 bytes$/],
  ]
  test.each(cases)('%s, in less than 200 ms', (_, make, message) => {
    const bytes = make()
    // Processor time: other processes of the machine do not count.
    const start = process.cpuUsage()
    const error = failureOf(() => binding.readSafetensors(bytes))
    const { user, system } = process.cpuUsage(start)
    expect((user + system) / 1000).toBeLessThan(200)
    expect(error.code).toBe('ERR_VIN_FORMAT')
    expect(error.message).toMatch(message)
  })

  test('at the limits everything reads', () => {
    const name = 'é'.repeat(256)
    const bytes = file({ [name]: { dtype: 'U8', shape: Array(8).fill(1), data_offsets: [0, 1] } }, Buffer.from([7]))
    expect(binding.readSafetensors(bytes).tensors[name]?.shape).toEqual(Array(8).fill(1))
    const many = file(Object.fromEntries(Array.from({ length: 65_536 }, (_, i) => [`t${i}`, empty])))
    expect(Object.keys(binding.readSafetensors(many, { headerOnly: true }).tensors)).toHaveLength(65_536)
  })

  test('can be lowered', () => {
    const bytes = file({ a: u8(0, 1), b: u8(1, 2) }, Buffer.alloc(2))
    expect(failureOf(() => binding.readSafetensors(bytes, { limits: { tensors: 1 } })).message).toBe('buffer: expected at most 1 tensors (limit) but found 2')
  })
})

describe('spans', () => {
  const cases: [string, Buffer, string][] = [
    ['an overlap', file({ a: u8(0, 2), b: u8(1, 3) }, Buffer.alloc(3)), 'buffer: expected data from byte 2 on for tensor "b" but found an overlap: it begins at byte 1, inside tensor "a"'],
    [
      'ten tensors that share one span',
      file(Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`t${i}`, u8(0, 4)])), Buffer.alloc(4)),
      'buffer: expected data from byte 4 on for tensor "t1" but found an overlap: it begins at byte 0, inside tensor "t0"',
    ],
    ['a hole', file({ a: u8(0, 1), b: u8(2, 3) }, Buffer.alloc(3)), 'buffer: expected data from byte 1 on for tensor "b" but found a hole: it begins at byte 2'],
    ['a hole at the start', file({ a: u8(1, 2) }, Buffer.alloc(2)), 'buffer: expected data from byte 0 on for tensor "a" but found a hole: it begins at byte 1'],
    ['trailing bytes', file({ a: u8(0, 1) }, Buffer.from('xPK')), 'buffer: expected 1 bytes of data but found 3: the last 2 trailing bytes belong to no tensor'],
    ['data without tensors', file({}, Buffer.alloc(5)), 'buffer: expected 0 bytes of data but found 5: the last 5 trailing bytes belong to no tensor'],
    [
      'an end before the begin',
      file({ a: { dtype: 'U8', shape: [1], data_offsets: [2, 1] } }, Buffer.alloc(2)),
      'buffer: expected data that begins before it ends for tensor "a" but found begin 2, end 1',
    ],
    ['an end past the file', file({ a: u8(0, 6) }, Buffer.alloc(4)), 'buffer: expected data within the file\'s 4 bytes of data for tensor "a" but found an end at byte 6'],
    ['a negative begin', file({ a: { dtype: 'U8', shape: [1], data_offsets: [-1, 0] } }), 'buffer: expected integers of at least 0 as data_offsets for tensor "a" but found -1'],
    ['three offsets', file({ a: { dtype: 'U8', shape: [1], data_offsets: [0, 1, 1] } }, Buffer.alloc(1)), 'buffer: expected two integers as data_offsets for tensor "a" but found an array of 3'],
    ['an offset beyond 64 bits', file('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551617]}}'), 'buffer: expected integers of at least 0 as data_offsets for tensor "a" but found 1.8446744073709552e+19'],
    ['a duplicate key', file('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', Buffer.alloc(2)), 'buffer: expected every key of an object once but found "a" twice'],
  ]
  test.each(cases)('%s', (_, bytes, message) => {
    const error = refusal(bytes)
    expect(error.code).toBe('ERR_VIN_FORMAT')
    expect(error.message).toBe(message)
  })

  test('every refusal has its own text', () => {
    const texts = cases.map(([, bytes]) => failureOf(() => binding.readSafetensors(bytes)).message)
    expect(new Set(texts).size).toBe(cases.length)
  })
})

describe('shapes', () => {
  const shaped = (shape: unknown, bytes = 4, dtype = 'F32') => file({ 'blocks.0.weight': { dtype, shape, data_offsets: [0, bytes] } }, Buffer.alloc(bytes))
  const cases: [string, Buffer, string, string][] = [
    ['[2^32, 2^32]', shaped([2 ** 32, 2 ** 32]), 'a shape whose size fits 64 bits', '[4294967296, 4294967296] of F32'],
    ['[2^62] of F32', file('{"blocks.0.weight":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}'), 'a shape whose size fits 64 bits', '[4611686018427387904] of F32'],
    ['an overflow hidden by a zero', shaped([0, 2 ** 32, 2 ** 32], 0), 'a shape whose size fits 64 bits', '[0, 4294967296, 4294967296] of F32'],
    ['-1', shaped([-1]), 'integers of at least 0 as shape', '-1'],
    ['1.5', shaped([1.5]), 'integers of at least 0 as shape', '1.5'],
    ['"3"', shaped(['3']), 'integers of at least 0 as shape', '"3"'],
    ['a number', shaped(1), 'an array as shape', '1'],
    ['more bytes than the span', shaped([2, 2], 12), '16 bytes of data, which is [2, 2] of F32,', '12'],
    ['fewer bytes than the span', shaped([2], 12, 'BF16'), '4 bytes of data, which is [2] of BF16,', '12'],
  ]
  test.each(cases)('%s', (_, bytes, expected, found) => {
    const error = refusal(bytes)
    expect(error.code).toBe('ERR_VIN_FORMAT')
    expect(error.message).toBe(`buffer: expected ${expected} for tensor "blocks.0.weight" but found ${found}`)
    expect(error.details).toMatchObject({ file: 'buffer', tensor: 'blocks.0.weight', expected })
    expect(String(error.details['found'])).toBe(found)
  })
})

describe('header text', () => {
  const cases: [string, Buffer, string][] = [
    ['bytes that are not UTF-8', file(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x30, 0x7d])), 'buffer: expected UTF-8 but found another byte at offset 2'],
    ['text that is not JSON', file('{"a"}'), 'buffer: expected \':\' at line 1, column 5 but found "}"'],
    ['a leading space', file(' {}'), 'buffer: expected \'{\' as the first byte of the header but found " "'],
    ['an array', file('[]'), 'buffer: expected \'{\' as the first byte of the header but found "["'],
    ['text after the object', file('{}{}'), 'buffer: expected the end of the file at line 1, column 3 but found "{"'],
    ['an entry that is a number', file({ a: 1 }), 'buffer: expected an object with dtype, shape and data_offsets for tensor "a" but found 1'],
    ['an entry without dtype', file({ a: { shape: [0], data_offsets: [0, 0] } }), 'buffer: expected dtype, shape and data_offsets for tensor "a" but found no dtype'],
    ['an entry with more keys', file({ a: { ...u8(0, 0), offset: 3 } }), 'buffer: expected only dtype, shape and data_offsets for tensor "a" but found "offset"'],
    ['a dtype that is a number', file({ a: { ...u8(0, 0), dtype: 5 } }), 'buffer: expected a string as dtype for tensor "a" but found 5'],
    ['__metadata__ that is a string', file({ __metadata__: 'pt' }), 'buffer: expected an object of strings as __metadata__ but found "pt"'],
    ['__metadata__ with a number', file({ __metadata__: { step: 3 } }), 'buffer: expected strings in __metadata__ but found 3 for "step"'],
  ]
  test.each(cases)('%s', (_, bytes, message) => {
    const error = refusal(bytes)
    expect(error.code).toBe('ERR_VIN_FORMAT')
    expect(error.message).toBe(message)
  })

  test('trailing spaces, scalars and empty tensors are allowed', () => {
    const { tensors, metadata } = binding.readSafetensors(file(JSON.stringify({
      __metadata__: { format: 'pt' },
      scalar: { dtype: 'F32', shape: [], data_offsets: [0, 4] },
      empty: { dtype: 'F32', shape: [0, 7], data_offsets: [0, 0] },
      last: { dtype: 'U8', shape: [3, 0], data_offsets: [4, 4] },
    }) + '    ', Buffer.from(new Float32Array([1.5]).buffer)))
    expect(tensors['scalar']).toEqual({ dtype: 'F32', shape: [], data: new Float32Array([1.5]) })
    expect(tensors['empty']).toEqual({ dtype: 'F32', shape: [0, 7], data: new Float32Array(0) })
    expect(tensors['last']?.data).toHaveLength(0)
    expect(metadata['format']).toBe('pt')
  })

  test('metadata of null is none, as in the published reader', () => {
    const { tensors, metadata } = binding.readSafetensors(file({ __metadata__: null, a: u8(0, 2) }, Buffer.from([1, 2])))
    expect({ ...metadata }).toEqual({})
    expect(Object.keys(tensors)).toEqual(['a'])
  })

  test('a written file says format pt, which transformers asks for, unless another is given', () => {
    const path = join(folder, 'format.safetensors')
    const tensors = { a: { data: new Float32Array(1), shape: [1] } }
    const given: (Record<string, string> | undefined)[] = [undefined, {}, { step: '3' }, { format: 'np' }]
    const formats = given.map((metadata) => {
      binding.writeSafetensors(path, tensors, metadata)
      return { ...binding.readSafetensors(path).metadata }
    })
    expect(formats).toEqual([{ format: 'pt' }, { format: 'pt' }, { format: 'pt', step: '3' }, { format: 'np' }])
  })

  test('a tensor named __proto__ is plain data', () => {
    const bytes = file(`{"__metadata__":{"__proto__":"x"},"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, Buffer.from([9]))
    const before = Object.getOwnPropertyNames(Object.prototype)
    const { tensors, metadata } = binding.readSafetensors(bytes)
    expect(Object.keys(tensors)).toEqual(['__proto__'])
    expect(Object.entries(tensors)[0]?.[1].data).toEqual(new Uint8Array([9]))
    expect(Object.entries(metadata)).toEqual([['__proto__', 'x']])
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before)
  })
})

test.each(['F8_E4M3', 'F8_E5M2', 'F4', 'BOOL', 'U64', 'float32', ''])('dtype "%s" is not supported, which names the tensor', (dtype) => {
  const error = refusal(file({ a: u8(0, 1), 'blocks.1.qkv': { dtype, shape: [1], data_offsets: [1, 2] } }, Buffer.alloc(2)))
  expect(error.code).toBe('ERR_VIN_NOT_SUPPORTED')
  expect(error.message).toBe(`buffer: tensor "blocks.1.qkv" has dtype "${dtype}"; supported are F64 F32 F16 BF16 I64 I32 U8`)
  expect(error.details['tensor']).toBe('blocks.1.qkv')
})

describe('values', () => {
  const stored = (dtype: string, array: TypedArray | Uint16Array | BigInt64Array) => {
    const data = Buffer.from(array.buffer)
    return binding.readSafetensors(file({ x: { dtype, shape: [array.length], data_offsets: [0, data.length] } }, data)).tensors['x']?.data
  }

  test('every dtype reads as its numbers', () => {
    expect(stored('F32', new Float32Array([1, -0, NaN, Infinity, 1e-45]))).toEqual(new Float32Array([1, -0, NaN, Infinity, 1e-45]))
    expect(Array.from(stored('F64', new Float64Array([Math.PI, -0])) ?? [])).toEqual([Math.PI, -0])
    expect(Array.from(stored('I64', new BigInt64Array([-5n, 2n ** 53n])) ?? [])).toEqual([-5, 2 ** 53])
    expect(Array.from(stored('I32', new Int32Array([-(2 ** 31), 2 ** 31 - 1])) ?? [])).toEqual([-(2 ** 31), 2 ** 31 - 1])
    expect(stored('U8', new Uint8Array([0, 255]))).toEqual(new Uint8Array([0, 255]))
  })

  test('each of the 65,536 halves reads as the formula of IEEE 754 says', () => {
    const halves = Uint16Array.from({ length: 65_536 }, (_, i) => i)
    const expected = Float32Array.from(halves, (h) => {
      const sign = h >> 15 ? -1 : 1
      const exponent = (h >> 10) & 31
      const mantissa = h & 1023
      if (exponent === 31) return mantissa ? NaN : sign * Infinity
      return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15)
    })
    expect(stored('F16', halves)).toEqual(expected)
  })

  test('each of the 65,536 bfloat16 values reads as the upper half of its float', () => {
    const halves = Uint16Array.from({ length: 65_536 }, (_, i) => i)
    const expected = new Float32Array(Uint32Array.from(halves, (h) => h * 65_536).buffer)
    expect(stored('BF16', halves)).toEqual(expected)
  })

  // The nearest of all values a format has, found by search; on a tie the one with an even pattern.
  const nearest = (values: Float32Array, number: number): number => {
    const magnitude = Math.abs(number)
    let low = 0
    let high = values.length - 1
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if ((values[middle] as number) <= magnitude) low = middle
      else high = middle
    }
    const below = magnitude - (values[low] as number)
    const above = (values[high] as number) - magnitude
    const pattern = below < above ? low : above < below ? high : low % 2 === 0 ? low : high
    return Math.sign(number) * (values[pattern] as number)
  }

  test.each([['float16', 'F16', 0x7bff], ['bfloat16', 'BF16', 0x7f7f]] as const)('writing %s rounds to the nearest, ties to even', (dtype, name, largest) => {
    const all = stored(name, Uint16Array.from({ length: largest + 1 }, (_, i) => i)) as Float32Array
    const path = join(folder, `${dtype}.safetensors`)
    const limit = all[largest] as number
    const check = (numbers: Float32Array) => {
      binding.writeSafetensors(path, { x: { data: numbers, shape: [numbers.length], dtype } })
      const read = binding.readSafetensors(path).tensors['x']
      expect(read?.dtype).toBe(name)
      expect(Array.from(read?.data ?? [], (value) => value + 0)).toEqual(Array.from(numbers, (number) => nearest(all, number) + 0))
    }
    // Midpoints of neighbours are the ties; their neighbours in fp32 fall to either side.
    const ties = Float32Array.from({ length: 2000 }, (_, i) => {
      const at = Math.floor((i * (largest - 1)) / 2000)
      return ((all[at] as number) + (all[at + 1] as number)) / 2
    })
    const bits = new Uint32Array(ties.buffer)
    check(ties)
    check(new Float32Array(bits.map((b) => b + 1).buffer))
    check(new Float32Array(bits.map((b) => Math.max(0, b - 1)).buffer))
    fc.assert(fc.property(fc.float32Array({ noNaN: true, noDefaultInfinity: true, min: -limit, max: limit, minLength: 1, maxLength: 64 }), check), { numRuns: 30 })
  })

  test('a value that float16 cannot hold is an error and not infinity', () => {
    const path = join(folder, 'too-large.safetensors')
    const write = (value: number) => binding.writeSafetensors(path, { 'blocks.0.weight': { data: new Float32Array([1, value]), shape: [2], dtype: 'float16' } })
    write(65_519)
    expect(binding.readSafetensors(path).tensors['blocks.0.weight']?.data).toEqual(new Float32Array([1, 65_504]))
    const error = failureOf(() => write(65_520))
    expect(error.code).toBe('ERR_VIN_NONFINITE')
    expect(error.message).toMatch(/^Expected values below 65520 for float16 but tensor "blocks.0.weight" holds 65520\.0+ at element 1; write bfloat16 or float32 instead$/)
    expect(binding.readSafetensors(path).tensors['blocks.0.weight']?.data).toEqual(new Float32Array([1, 65_504]))
  })
})

describe('writing', () => {
  const arrays: Record<string, (length: number) => fc.Arbitrary<TypedArray>> = {
    F32: (length) => fc.float32Array({ minLength: length, maxLength: length }),
    F64: (length) => fc.float64Array({ minLength: length, maxLength: length }),
    I32: (length) => fc.int32Array({ minLength: length, maxLength: length }),
    U8: (length) => fc.uint8Array({ minLength: length, maxLength: length }),
  }
  const tensor = fc.tuple(fc.constantFrom('F32', 'F64', 'I32', 'U8'), fc.array(fc.nat({ max: 4 }), { maxLength: 4 })).chain(([dtype, shape]) =>
    (arrays[dtype] as (length: number) => fc.Arbitrary<TypedArray>)(shape.reduce((a, b) => a * b, 1)).map((data) => ({ dtype, shape, data })))
  const loneSurrogate = /\p{Surrogate}/u
  const name = fc.string({ unit: 'grapheme', maxLength: 24 }).filter((text) => text !== '__metadata__' && text !== '__proto__' && !loneSurrogate.test(text))
  const text = fc.string({ unit: 'grapheme', maxLength: 24 }).filter((value) => !loneSurrogate.test(value))
  const key = text.filter((value) => value !== '__proto__')

  test('what is written reads back, and every tensor is aligned to its dtype', () => {
    const path = join(folder, 'round.safetensors')
    fc.assert(fc.property(fc.dictionary(name, tensor, { maxKeys: 6 }), fc.dictionary(key, text, { maxKeys: 4 }), (tensors, metadata) => {
      binding.writeSafetensors(path, Object.fromEntries(Object.entries(tensors).map(([key, { shape, data }]) => [key, { shape, data }])), metadata)
      const read = binding.readSafetensors(path)
      expect(Object.keys(read.tensors).sort()).toEqual(Object.keys(tensors).sort())
      expect({ ...read.metadata }).toEqual({ format: 'pt', ...metadata })
      for (const [key, { dtype, shape, data }] of Object.entries(tensors)) {
        expect(read.tensors[key]).toMatchObject({ dtype, shape })
        expect(Array.from(read.tensors[key]?.data ?? [])).toEqual(Array.from(data))
      }
      const bytes = readFileSync(path)
      const length = Number(bytes.readBigUInt64LE())
      expect(length % 8).toBe(0)
      const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<string, { dtype: string; data_offsets: [number, number] }>
      for (const [key, entry] of Object.entries(header)) {
        if (key !== '__metadata__') expect(entry.data_offsets[0] % { F64: 8, F32: 4, I32: 4, U8: 1 }[entry.dtype as 'F32']).toBe(0)
      }
    }), { numRuns: 60 })
    expect(readdirSync(folder).filter((entry) => entry.endsWith('.tmp'))).toEqual([])
  })

  test('more than one slice reads and writes', () => {
    const path = join(folder, 'slices.safetensors')
    const data = Float32Array.from({ length: (1 << 21) + 7 }, (_, i) => i % 997)
    for (const dtype of ['float32', 'bfloat16', 'float16'] as DType[]) {
      binding.writeSafetensors(path, { x: { data, shape: [data.length], dtype } })
      const read = binding.readSafetensors(path).tensors['x']?.data as Float32Array
      // 996 needs ten bits: float16 holds it exactly, bfloat16 to within one of eight bits.
      const tolerance = dtype === 'bfloat16' ? 2 : 0
      expect(read.length).toBe(data.length)
      expect(read.every((value, i) => Math.abs(value - (data[i] as number)) <= tolerance)).toBe(true)
    }
  })

  test('a file replaces the one before as a whole', () => {
    const path = join(folder, 'replaced.safetensors')
    binding.writeSafetensors(path, { a: { data: new Float32Array(1000), shape: [1000] } })
    const handle = openSync(path, 'r')
    binding.writeSafetensors(path, { b: { data: new Float32Array(1), shape: [1] } })
    // The old file is still whole for whoever has it open.
    const old = readFileSync(handle)
    closeSync(handle)
    expect(Object.keys(binding.readSafetensors(old).tensors)).toEqual(['a'])
    expect(Object.keys(binding.readSafetensors(path).tensors)).toEqual(['b'])
  })

  test('a folder that is not there, or a folder in place of the file, is ERR_VIN_DISK and leaves nothing', () => {
    const place = mkdtempSync(join(folder, 'disk-'))
    mkdirSync(join(place, 'taken', 'inside'), { recursive: true })
    const tensors = { a: { data: new Float32Array(1), shape: [1] } }
    const absent = failureOf(() => binding.writeSafetensors(join(place, 'absent', 'x.safetensors'), tensors))
    expect(absent).toMatchObject({ code: 'ERR_VIN_DISK', details: { reason: 'ENOENT' } })
    const taken = failureOf(() => binding.writeSafetensors(join(place, 'taken'), tensors))
    expect(taken).toMatchObject({ code: 'ERR_VIN_DISK', details: { reason: 'EISDIR' } })
    expect(readdirSync(place)).toEqual(['taken'])
  })

  test('a write that the system cuts off is ERR_VIN_DISK, keeps the old file and removes the temporary one', () => {
    const place = mkdtempSync(join(folder, 'full-'))
    const path = join(place, 'x.safetensors')
    binding.writeSafetensors(path, { a: { data: new Float32Array([42]), shape: [1] } })
    // A limit on file size stands in for a full disk: the write stops in the middle with EFBIG. The signal that comes along is ignored.
    const script = `
      const binding = require(process.argv[1])
      try {
        binding.writeSafetensors(process.argv[2], { a: { data: new Float32Array(1 << 20), shape: [1 << 20] } })
      } catch (error) {
        process.stdout.write(JSON.stringify({ code: error.code, message: error.message, details: error.details }))
      }`
    const shell = `trap '' XFSZ; ulimit -f 1024; exec "$0" -e "$1" "$2" "$3"`
    const output = execFileSync('/bin/sh', ['-c', shell, process.execPath, script, bindingPath() ?? '', path], { encoding: 'utf8' })
    expect(JSON.parse(output)).toMatchObject({ code: 'ERR_VIN_DISK', message: `Could not write ${path}: File too large`, details: { reason: 'EFBIG' } })
    expect(readdirSync(place)).toEqual(['x.safetensors'])
    expect(binding.readSafetensors(path).tensors['a']?.data).toEqual(new Float32Array([42]))
  })

  test('wrong arguments are refused before a file is made', () => {
    const place = mkdtempSync(join(folder, 'arguments-'))
    const path = join(place, 'x.safetensors')
    const data = new Float32Array(1)
    expect(failureOf(() => binding.writeSafetensors(path, { ['x'.repeat(513)]: { data, shape: [1] } })).code).toBe('ERR_OUT_OF_RANGE')
    expect(failureOf(() => binding.writeSafetensors(path, { a: { data, shape: Array(9).fill(1) } })).message).toBe('Expected a rank of at most 8 for tensor "a" but received 9')
    expect(failureOf(() => binding.writeSafetensors(path, { __metadata__: { data, shape: [1] } })).code).toBe('ERR_OUT_OF_RANGE')
    expect(failureOf(() => binding.writeSafetensors(path, { a: { data, shape: [2] } })).code).toBe('ERR_OUT_OF_RANGE')
    expect(readdirSync(place)).toEqual([])
  })
})

describe('files of another kind', () => {
  const pad = (start: string | Buffer, size = 200) => Buffer.concat([Buffer.from(start as string), Buffer.alloc(Math.max(0, size - start.length))])
  const pickle = Buffer.from([0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e, 0x80])
  test.each<[string, Buffer, RegExp]>([
    ['a Git LFS pointer', Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 4835598472\n`), /found a Git LFS pointer; run git lfs pull/],
    ['an HTML page', Buffer.from('\n<!DOCTYPE html><html><head><title>Sign in</title></head></html>'), /found an HTML or XML page, .*; download the file again/],
    ['an XML error', Buffer.from('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'), /found an HTML or XML page/],
    ['GGUF', pad(Buffer.from('GGUF\u0003\0\0\0')), /found a GGUF file; take the model's safetensors files/],
    ['a checkpoint of torch.save', pad(Buffer.from('PK\u0003\u0004\0\0\b\b\0\0')), /found a zip archive, .*convert .* with safetensors\.torch\.save_file/],
    ['an older checkpoint of torch.save', pad(pickle), /found a Python pickle; convert it with safetensors\.torch\.save_file/],
    ['a pickle of protocol 4', pad(Buffer.from([0x80, 4, 0x95, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x7d])), /found a Python pickle/],
    ['gzip', pad(Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])), /found a gzip file; unpack it/],
    ['HDF5', pad(Buffer.from([0x89, 0x48, 0x44, 0x46, 13, 10, 26, 10])), /found an HDF5 file/],
    ['NumPy', pad(Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0])), /found a NumPy array/],
    ['an error in JSON', Buffer.from('{"error":"Repository not found"}'), /found a text that begins "\{\\"error\\":\\"Repository not found\\"\}"; download the file again/],
    ['an error in words', Buffer.from('Access to model org/name is restricted.'), /found a text that begins "Access to model org\/name is restricted\."/]
  ])('%s named .safetensors is said as that', (_, bytes, message) => {
    const error = refusal(bytes)
    expect(error.code).toBe('ERR_VIN_FORMAT')
    expect(error.message).toMatch(/^buffer: expected a safetensors file but found /)
    expect(error.message).toMatch(message)
  })

  test('with a limit above what their first bytes say, the name is the same', () => {
    const error = failureOf(() => binding.readSafetensors(pad(Buffer.from('PK\u0003\u0004\0\0\0\0')), { limits: { headerBytes: 2 ** 40 } }))
    expect(error.message).toContain('found a zip archive')
  })

  test.each([
    ['a Git LFS pointer', 'version https://git-lfs.github.com/spec/v1\noid sha256:0\n', 'a Git LFS pointer; run git lfs pull'],
    ['an HTML page', '<html><body>404</body></html>', 'an HTML or XML page']
  ])('%s named config.json is said as that', (_, text, found) => {
    expect(failureOf(() => binding.parseJson(Buffer.from(text), 'config.json')).message).toContain(`config.json: expected JSON but found ${found}`)
  })
})

describe('files', () => {
  test('an absent file, a folder and a pipe have their own errors', () => {
    expect(failureOf(() => binding.readSafetensors(join(folder, 'absent.safetensors')))).toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT' })
    expect(failureOf(() => binding.readSafetensors(folder)).message).toBe(`${folder}: expected a regular file but found a folder`)
    const pipe = join(folder, 'pipe')
    execFileSync('mkfifo', [pipe])
    expect(failureOf(() => binding.readSafetensors(pipe)).message).toBe(`${pipe}: expected a regular file but found a pipe`)
  })

  test('a file that is truncated while it is read is an error or a finished read, never a crash', async () => {
    const path = join(folder, 'shrinking.safetensors')
    const bytes = 32 << 20
    const header = Buffer.from(JSON.stringify({ a: { dtype: 'F32', shape: [bytes / 4], data_offsets: [0, bytes] } }))
    const whole = 8 + header.length + bytes
    writeFileSync(path, file(header))
    truncateSync(path, whole)
    const worker = new Worker(`
      const { ftruncateSync, openSync } = require('node:fs')
      const { workerData: { path, whole } } = require('node:worker_threads')
      const handle = openSync(path, 'r+')
      for (;;) {
        ftruncateSync(handle, 4096)
        ftruncateSync(handle, whole)
      }`, { eval: true, workerData: { path, whole } })
    try {
      const texts = new Set<string>()
      const deadline = Date.now() + 30_000
      while (![...texts].some((text) => text.includes('as when it was opened')) && Date.now() < deadline) {
        try {
          const { tensors } = binding.readSafetensors(path)
          expect(tensors['a']?.data).toHaveLength(bytes / 4)
        } catch (error) {
          expect((error as VinError).code).toBe('ERR_VIN_FORMAT')
          texts.add((error as VinError).message)
        }
        await new Promise((resolve) => setImmediate(resolve))
      }
      expect([...texts].some((text) => /expected \d+ bytes as when it was opened but found the end at byte \d+$/.test(text))).toBe(true)
    } finally {
      await worker.terminate()
    }
  })
})

describe('weights of a model', () => {
  const config = { vocab_size: 8, d_model: 4, d_kv: 2, d_ff: 8, num_layers: 1, num_heads: 2, relative_attention_num_buckets: 8, relative_attention_max_distance: 16 }
  let engine: NativeEngine
  let weights: Record<string, { data: Float32Array; shape: number[] }>
  beforeAll(async () => {
    engine = binding.createEngine({ device: 'cpu', threads: 1 })
    const model = await engine.create('t5', config, 1n)
    weights = Object.fromEntries(model.weights().map(({ name, shape }) => [name, { data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.5), shape }]))
    model.dispose()
  })
  afterAll(() => engine.dispose())

  const load = (...files: string[]) => engine.load('t5', config, files)
  const failure = async (...files: string[]): Promise<VinError> => {
    try {
      await load(...files)
    } catch (error) {
      return error as VinError
    }
    throw new Error('it was accepted')
  }
  const write = (name: string, tensors: Record<string, { data: Float32Array; shape: number[] }>) => {
    const path = join(folder, name)
    binding.writeSafetensors(path, tensors)
    return path
  }

  test('missing, unexpected and wrong-shaped tensors are listed, and nothing stays loaded', async () => {
    const tensors: typeof weights = { ...weights, 'encoder.extra': { data: new Float32Array(1), shape: [1] } }
    const [missing, wrong] = Object.keys(weights).slice(-2) as [string, string]
    delete tensors[missing]
    tensors[wrong] = { data: new Float32Array(3), shape: [3] }
    const path = write('wrong.safetensors', tensors)
    const error = await failure(path)
    const shape = `[${weights[wrong]?.shape.join(', ')}]`
    expect(error.code).toBe('ERR_VIN_FORMAT')
    expect(error.message).toBe(`${path}: expected the ${Object.keys(weights).length} tensors of this config but found missing 1: ${missing}; unexpected 1: encoder.extra; ` +
      `of another shape 1: ${wrong} (expected ${shape}, found [3])`)
    expect(error.details).toMatchObject({ missing, unexpected: 'encoder.extra' })
    expect(binding.memory()).toMatchObject({ bytes: 0, handles: 0 })
  })

  test('known buffers of published checkpoints are passed over', async () => {
    const extra = { data: new Float32Array(1), shape: [1] }
    const model = await load(write('known.safetensors', { ...weights, 'decoder.block.0.weight': extra, 'lm_head.weight': extra, pos_embed_temporal: extra, 'loss.logvar': extra }))
    expect(model.weights().map(({ name }) => name).sort()).toEqual(Object.keys(weights).sort())
    model.dispose()
  })

  test.each([[NaN, 'NaN'], [Infinity, 'an infinite value'], [-Infinity, 'an infinite value']])('%s in a weight is an error that names the tensor', async (value, word) => {
    const name = Object.keys(weights).at(-1) as string
    const data = Float32Array.from((weights[name] as { data: Float32Array }).data)
    data[2] = value
    const path = write('nonfinite.safetensors', { ...weights, [name]: { data, shape: weights[name]?.shape ?? [] } })
    const error = await failure(path)
    expect(error.code).toBe('ERR_VIN_FORMAT')
    expect(error.message).toBe(`${path}: expected finite values for tensor "${name}" but found ${word} at element 2`)
  })

  describe('in shards', () => {
    const place = mkdtempSync(join(folder, 'shards-'))
    const index = join(place, 'model.safetensors.index.json')
    const [first, second] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const
    let map: Record<string, string>
    beforeAll(() => {
      const names = Object.keys(weights)
      map = Object.fromEntries(names.map((name, i) => [name, i % 2 ? second : first]))
      for (const shard of [first, second]) {
        binding.writeSafetensors(join(place, shard), Object.fromEntries(names.filter((name) => map[name] === shard).map((name) => [name, weights[name] as { data: Float32Array; shape: number[] }])))
      }
    })
    const withMap = (changes: Record<string, unknown>) => writeFileSync(index, JSON.stringify({ metadata: { total_size: 1 }, weight_map: { ...map, ...changes } }))

    test('all tensors are found', async () => {
      withMap({})
      const model = await load(index)
      const name = Object.keys(weights)[0] as string
      expect((await model.weight(name).read()).data).toEqual(weights[name]?.data)
      model.dispose()
    })

    const outside = join(folder, 'outside.safetensors')
    const names: [string, unknown][] = [
      ['a path upwards', '../../etc/passwd'], ['a path upwards to a model', '../outside.safetensors'], ['an absolute path', '/etc/passwd'], ['an absolute path to a model', outside],
      ['a sub-folder', 'sub/model.safetensors'], ['a backslash', '..\\outside.safetensors'], ['NUL', 'model\0.safetensors'], ['another extension', 'model.bin'], ['two dots', '..'],
      ['nothing', ''], ['a number', 5], ['null', null],
    ]
    test.each(names)('%s as a shard is refused', async (_, shard) => {
      const name = Object.keys(weights)[0] as string
      withMap({ [name]: shard })
      const error = await failure(index)
      expect(error.code).toBe('ERR_VIN_FORMAT')
      expect(error.message).toContain(`${index}: expected the base name of a .safetensors file in the same folder for tensor "${name}" but found `)
    })

    test('a symbolic link and a hard link are refused although their target is good, before another shard is opened', async () => {
      // `first` is damaged: an error about the link shows that the links were checked before any shard was opened.
      const whole = readFileSync(join(place, first))
      writeFileSync(outside, readFileSync(join(place, second)))
      rmSync(join(place, second))
      writeFileSync(join(place, first), 'damaged')
      try {
        withMap({})
        symlinkSync(outside, join(place, second))
        expect((await failure(index)).message).toBe(`${join(place, second)}: expected a regular file but found a symbolic link out of ${place}`)
        rmSync(join(place, second))
        linkSync(outside, join(place, second))
        const error = await failure(index)
        expect(error).toMatchObject({ code: 'ERR_VIN_FORMAT' })
        expect(error.message).toBe(`${join(place, second)}: expected a file with one name but found a hard link, one of 2`)
      } finally {
        rmSync(join(place, second), { force: true })
        writeFileSync(join(place, first), whole)
        writeFileSync(join(place, second), readFileSync(outside))
      }
      withMap({})
      ;(await load(index)).dispose()
    })

    // A cache of the Hub: models--org--name/{blobs, snapshots/<revision>/…}, where every file of a snapshot is a link into blobs.
    describe('of a Hub cache', () => {
      let repository: string
      let snapshot: string
      const link = (shard: string, target: string) => {
        rmSync(join(snapshot, shard), { force: true })
        symlinkSync(target, join(snapshot, shard))
      }
      beforeEach(() => {
        withMap({})
        repository = mkdtempSync(join(folder, 'models--org--name-'))
        snapshot = join(repository, 'snapshots', '0123456789abcdef', 'text_encoder')
        mkdirSync(join(repository, 'blobs'))
        mkdirSync(snapshot, { recursive: true })
        for (const [i, name] of [first, second, 'model.safetensors.index.json'].entries()) {
          writeFileSync(join(repository, 'blobs', `${i}${'ab'.repeat(31)}`), readFileSync(join(place, name)))
          link(name, `../../../blobs/${i}${'ab'.repeat(31)}`)
        }
      })
      const hubIndex = () => join(snapshot, 'model.safetensors.index.json')

      test('load through their links', async () => {
        const model = await load(hubIndex())
        expect(model.weights()).toHaveLength(Object.keys(weights).length)
        for (const name of [Object.keys(weights)[0]!, Object.keys(weights)[1]!]) expect((await model.weight(name).read()).data).toEqual(weights[name]?.data)
        model.dispose()
      })

      test('load when the cache itself is reached through a link', async () => {
        const elsewhere = join(mkdtempSync(join(folder, 'linked-')), 'model')
        symlinkSync(snapshot, elsewhere)
        ;(await load(join(elsewhere, 'model.safetensors.index.json'))).dispose()
      })

      test.each([
        ['a file beside the repository', () => outside],
        ['another repository', () => {
          const other = mkdtempSync(join(folder, 'models--org--other-'))
          writeFileSync(join(other, 'weights'), readFileSync(join(place, second)))
          return join(other, 'weights')
        }],
        ['a path whose name begins like the repository', () => {
          mkdirSync(`${repository}-more`)
          writeFileSync(join(`${repository}-more`, 'weights'), readFileSync(join(place, second)))
          return join(`${repository}-more`, 'weights')
        }],
        ['a link in blobs that leaves it', () => {
          symlinkSync(outside, join(repository, 'blobs', 'onward'))
          return '../../../blobs/onward'
        }],
      ])('a link to %s is refused before another shard is opened', async (_, target) => {
        writeFileSync(outside, readFileSync(join(place, second)))
        link(second, target())
        rmSync(join(snapshot, first))
        writeFileSync(join(snapshot, first), 'damaged')
        const error = await failure(hubIndex())
        expect(error.code).toBe('ERR_VIN_FORMAT')
        expect(error.message).toBe(`${join(snapshot, second)}: expected a regular file but found a symbolic link out of ${realpathSync(repository)}`)
      })

      test('a link to nothing, to a folder and to a file of two names are refused', async () => {
        link(second, '../../../blobs/nothing')
        expect((await failure(hubIndex())).message).toBe(`${join(snapshot, second)}: expected a regular file but found a symbolic link to nothing`)
        link(second, '../../../blobs')
        expect((await failure(hubIndex())).message).toBe(`${join(snapshot, second)}: expected a regular file but found a folder`)
        linkSync(join(repository, 'blobs', `1${'ab'.repeat(31)}`), join(repository, 'blobs', 'twice'))
        link(second, '../../../blobs/twice')
        expect((await failure(hubIndex())).message).toBe(`${join(snapshot, second)}: expected a file with one name but found a hard link, one of 2`)
      })
    })

    test('a link of a component into its model folder is followed, one out of it is not', async () => {
      withMap({})
      const model = mkdtempSync(join(folder, 'model-'))
      for (const part of ['text_encoder', 'shared']) mkdirSync(join(model, part))
      const inside = join(model, 'text_encoder')
      for (const name of [first, 'model.safetensors.index.json']) writeFileSync(join(inside, name), readFileSync(join(place, name)))
      writeFileSync(join(model, 'shared', second), readFileSync(join(place, second)))
      symlinkSync(`../shared/${second}`, join(inside, second))
      const entry = join(inside, 'model.safetensors.index.json')
      expect((await failure(entry)).message).toContain('a symbolic link out of')
      writeFileSync(join(model, 'model_index.json'), '{}')
      ;(await load(entry)).dispose()
    })

    test('an absent shard is a missing component', async () => {
      withMap({ more: 'model-00003-of-00003.safetensors' })
      const error = await failure(index)
      expect(error.code).toBe('ERR_VIN_MISSING_COMPONENT')
      expect(error.message).toBe(`Expected the file ${join(place, 'model-00003-of-00003.safetensors')} but there is none`)
    })

    test('a tensor in another shard than the index says, in none, or in two', async () => {
      const name = Object.keys(weights)[0] as string
      withMap({ [name]: second })
      expect((await failure(index)).message).toBe(`${join(place, first)}: expected it only in ${second}, as model.safetensors.index.json says, for tensor "${name}" but found it here too`)
      withMap({ more: first })
      expect((await failure(index)).message).toBe(`${index}: expected data in ${first} for tensor "more" but found no such tensor there`)
      withMap({ [name]: undefined })
      expect((await failure(index)).message).toBe(`${join(place, first)}: expected an entry in the weight_map of model.safetensors.index.json for tensor "${name}" but found none`)
      withMap({})
      expect((await failure(index, join(place, second))).message).toContain('expected it in one file for tensor')
    })

    test('an index without weight_map', async () => {
      writeFileSync(index, '{"weights": {}}')
      expect((await failure(index)).message).toBe(`${index}: expected an object of shard names for weight_map but found nothing`)
      writeFileSync(index, '[]')
      expect((await failure(index)).message).toBe(`${index}: expected an object but found an array of 0`)
    })
  })
})
