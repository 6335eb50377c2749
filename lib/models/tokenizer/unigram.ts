// Unigram: of all ways to write a piece in tokens, the one whose scores have the largest sum.

/** A piece, which is not empty, → ids. What a vocabulary without an unknown token lacks has none. */
export type Model = (piece: string) => number[]

/** A character that no token holds costs this much more than the worst token. */
const unknownPenalty = 10

interface Node {
  start: number
  id: number | undefined
  score: number
}

/** @param scores of the model's own tokens, by id */
export function unigram(ids: ReadonlyMap<string, number>, scores: readonly number[], unknownId: number | undefined): Model {
  const unknownScore = scores.reduce((lowest, score) => Math.min(lowest, score), Infinity) - unknownPenalty
  /** Length of the longest token, by its first character. */
  const longest = new Map<number, number>()
  for (const token of ids.keys()) longest.set(token.codePointAt(0) ?? 0, Math.max(longest.get(token.codePointAt(0) ?? 0) ?? 0, token.length))

  const best = (piece: string): Node[] => {
    const ends: (Node | undefined)[] = [{ start: 0, id: undefined, score: 0 }]
    const offer = (end: number, node: Node): void => {
      const present = ends[end]
      if (present === undefined || node.score > present.score) ends[end] = node
    }
    for (let start = 0; start < piece.length; ) {
      const first = piece.codePointAt(start)!
      const one = first > 0xffff ? 2 : 1
      const { score } = ends[start]!
      let single = false
      const last = Math.min(piece.length, start + (longest.get(first) ?? 0))
      for (let end = start + one; end <= last; end++) {
        const id = ids.get(piece.slice(start, end))
        if (id === undefined || scores[id] === undefined) continue
        offer(end, { start, id, score: score + scores[id] })
        single ||= end === start + one
      }
      if (!single) offer(start + one, { start, id: unknownId, score: score + unknownScore })
      start += one
    }
    return ends as Node[]
  }

  return (piece) => {
    const ends = best(piece)
    const parts: string[] = []
    let unknown = false
    for (let end = piece.length; end > 0; ) {
      const { start, id } = ends[end]!
      const text = piece.slice(start, end)
      // Unknown characters in a row are one unknown token.
      if (id === unknownId && unknown) parts.push(text + parts.pop()!)
      else parts.push(text)
      unknown = id === unknownId
      end = start
    }
    return parts.reverse().flatMap((text) => ids.get(text) ?? unknownId ?? [])
  }
}
