// Ids of a text → ids with the special tokens around them.

import { Step, formatError, list, object, quoted } from './content.js'

/** Most parts of a template; published ones have 1 to 3. */
const maxParts = 64

/** @throws ERR_VIN_FORMAT for a template that is malformed; ERR_VIN_NOT_SUPPORTED for other post-processors */
export function readTemplate(value: unknown, ids: ReadonlyMap<string, number>, file: string): (ids: number[]) => number[] {
  if (value === null || value === undefined) return (given) => given
  const step = new Step(value, file, 'post_processor')
  if (step.type !== 'TemplateProcessing') throw step.unsupported('TemplateProcessing')
  const special = object(step.get('special_tokens') ?? {}, file, 'special_tokens of the template')
  const idsOf = (name: unknown): number[] => {
    const given = typeof name === 'string' && Object.hasOwn(special, name) ? list(object(special[name], file, 'a special token')['ids'], file, 'ids of a special token') : [ids.get(String(name))]
    if (!given.every((id) => typeof id === 'number' && Number.isSafeInteger(id) && id >= 0)) throw formatError(file, 'special tokens with ids in the template', quoted(name))
    return given as number[]
  }
  const single = step.list('single')
  if (single.length > maxParts) throw formatError(file, `at most ${maxParts} parts of a template`, `${single.length}`)
  const parts = single.map((part) => {
    const { Sequence, SpecialToken } = object(part, file, 'a part of the template') as { Sequence?: unknown; SpecialToken?: unknown }
    return Sequence !== undefined ? undefined : idsOf(object(SpecialToken, file, 'a part of the template')['id'])
  })
  return (given) => parts.flatMap((part) => part ?? given)
}
