// What a model does not get of the captions: words outside its vocabulary, and what is beyond its longest text.

import type { Tokenizer } from '../models/tokenizer.js'
import type { TrainingWarning } from './dataset.js'

/** One sentence over all captions; undefined when the model gets everything. */
export function captionWarning(tokenizer: Tokenizer, captions: readonly string[], maxLength: number): TrainingWarning | undefined {
  const uses = new Map<string, number>()
  let withUnknown = 0
  let cut = 0
  let tokensCut = 0
  for (const caption of captions) {
    const { ids, unknown } = tokenizer.encode(caption)
    if (unknown.length > 0) withUnknown++
    for (const word of unknown) uses.set(word, (uses.get(word) ?? 0) + 1)
    if (ids.length > maxLength) cut++
    tokensCut += Math.max(0, ids.length - maxLength)
  }
  const parts: string[] = []
  if (uses.size > 0) {
    const words = [...uses].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
    const shown = words.slice(0, 12).map(([word, count]) => (count === 1 ? word : `${word} ×${count}`))
    parts.push(`${withUnknown} of ${captions.length} captions have words the model does not know: ${shown.join(', ')}${words.length > 12 ? ` and ${words.length - 12} more` : ''}`)
  }
  if (cut > 0) parts.push(`${cut} of ${captions.length} captions are longer than ${maxLength} tokens, and ${tokensCut} tokens are cut off`)
  return parts.length === 0 ? undefined : { code: 'captions', message: parts.join('; ') }
}
