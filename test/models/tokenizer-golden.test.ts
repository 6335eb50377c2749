// Against the Rust library `tokenizers` (fixtures/tokenizers/make.py): every kind of step that is computed, on texts of many scripts.
import { describe, expect, test } from 'vitest'
import { Tokenizer } from '../../lib/index.js'
import { readJson } from '../support/fixtures.js'

interface Case {
  model: string
  normalizer?: object | null
  pre_tokenizer?: object | null
  post_processor?: object
  added_tokens: object[]
  /** Of each text, as they would be printed. */
  ids: string[]
}
const { texts, models, cases } = readJson('tokenizers', 'golden.json') as unknown as { texts: string[]; models: Record<string, object>; cases: Case[] }

const special = ['<pad>', '</s>', '<unk>'].map((content, id) => ({ id, content, special: true, normalized: false }))
const open = ({ model, ids: _, added_tokens: added, ...steps }: Case): Promise<Tokenizer> => Tokenizer.fromJson({ ...steps, model: models[model], added_tokens: [...special, ...added] })
const step = (value?: object | null): string => (value == null ? 'nothing' : Buffer.byteLength(JSON.stringify(value)) > 100 ? `${(value as { type: string }).type} …` : JSON.stringify(value))

describe.each(Object.keys(models))('%s', (model) => {
  test('ids of all texts are those of the library', async () => {
    for (const one of cases.filter((each) => each.model === model)) {
      const tokenizer = await open(one)
      const found = texts.map((text) => tokenizer.encode(text).ids.join(' '))
      // The end of sequence is added where the file does not.
      const wanted = one.ids.map((ids) => (/(^| )1$/.test(ids) ? ids : `${ids} 1`.trim()))
      expect(found, [one.normalizer, one.pre_tokenizer, one.post_processor].map(step).join(' → ')).toEqual(wanted)
    }
  })
})

test('a prompt of 8 KiB with words in it that the vocabulary lacks passes through SentencePiece’s normalizer within the deadline', async () => {
  const normalizer = cases.map((each) => each.normalizer as { type?: string } | null | undefined).find((each) => each?.type === 'Precompiled')
  const tokenizer = await Tokenizer.fromJson({ model: models['Unigram'], normalizer, pre_tokenizer: { type: 'Metaspace' }, added_tokens: special })
  const one = 'a red circle bounces on the ẞ wall, ﬁne.'
  const once = tokenizer.encode(one).ids.slice(0, -1)
  const { ids, unknown } = tokenizer.encode(Array.from({ length: 190 }, () => one).join(' '))
  expect(ids.slice(0, 2 * once.length)).toEqual([...once, ...once])
  expect(unknown).toEqual(tokenizer.encode(one).unknown)
})

test('the goldens hold every kind of step', () => {
  const text = JSON.stringify(cases)
  const kinds = 'Sequence NFC NFD NFKC NFKD Lowercase Strip Replace Precompiled WhitespaceSplit Metaspace TemplateProcessing'
  expect(kinds.split(' ').filter((kind) => !text.includes(`"type":"${kind}"`))).toEqual([])
  expect(cases).toHaveLength(92)
})

const model = { type: 'WordLevel', vocab: { '[UNK]': 0, a: 1 }, unk_token: '[UNK]' }
const replacing = (Regex: string): object => ({ model, normalizer: { type: 'Replace', pattern: { Regex }, content: ' ' } })

describe('what would change ids in silence is refused by name', () => {
  const rows: [string, string, object][] = [
    ...['BPE', 'WordPiece', 'Telepathy'].map((type): [string, string, object] => [type, 'expected Unigram or WordLevel', { model: { ...model, type } }]),
    ['BPE', 'expected Unigram or WordLevel', { model: { vocab: { a: 0, b: 1, ab: 2 }, merges: ['a b'] } }],
    ['byte_fallback', 'expected a model without byte_fallback', { model: { type: 'Unigram', unk_id: 0, vocab: [['a', 0]], byte_fallback: true } }],
    ...['Nmt', 'BertNormalizer', 'StripAccents', 'Prepend', 'ByteLevel'].map((type): [string, string, object] => [type, 'expected Sequence, Precompiled, Replace,', { model, normalizer: { type } }]),
    ...['Split', 'ByteLevel', 'Whitespace', 'BertPreTokenizer', 'Punctuation', 'Digits', 'UnicodeScripts'].map((type): [string, string, object] => [
      type,
      'expected Sequence, WhitespaceSplit or Metaspace',
      { model, pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'WhitespaceSplit' }, { type }] } }
    ]),
    ...['BertProcessing', 'RobertaProcessing', 'ByteLevel', 'Sequence'].map((type): [string, string, object] => [type, 'expected TemplateProcessing', { model, post_processor: { type } }])
  ]
  test.each(rows)('%s: %s', async (what, wanted, json) => {
    const error: unknown = await Tokenizer.fromJson(json, 'model/tokenizer.json').catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ERR_VIN_NOT_SUPPORTED', details: { name: what } })
    for (const part of [wanted.slice('expected '.length), `in model/tokenizer.json but found ${what === 'byte_fallback' ? 'Unigram' : what}`]) expect((error as Error).message).toContain(part)
  })

  // Each has another meaning in JavaScript, may match nothing, or is none of the simple ones.
  test.each([String.raw`(a)\1`, '[a-z&&b]', 'a|b', '(?i)a', String.raw`\X`, String.raw`\w+`, String.raw`\p{L}`, 'a*', 'a?', 'a{0,2}', 'a{,2}', 'a{2}+', 'a+?', '^a', 'a$', '.', '', '[[:punct:]]', '(a+)+$', '('.repeat(100_000)])(
    'the pattern %s',
    async (pattern) => {
      await expect(Tokenizer.fromJson(replacing(pattern))).rejects.toMatchObject({ code: 'ERR_VIN_NOT_SUPPORTED', details: { name: pattern }, message: expect.stringContaining('by + and {n,m} for a pattern in tokenizer.json but found') as string })
    }
  )
})

test.each<[string, object]>([
  ['ranges that fall', replacing('[b-a]')],
  ['bounds that fall', replacing('a{3,2}')],
  ['a charsmap of nothing', { model, normalizer: { type: 'Precompiled', precompiled_charsmap: '' } }],
  ['a charsmap whose trie is longer than it', { model, normalizer: { type: 'Precompiled', precompiled_charsmap: Buffer.from([255, 255, 255, 127, 0, 0]).toString('base64') } }],
  ['a scheme of its own', { model, pre_tokenizer: { type: 'Metaspace', prepend_scheme: 'whenever' } }],
  ['two characters for a space', { model, pre_tokenizer: { type: 'Metaspace', replacement: '▁▁' } }],
  ['a Unigram without a list', { model: { ...model, type: 'Unigram' } }]
])('%s is ERR_VIN_FORMAT', async (_name, json) => {
  await expect(Tokenizer.fromJson(json)).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', details: { file: 'tokenizer.json' } })
})
