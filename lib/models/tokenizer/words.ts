// What turns a piece into ids: whole words, or words in the longest parts that the vocabulary holds.

import { Buffer } from 'node:buffer'
import type { Fields } from './content.js'

/** A piece, which is not empty, → ids. What a vocabulary without an unknown token lacks has none. */
export type Model = (piece: string) => number[]

/** Ids of the tokens <0x00> … <0xFF> for the UTF-8 of a text; undefined unless all of them are tokens. */
export function idsOfBytes(ids: ReadonlyMap<string, number>): (text: string) => number[] | undefined {
  return (text) => {
    const found = Array.from(Buffer.from(text), (byte) => ids.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`))
    return found.includes(undefined) ? undefined : (found as number[])
  }
}

const one = (id: number | undefined): number[] => (id === undefined ? [] : [id])

export function readWordLevel(ids: ReadonlyMap<string, number>, unknownId: number | undefined): Model {
  return (piece) => one(ids.get(piece) ?? unknownId)
}

export function readWordPiece(fields: Fields, ids: ReadonlyMap<string, number>, unknownId: number | undefined): Model {
  const prefix = fields.text('continuing_subword_prefix', '##')
  const most = fields.integer('max_input_chars_per_word', 0, 100)
  return (piece) => {
    const characters = [...piece]
    const result: number[] = []
    if (characters.length > most) return one(unknownId)
    for (let start = 0; start < characters.length; ) {
      let end = characters.length
      let id: number | undefined
      while (end > start) {
        id = ids.get((start > 0 ? prefix : '') + characters.slice(start, end).join(''))
        if (id !== undefined) break
        end--
      }
      if (id === undefined) return one(unknownId)
      result.push(id)
      start = end
    }
    return result
  }
}
