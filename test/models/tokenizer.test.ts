import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Tokenizer } from '../../lib/models/tokenizer.js'
import { demoTokenizerJson, demoVocabularySize } from '../../models/demo/recipe/tokenizer.js'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-tokenizer-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Unigram with metaspaces, as T5 has it, over a handful of pieces. */
function unigram(): Record<string, unknown> {
  return {
    added_tokens: [
      { id: 0, content: '<pad>', special: true, normalized: false },
      { id: 1, content: '</s>', special: true, normalized: false },
      { id: 2, content: '<unk>', special: true, normalized: false }
    ],
    normalizer: { type: 'NFKC' },
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    post_processor: { type: 'TemplateProcessing', single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: '</s>', type_id: 0 } }], pair: [], special_tokens: {} },
    decoder: null,
    model: { type: 'Unigram', unk_id: 2, vocab: [['<pad>', 0], ['</s>', 0], ['<unk>', 0], ['▁red', -3], ['▁', -2], ['r', -5], ['e', -5], ['d', -5], ['▁re', -4], ['do', -3.5], ['o', -5]] }
  }
}

describe('the demo tokenizer', () => {
  test('captions become one id a word and end with </s>', async () => {
    const tokenizer = await Tokenizer.fromJson(demoTokenizerJson())
    const { ids, mask, unknown, truncated } = tokenizer.encode('a small red circle and a square moves over the meadow the curtain closes at 3s opens at 32s')
    expect(ids).toHaveLength(20)
    expect(ids.at(-1)).toBe(1)
    expect(new Set(ids.slice(0, -1)).size).toBe(19 - 3)
    expect(Math.max(...ids)).toBe(demoVocabularySize - 1)
    expect(Math.min(...ids.slice(0, -1))).toBeGreaterThan(2)
    expect(mask).toEqual(ids.map(() => 1))
    expect(unknown).toEqual([])
    expect(truncated).toBe(false)
    expect(tokenizer.vocabularySize).toBe(demoVocabularySize)
  })

  test('singular verbs, capitals and punctuation change nothing', async () => {
    const tokenizer = await Tokenizer.fromJson(demoTokenizerJson())
    expect(tokenizer.encode('A red Circle, and a blue square: BOUNCE!').ids).toEqual(tokenizer.encode('a red circle and a blue square bounces').ids)
    expect(tokenizer.encode('a shape move').ids).toEqual(tokenizer.encode('a shape moves').ids)
  })

  test('unknown words are listed once each, as typed, and become [UNK]', async () => {
    const tokenizer = await Tokenizer.fromJson(demoTokenizerJson())
    const { ids, unknown } = tokenizer.encode('a Pink circle chases a pink Pink dog, at 33s')
    expect(unknown).toEqual(['Pink', 'chases', 'pink', 'dog,', '33s'])
    expect(ids.filter((id) => id === 2)).toHaveLength(6)
    expect(tokenizer.vocabulary).toContain('curtain')
    expect(tokenizer.vocabulary).not.toContain('[UNK]')
  })

  test('special words inside a prompt are the special tokens', async () => {
    const tokenizer = await Tokenizer.fromJson(demoTokenizerJson())
    expect(tokenizer.encode('a </s> a <pad>').ids).toEqual([3, 1, 3, 0, 1])
  })

  test('is read back from a folder', async () => {
    await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(demoTokenizerJson()))
    const fromFolder = await Tokenizer.fromPretrained(folder)
    const fromFile = await Tokenizer.fromPretrained(join(folder, 'tokenizer.json'))
    expect(fromFolder.encode('a wall').ids).toEqual(fromFile.encode('a wall').ids)
  })
})

describe('text of any kind', () => {
  test('empty text is the end of sequence', async () => {
    for (const json of [demoTokenizerJson(), unigram()]) {
      const tokenizer = await Tokenizer.fromJson(json)
      expect(tokenizer.encode('').ids).toEqual([1])
      expect(tokenizer.encode(' \n\t ').ids.at(-1)).toBe(1)
    }
  })

  test('NUL is dropped and half surrogates become U+FFFD, whole ones stay', async () => {
    const tokenizer = await Tokenizer.fromJson(demoTokenizerJson())
    expect(tokenizer.encode('a cir\0cle').ids).toEqual(tokenizer.encode('a circle').ids)
    expect(tokenizer.encode('\ud800x \udc00 \ud83d\ude00').unknown).toEqual(['\ufffdx', '\ufffd', '\ud83d\ude00'])
  })

  test('a long text is cut to maxLength and keeps its end of sequence', async () => {
    const tokenizer = await Tokenizer.fromJson(demoTokenizerJson())
    const whole = tokenizer.encode('red '.repeat(2000))
    expect(whole.ids).toHaveLength(2001)
    const cut = tokenizer.encode('red '.repeat(2000), { maxLength: 24 })
    expect(cut.ids).toEqual([...whole.ids.slice(0, 23), 1])
    expect(cut.truncated).toBe(true)
    expect(tokenizer.encode('red red', { maxLength: 3 })).toMatchObject({ truncated: false })
    expect(tokenizer.encode('red', { maxLength: 1 }).ids).toEqual([1])
  })

  test('a post-processor without </s> gets it appended', async () => {
    const tokenizer = await Tokenizer.fromJson({ ...unigram(), post_processor: null })
    expect(tokenizer.encode('red').ids).toEqual([3, 1])
  })

  test('Unigram takes the best pieces and reports words it cannot spell', async () => {
    const tokenizer = await Tokenizer.fromJson(unigram())
    expect(tokenizer.encode('red redo').ids).toEqual([3, 8, 9, 1])
    const { ids, unknown } = tokenizer.encode('red zebra')
    expect(ids).toContain(2)
    expect(unknown).toEqual(['zebra'])
  })

  test('arguments of the wrong type are named', async () => {
    const tokenizer = await Tokenizer.fromJson(demoTokenizerJson())
    expect(() => tokenizer.encode(7 as unknown as string)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }))
    expect(() => tokenizer.encode('a', { maxLength: 0 })).toThrow(RangeError)
  })
})

describe('files are untrusted', () => {
  const broken = async (content: string | Buffer): Promise<unknown> => {
    const file = join(folder, 'broken.json')
    await writeFile(file, content)
    return Tokenizer.fromPretrained(file).catch((error: unknown) => error)
  }

  test('a file above 64 MiB is refused unread', async () => {
    const file = join(folder, 'large.json')
    const handle = await open(file, 'w')
    await handle.truncate(200 * 2 ** 20)
    await handle.close()
    const before = process.memoryUsage().rss
    await expect(Tokenizer.fromPretrained(file)).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', details: { expected: 'at most 67108864 bytes' } })
    expect(process.memoryUsage().rss - before).toBeLessThan(32 * 2 ** 20)
  })

  test('nesting beyond 64 is refused without recursion', async () => {
    for (const depth of [65, 10_000, 1_000_000]) expect(await broken('['.repeat(depth) + ']'.repeat(depth))).toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringContaining('64 nested') as string })
    expect(await broken(`{"a":"${'['.repeat(1000)}\\"["}`)).toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringContaining('model') as string })
  })

  test.each([
    ['not JSON', '{"model": '],
    ['not UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
    ['no model', '{}'],
    ['a list', '[]'],
    ['null', 'null']
  ])('%s is ERR_VIN_FORMAT', async (_name, content) => {
    expect(await broken(content)).toMatchObject({ name: 'VinError', code: 'ERR_VIN_FORMAT' })
  })

  const demoModel = (): Record<string, unknown> => demoTokenizerJson()['model'] as Record<string, unknown>
  test.each<[string, Record<string, unknown>]>([
    ['a negative id', { model: { type: 'WordLevel', vocab: { a: -1 }, unk_token: 'a' } }],
    ['a fractional id', { model: { type: 'WordLevel', vocab: { a: 0.5 }, unk_token: 'a' } }],
    ['an id that would need 8 GB', { model: { type: 'WordLevel', vocab: { a: 2 ** 31 }, unk_token: 'a' } }],
    ['a text for an id', { model: { type: 'WordLevel', vocab: { a: '0' }, unk_token: 'a' } }],
    ['an empty vocabulary', { model: { type: 'WordLevel', vocab: {}, unk_token: 'a' } }],
    ['an unknown token outside the vocabulary', { model: { ...demoModel(), unk_token: 'nowhere' } }],
    ['an added token without an id', { ...demoTokenizerJson(), added_tokens: [{ content: 'x' }] }],
    ['an added token with a bad id', { ...demoTokenizerJson(), added_tokens: [{ content: 'x', id: 1e300 }] }],
    ['a score that is no number', { model: { type: 'Unigram', unk_id: 0, vocab: [['a', null]] } }],
    ['an unk_id beyond the vocabulary', { model: { type: 'Unigram', unk_id: 5, vocab: [['a', 0]] } }],
    ['a merge of unknown tokens', { model: { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: ['a c'] } }],
    ['a merge whose union is unknown', { model: { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [['a', 'b']] } }],
    ['a merge of three', { model: { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: ['a b a'] } }],
    ['merges that are no list', { model: { type: 'BPE', vocab: { a: 0 }, merges: 7 } }]
  ])('%s is ERR_VIN_FORMAT', async (_name, json) => {
    const error: unknown = await Tokenizer.fromJson(json).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ name: 'VinError', code: 'ERR_VIN_FORMAT', details: { file: 'tokenizer.json' } })
  })

  test('Nmt is refused by name, wherever it hides', async () => {
    const json = { ...unigram(), normalizer: { type: 'Sequence', normalizers: [{ type: 'NFKC' }, { type: 'Nmt' }] } }
    await expect(Tokenizer.fromJson(json)).rejects.toMatchObject({ code: 'ERR_VIN_NOT_SUPPORTED', message: expect.stringContaining('Nmt') as string })
  })

  test('a file that is not there is a missing component', async () => {
    await expect(Tokenizer.fromPretrained(join(folder, 'nowhere'))).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', details: { component: 'tokenizer' } })
  })

  test('a word called __proto__ is a word', async () => {
    const json: unknown = JSON.parse('{"model": {"type": "WordLevel", "unk_token": "u", "vocab": {"u": 0, "__proto__": 1, "constructor": 2}}, "pre_tokenizer": {"type": "WhitespaceSplit"}}')
    const tokenizer = await Tokenizer.fromJson(json)
    expect(tokenizer.encode('__proto__ constructor toString').ids).toEqual([1, 2, 0])
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })

  describe('patterns and replacements that would take hours', () => {
    const model = { type: 'WordLevel', vocab: { '[UNK]': 0, a: 1 }, unk_token: '[UNK]' }
    const repeated = { Regex: `${'a+'.repeat(12)}b` }
    const sequence = (count: number, step: object): object => ({ type: 'Sequence', normalizers: Array.from({ length: count }, () => step) })
    const attempt = async (json: unknown, text: string): Promise<{ error: unknown; ms: number }> => {
      const start = performance.now()
      const error: unknown = await Tokenizer.fromJson(json, 'slow.json').then(
        (tokenizer) => {
          try {
            tokenizer.encode(text)
            return undefined
          } catch (reason) {
            return reason
          }
        },
        (reason: unknown) => reason
      )
      return { error, ms: performance.now() - start }
    }

    test('repeats beside repeats end within seconds', async () => {
      const { error, ms } = await attempt({ model, normalizer: { type: 'Replace', pattern: repeated, content: '' } }, 'a'.repeat(200))
      expect(error).toMatchObject({ code: 'ERR_VIN_FORMAT', details: { file: 'slow.json' } })
      expect(ms).toBeLessThan(15_000)
    })

    test.each<[string, object]>([
      ['doubling replacements', { model, normalizer: sequence(40, { type: 'Replace', pattern: { String: 'a' }, content: 'aa' }) }],
      ['a template of a million parts', { model, post_processor: { type: 'TemplateProcessing', single: Array.from({ length: 1e6 }, () => ({ Sequence: { id: 'A', type_id: 0 } })), pair: [], special_tokens: {} } }]
    ])('%s are refused at once', async (_name, json) => {
      const { error, ms } = await attempt(json, 'a')
      expect(error).toMatchObject({ code: 'ERR_VIN_FORMAT', details: { file: 'slow.json' } })
      expect(ms).toBeLessThan(1500)
    })

    test('after a text that took too long, the tokenizer still encodes others', async () => {
      const tokenizer = await Tokenizer.fromJson({ model, normalizer: { type: 'Replace', pattern: repeated, content: '' } })
      expect(() => tokenizer.encode('a'.repeat(200))).toThrow(expect.objectContaining({ code: 'ERR_VIN_FORMAT' }))
      expect(tokenizer.encode('a').ids).toEqual([1])
    })
  })

  test('a replacement is text, whatever JavaScript reads in it', async () => {
    const json = { model: { type: 'WordLevel', vocab: { '[UNK]': 0, "$&-$$-$'": 1 }, unk_token: '[UNK]' }, normalizer: { type: 'Replace', pattern: { String: 'b' }, content: "$&-$$-$'" } }
    expect((await Tokenizer.fromJson(json)).encode('b').ids).toEqual([1])
  })
})
