// Against the Rust library `tokenizers` (fixtures/tokenizers/make.py): every kind of step, on texts of many scripts.
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
  const kinds = 'NFC NFD NFKC NFKD Lowercase Strip StripAccents Replace Prepend BertNormalizer ByteLevel Precompiled Whitespace WhitespaceSplit BertPreTokenizer Digits CharDelimiterSplit FixedLength Metaspace Punctuation Split TemplateProcessing BertProcessing RobertaProcessing'
  expect(kinds.split(' ').filter((kind) => !text.includes(`"type":"${kind}"`))).toEqual([])
  expect(cases).toHaveLength(120)
})

describe('what would change ids in silence is refused by name', () => {
  const model = { type: 'WordLevel', vocab: { '[UNK]': 0, a: 1 }, unk_token: '[UNK]' }
  const split = (Regex: string): object => ({ model, pre_tokenizer: { type: 'Split', pattern: { Regex }, behavior: 'Isolated' } })
  test.each<[string, object, string]>([
    ['scripts', { model, pre_tokenizer: { type: 'UnicodeScripts' } }, 'UnicodeScripts'],
    ['merges that are dropped at random', { model: { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [], dropout: 0.1 } }, 'dropout'],
    ['a reference back', split(String.raw`(a)\1`), String.raw`\1`],
    ['an intersection', split('[a-z&&b]'), '&&'],
    ['a condition', split('(?(a)b|c)'), '(?(a'],
    ['a grapheme', split(String.raw`\X`), String.raw`\X`],
    ['an unknown property', split(String.raw`\p{Telepathic}`), String.raw`\p{Telepathic}`]
  ])('%s', async (_name, json, what) => {
    await expect(Tokenizer.fromJson(json)).rejects.toMatchObject({ code: 'ERR_VIN_NOT_SUPPORTED', details: { name: what }, message: expect.stringContaining(what) as string })
  })

  test.each<[string, object]>([
    ['an open bracket', split('(a')],
    ['an open class', split('[a')],
    ['nothing to repeat', split('*a')],
    ['a closed bracket', split('a)')],
    ['brackets without end', split('('.repeat(100_000))],
    ['classes without end', split('['.repeat(100_000))],
    ['a charsmap of nothing', { model, normalizer: { type: 'Precompiled', precompiled_charsmap: '' } }],
    ['a charsmap whose trie is longer than it', { model, normalizer: { type: 'Precompiled', precompiled_charsmap: Buffer.from([255, 255, 255, 127, 0, 0]).toString('base64') } }],
    ['a behaviour of its own', { model, pre_tokenizer: { type: 'Punctuation', behavior: 'Whatever' } }],
    ['a length of 0', { model, pre_tokenizer: { type: 'FixedLength', length: 0 } }],
    ['bytes as characters, forty times', { model, normalizer: { type: 'Sequence', normalizers: Array.from({ length: 40 }, () => ({ type: 'ByteLevel' })) } }],
    ['a Unigram without a list', { model: { ...model, type: 'Unigram' } }]
  ])('%s is ERR_VIN_FORMAT', async (_name, json) => {
    await expect(Tokenizer.fromJson(json)).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', details: { file: 'tokenizer.json' } })
  })
})
