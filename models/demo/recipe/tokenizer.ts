// The tokenizer of the built-in model: WordLevel over the words of the captions (demo.md §1), lower case, punctuation ignored, `</s>` at the end.
// Singular and plural verbs share an id, so `a circle and a square bounce` reads like the captions' `bounces`.

/** Ids in order: 0 pad, 1 end of sequence, 2 unknown, then words; words of one entry share its id. */
const words: readonly string[][] = [
  ['a', 'an'],
  ['the'],
  ['at'],
  ['and'],
  ['of'],
  ['over'],
  ['with'],
  ...['small', 'large', 'red', 'green', 'blue', 'yellow', 'purple', 'white', 'circle', 'square', 'triangle', 'shape'].map((word) => [word]),
  ['moves', 'move'],
  ['bounces', 'bounce'],
  ...['night', 'meadow', 'sea', 'sand', 'room', 'curtain'].map((word) => [word]),
  ['closes', 'close'],
  ['opens', 'open'],
  ['leaves', 'leave'],
  ['returns', 'return'],
  ['behind'],
  ['wall'],
  ...Array.from({ length: 33 }, (_, second) => [`${second}s`])
]

const special = ['<pad>', '</s>', '[UNK]'] as const

/** Rows of the text encoder's embedding. */
export const demoVocabularySize: number = special.length + words.length

/** The content of tokenizer/tokenizer.json, as the `tokenizers` libraries read it. */
export function demoTokenizerJson(): Record<string, unknown> {
  const vocab: Record<string, number> = {}
  special.forEach((token, id) => (vocab[token] = id))
  words.forEach((entry, i) => entry.forEach((word) => (vocab[word] = special.length + i)))
  const added = (content: string, id: number): Record<string, unknown> => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })
  const end = { SpecialToken: { id: '</s>', type_id: 0 } }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special.map(added),
    normalizer: {
      type: 'Sequence',
      normalizers: [{ type: 'Lowercase' }, { type: 'Replace', pattern: { Regex: '[.,;:!?"()]' }, content: ' ' }]
    },
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ Sequence: { id: 'A', type_id: 0 } }, end],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, end, { Sequence: { id: 'B', type_id: 0 } }, end],
      special_tokens: { '</s>': { id: '</s>', ids: [1], tokens: ['</s>'] } }
    },
    decoder: null,
    model: { type: 'WordLevel', vocab, unk_token: '[UNK]' }
  }
}
