// Ids of a text → ids with the special tokens around them.

import { Fields, formatError, list, object, quoted } from './content.js'

export interface PostProcessor {
  run: (ids: number[]) => number[]
  /** How many times the ids of a text, or single tokens, it may write. */
  parts: number
}

/** @throws ERR_VIN_FORMAT for a step that is malformed or of no known kind */
export function readPostProcessor(value: unknown, ids: ReadonlyMap<string, number>, file: string): PostProcessor {
  if (value === null || value === undefined) return { run: (given) => given, parts: 1 }
  const fields = new Fields(value, file, 'post_processor')
  switch (fields.type) {
    case 'Sequence': {
      const steps = fields.list('processors').map((each) => readPostProcessor(each, ids, file))
      return { run: (given) => steps.reduce((result, { run }) => run(result), given), parts: steps.reduce((product, { parts }) => product * parts, 1) }
    }
    case 'ByteLevel':
      return { run: (given) => given, parts: 1 }
    case 'BertProcessing':
    case 'RobertaProcessing': {
      const [begin, end] = ['cls', 'sep'].map((key) => namedId(fields.get(key), file, key))
      return { run: (given) => [begin!, ...given, end!], parts: 1 }
    }
    case 'TemplateProcessing':
      return readTemplate(fields, ids)
    default:
      return fields.unknown()
  }
}

/** `["</s>", 1]` */
function namedId(value: unknown, file: string, key: string): number {
  const id = Array.isArray(value) ? (value as unknown[])[1] : undefined
  if (typeof id !== 'number' || !Number.isSafeInteger(id) || id < 0) throw formatError(file, `[token, id] for ${key}`, quoted(value))
  return id
}

function readTemplate(fields: Fields, ids: ReadonlyMap<string, number>): PostProcessor {
  const { file } = fields
  const special = object(fields.get('special_tokens') ?? {}, file, 'special_tokens of the template')
  const idsOf = (name: unknown): number[] => {
    const given = typeof name === 'string' && Object.hasOwn(special, name) ? list(object(special[name], file, 'a special token')['ids'], file, 'ids of a special token') : [ids.get(String(name))]
    if (!given.every((id) => typeof id === 'number' && Number.isSafeInteger(id) && id >= 0)) throw formatError(file, 'special tokens with ids in the template', quoted(name))
    return given as number[]
  }
  const single = fields.list('single')
  // Told before each part is read: a template may have a million.
  if (single.length > 1024) return { run: (given) => given, parts: single.length }
  const parts = single.map((part) => {
    const { Sequence, SpecialToken } = object(part, file, 'a part of the template') as { Sequence?: unknown; SpecialToken?: unknown }
    if (Sequence !== undefined) return undefined
    return idsOf(object(SpecialToken, file, 'a part of the template')['id'])
  })
  return { run: (given) => parts.flatMap((part) => part ?? given), parts: Math.max(1, parts.length) }
}
