// The chunk plan of model.md §1: which latent frames a chunk owns, and which it computes beside them.

import { rangeError } from '../errors.js'

/** Latent frames [first, end) are computed, [start, end) are owned; [first, start) is context. */
export interface Chunk {
  first: number
  start: number
  end: number
}

/** Latent frames [from, until) that a chunk shares with the one before it. */
export interface Overlap {
  from: number
  until: number
}

/** With more context than a chunk three chunks would compute one latent frame. */
export function checkContext(contextFrames: number, chunkFrames: number): void {
  if (contextFrames > chunkFrames) throw rangeError(`Expected contextFrames of at most chunkFrames ${chunkFrames} but received ${contextFrames}`)
}

/** Owned ranges start at 0, chunk, 2·chunk, …; a last range shorter than the context joins the one before it. */
export function planChunks(latentFrames: number, chunkFrames: number, contextFrames: number): Chunk[] {
  checkContext(contextFrames, chunkFrames)
  const starts: number[] = []
  for (let start = 0; start < latentFrames; start += chunkFrames) starts.push(start)
  if (starts.length > 1 && latentFrames - (starts.at(-1) ?? 0) < contextFrames) starts.pop()
  return starts.map((start, i) => ({ first: i === 0 ? 0 : start - contextFrames, start, end: starts[i + 1] ?? latentFrames }))
}

/** One chunk of all frames. */
export function wholeVideo(latentFrames: number): Chunk[] {
  return [{ first: 0, start: 0, end: latentFrames }]
}

export function planOverlaps(chunks: readonly Chunk[]): Overlap[] {
  return chunks.filter(({ first, start }) => first < start).map(({ first, start }) => ({ from: first, until: start }))
}
