// Tokens that are found in the text itself, before the vocabulary's model sees it: leftmost first, and of those that begin at one place the longest.

import { literal } from './pattern.js'

export interface AddedToken {
  content: string
  id: number
  /** Found only where no word goes on before or behind it. */
  singleWord: boolean
  /** Takes the blanks before it. */
  left: boolean
  /** Takes the blanks behind it. */
  right: boolean
  /** Found in the normalized text. */
  normalized: boolean
}

/** A token that was found, or the text between two. */
export type Part = { id: number } | { text: string; begin: number }

const wordBefore = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200c\u200d]$/u
const wordBehind = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200c\u200d]/u

export function tokenFinder(tokens: readonly AddedToken[]): (text: string) => Part[] {
  const byContent = new Map(tokens.map((token) => [token.content, token]))
  const longestFirst = [...byContent.keys()].filter((content) => content !== '').sort((a, b) => b.length - a.length)
  if (longestFirst.length === 0) return (text) => (text === '' ? [] : [{ text, begin: 0 }])
  const expression = new RegExp(longestFirst.map(literal).join('|'), 'g')
  return (text) => {
    const parts: Part[] = []
    let done = 0
    for (const match of text.matchAll(expression)) {
      const { id, singleWord, left, right } = byContent.get(match[0])!
      let begin = match.index
      let end = begin + match[0].length
      if (singleWord && (wordBefore.test(text.slice(Math.max(0, begin - 2), begin)) || wordBehind.test(text.slice(end, end + 2)))) continue
      if (left) begin -= /\p{White_Space}*$/u.exec(text.slice(0, begin))![0].length
      if (right) end += /^\p{White_Space}*/u.exec(text.slice(end))![0].length
      begin = Math.max(begin, done)
      if (begin > done) parts.push({ text: text.slice(done, begin), begin: done })
      parts.push({ id })
      done = end
    }
    if (done < text.length) parts.push({ text: text.slice(done), begin: done })
    return parts
  }
}
