import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { loadBinding } from '../../lib/native/load.js'
import type { VinError } from '../../lib/errors.js'

const parse = (text: string | Uint8Array, limits?: { depth?: number; bytes?: number; nonfinite?: boolean }) =>
  loadBinding().parseJson(typeof text === 'string' ? Buffer.from(text) : text, 'config.json', limits)

function failure(text: string | Uint8Array, limits?: { depth?: number; bytes?: number }): VinError {
  try {
    parse(text, limits)
  } catch (error) {
    return error as VinError
  }
  throw new Error('it was accepted')
}

describe('values', () => {
  test('any JSON value reads as JSON.parse reads it', () => {
    fc.assert(fc.property(fc.jsonValue({ maxDepth: 6 }), fc.boolean(), (value, spaced) => {
      const text = JSON.stringify(value, null, spaced ? '\t' : undefined)
      // The text again: objects without a prototype and with own __proto__ keys compare by what they hold.
      expect(JSON.stringify(parse(text))).toBe(JSON.stringify(JSON.parse(text)))
    }))
  })

  test('numbers are the nearest doubles, and -0 keeps its sign', () => {
    fc.assert(fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (number) => {
      const text = Object.is(number, -0) ? '-0' : String(number)
      expect(parse(text)).toBe(Number(text))
    }))
    expect(parse('[1E+2, 1e-400, 123456789012345678901234567890]')).toEqual([100, 0, 123456789012345678901234567890])
  })

  test('escapes, surrogate pairs and NUL are characters', () => {
    expect(parse('"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\ud83d\\ude00\\u0000"')).toBe('"\\/\b\f\n\r\tAé😀\0')
  })

  test("Python's words for numbers that are not finite are read where they are asked for", () => {
    const text = '{"lambda_min_clipped": -Infinity, "b": [Infinity, NaN, -1]}'
    const { lambda_min_clipped: low, b } = parse(text, { nonfinite: true }) as { lambda_min_clipped: number; b: number[] }
    expect([low, ...b]).toEqual([-Infinity, Infinity, NaN, -1])
    expect(() => parse(text)).toThrow('expected a JSON value')
    for (const wrong of ['-NaN', '+Infinity', 'Infinit', 'infinity', '-Infinity1', 'NaN.5', '--Infinity', '{NaN: 1}']) expect(() => parse(wrong, { nonfinite: true }), wrong).toThrow('config.json')
  })

  test('a key named __proto__ is data', () => {
    const value = parse('{"__proto__": {"polluted": true}, "constructor": 1}') as Record<string, unknown>
    expect(Object.getPrototypeOf(value)).toBe(null)
    expect(Object.keys(value)).toEqual(['__proto__', 'constructor'])
    expect(({} as Record<string, unknown>)['polluted']).toBe(undefined)
  })
})

describe('refusals name the file, what was expected and what was found', () => {
  const cases: [string, string | Uint8Array, string][] = [
    ['an empty file', '', 'config.json: expected a JSON value at line 1, column 1 but found the end of the file'],
    ['an open object', '{"a": 1', "config.json: expected ',' or '}' at line 1, column 8 but found the end of the file"],
    ['an open array', '[1\n,2 3]', 'config.json: expected \',\' or \']\' at line 2, column 4 but found "3"'],
    ['a trailing comma', '[1,]', 'config.json: expected a JSON value at line 1, column 4 but found "]"'],
    ['a bare key', '{a: 1}', 'config.json: expected a key in quotes at line 1, column 2 but found "a"'],
    ['no colon', '{"a" 1}', 'config.json: expected \':\' at line 1, column 6 but found "1"'],
    ['text after the value', '{} {}', 'config.json: expected the end of the file at line 1, column 4 but found "{"'],
    ['a duplicate key', '{"depth": 1, "b": 2, "depth": 3}', 'config.json: expected every key of an object once but found "depth" twice'],
    ['keys equal only after escapes', '{"a": 1, "\\u0061": 2}', 'config.json: expected every key of an object once but found "a" twice'],
    ['a duplicate key among many', `{${Array.from({ length: 30 }, (_, i) => `"k${i % 29}": ${i}`).join()}}`, 'config.json: expected every key of an object once but found "k0" twice'],
    ['NaN', '[NaN]', 'config.json: expected a JSON value at line 1, column 2 but found "N"'],
    ['a number beyond double', '1e999', 'config.json: expected numbers that fit a double but found "1e999"'],
    ['a leading zero', '01', 'config.json: expected the end of the file at line 1, column 2 but found "1"'],
    ['a leading plus', '+1', 'config.json: expected a JSON value at line 1, column 1 but found "+"'],
    ['a bare point', '1.', 'config.json: expected a digit at line 1, column 3 but found the end of the file'],
    ['a bare exponent', '1e', 'config.json: expected a digit at line 1, column 3 but found the end of the file'],
    ['a lone high surrogate', '"\\ud800"', 'config.json: expected a pair of surrogates at line 1, column 2 but found "\\\\"'],
    ['a lone low surrogate', '"\\udc00"', 'config.json: expected a pair of surrogates at line 1, column 2 but found "\\\\"'],
    ['a high surrogate and a letter', '"\\ud800\\u0041"', 'config.json: expected a pair of surrogates at line 1, column 2 but found "\\\\"'],
    ['a short escape', '"\\u00"', 'config.json: expected four hexadecimal digits at line 1, column 6 but found "\\""'],
    ['an unknown escape', '"\\x"', 'config.json: expected an escape at line 1, column 3 but found "x"'],
    ['a line break in a string', '"a\nb"', 'config.json: expected no control character in a string at line 1, column 3 but found "\\n"'],
    ['an open string', '"abc', 'config.json: expected \'"\' at line 1, column 5 but found the end of the file'],
    ['a second byte order mark', '\ufeff\ufeff{}', 'config.json: expected a JSON value at line 1, column 1 but found "\ufeff"'],
    ['a byte that is not UTF-8', Buffer.from([0x22, 0x61, 0xff, 0x22]), 'config.json: expected UTF-8 but found another byte at offset 2'],
    ['an overlong form', Buffer.from([0x22, 0xc0, 0xaf, 0x22]), 'config.json: expected UTF-8 but found another byte at offset 1'],
    ['an encoded surrogate', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), 'config.json: expected UTF-8 but found another byte at offset 1'],
    ['a code point above U+10FFFF', Buffer.from([0x22, 0xf4, 0x90, 0x80, 0x80, 0x22]), 'config.json: expected UTF-8 but found another byte at offset 1'],
    ['a cut sequence', Buffer.from([0x22, 0xe2, 0x82]), 'config.json: expected UTF-8 but found another byte at offset 1'],
  ]
  test.each(cases)('%s', (_, text, message) => {
    const error = failure(text)
    expect(error.code).toBe('ERR_VIN_FORMAT')
    expect(error.message).toBe(message)
    expect(error.details['file']).toBe('config.json')
  })
})

test('a byte order mark in front is passed over', () => {
  expect(parse('\ufeff{"depth": 2}')).toEqual(parse('{"depth": 2}'))
})

describe('limits', () => {
  test('64 nested arrays pass and 65 do not', () => {
    expect(parse('['.repeat(64) + ']'.repeat(64))).toBeInstanceOf(Array)
    expect(failure('['.repeat(65) + ']'.repeat(65)).message).toBe('config.json: expected at most 64 nested arrays and objects but found more')
  })

  test('10,000 and 10,000,000 levels end in an error and not in a stack overflow, whatever depth was asked for', () => {
    for (const depth of [10_000, 1_000_000_000]) {
      const options = { depth, bytes: 1 << 28 }
      expect(failure('['.repeat(10_000), options).code).toBe('ERR_VIN_FORMAT')
      expect(failure(Buffer.alloc(10_000_000, '['), options).code).toBe('ERR_VIN_FORMAT')
      expect(failure('{"a":'.repeat(10_000), options).code).toBe('ERR_VIN_FORMAT')
    }
  })

  test('a file beyond the size limit is refused before it is looked at', () => {
    const large = Buffer.alloc((1 << 20) + 1, ' ')
    expect(failure(large).message).toBe('config.json: expected at most 1048576 bytes of JSON but found 1048577')
    expect(parse(Buffer.concat([large, Buffer.from('1')]), { bytes: 1 << 21 })).toBe(1)
    const start = performance.now()
    expect(failure(Buffer.alloc(200_000_000), { bytes: 64 << 20 }).code).toBe('ERR_VIN_FORMAT')
    expect(performance.now() - start).toBeLessThan(2000)
  })

  test('the number of values is bounded, so that a file of 16 MiB cannot ask for a gigabyte', () => {
    const filled = Buffer.from(`[${'0,'.repeat(1 << 22)}0]`)
    expect(failure(filled, { bytes: 1 << 24 }).message).toBe('config.json: expected at most 4194304 JSON values but found more')
  })
})

test('arbitrary bytes are a value or a ERR_VIN_FORMAT', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
    let strict: unknown
    try {
      strict = parse(bytes)
    } catch (error) {
      expect((error as VinError).code).toBe('ERR_VIN_FORMAT')
      return
    }
    expect(JSON.stringify(strict)).toBe(JSON.stringify(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))))
  }))
})
