// FLOPs of one evaluation without guidance: 2 · multiply-adds of matrix products and attention. Left out: patch embedding, final layer and what captions need
// once per evaluation, their projection and their keys and values in every block (each < 0.4 %).

import { neighbourhoods, windowsOf, type FrameAttention } from './attention.js'
import type { Chunk } from './chunks.js'

/** What a backbone's cost depends on; letters of model.md. */
export interface CostModel {
  layout: 'factorised' | 'hybrid' | 'full'
  depth: number
  /** Hidden width. */
  C: number
  mlpRatio: number
  /** Tokens a latent frame. */
  S: number
  /** Caption rows. */
  L: number
  /** Caption channels. */
  D: number
  vin?: { G: number; d: number; blocks: number } | undefined
}

/** Pairs of frames that see each other. */
function framePairs(T: number, attention: FrameAttention | undefined): number {
  if (attention === undefined) return T * T
  if (attention.kind === 'windows') return windowsOf(attention, T).reduce((sum, [begin, end]) => sum + (end - begin) ** 2, 0)
  return neighbourhoods(attention.frames, T).reduce((sum, [begin, end]) => sum + end - begin, 0) + (attention.blend ? T * T : 0)
}

/** DiT work of one chunk of T latent frames, with G global tokens (0: none). */
function chunkFlops({ layout, depth, C, mlpRatio, S, L }: CostModel, T: number, G: number, attention?: FrameAttention): number {
  const rows = T * S
  const pairs = framePairs(T, attention)
  // qkv 3, proj 1, cross q 1, cross proj 1, mlp 2 · ratio; each 2 · rows · C².
  const block = (R: number, keys: number, self: number): number => (12 + 4 * mlpRatio) * R * C * C + 4 * R * keys * C + self
  if (layout === 'full') {
    const R = rows + G
    return depth * block(R, L, 4 * (S * S * pairs + 2 * rows * G + G * G) * C)
  }
  const spatial = block(rows, L + G, 4 * T * S * S * C)
  const temporal = block(rows, L + G, 4 * (layout === 'hybrid' ? S * S : S) * pairs * C)
  return depth * (spatial + temporal)
}

/** What CAM adds to a chunk of T latent frames of which F are context: half of the layers on them, and in each of those all rows attend to them, site by site. */
function camFlops(model: CostModel, T: number, F: number): number {
  const { C, S, depth } = model
  if (F === 0) return 0
  const layers = Math.floor(depth / 2)
  const read = 4 * T * S * C * C + 4 * F * S * C * C + 4 * S * T * F * C
  return chunkFlops({ ...model, depth: layers }, F, 0) + layers * read
}

/** Encoder and processor of the VIN, with `keyframes` latent frames read. */
function vinFlops({ S, L, C, D, vin }: CostModel, keyframes: number, readsMemory: boolean): number {
  if (vin === undefined) return 0
  const { G, d, blocks } = vin
  const keys = keyframes * S
  const Y = G + L
  const encoder = 4 * keys * C * d + 4 * G * d * d + 4 * G * keys * d + 16 * G * d * d
  const processor = blocks * (24 * Y * d * d + 4 * Y * Y * d) + 2 * L * d * D + 2 * G * d * C
  return encoder + processor + (readsMemory ? 16 * G * d * d : 0)
}

/** What of an evaluation its cost depends on. */
interface Costly {
  chunks: readonly Chunk[]
  keyframes?: readonly number[] | undefined
  attention?: FrameAttention | undefined
  streaming?: object | undefined
  /** Global tokens go on from those of the step before. */
  readsMemory?: boolean | undefined
}

/** One evaluation of all chunks; keyframes absent: no global tokens. With `streaming`, chunks read their context; what that does to captions is left out, as theirs. */
export function evaluationFlops(model: CostModel, { chunks, keyframes, attention, streaming, readsMemory = false }: Costly): number {
  const G = keyframes === undefined ? 0 : (model.vin?.G ?? 0)
  const dit = chunks.reduce((sum, { first, start, end }) => sum + chunkFlops(model, end - first, G, attention) + (streaming === undefined ? 0 : camFlops(model, end - first, start - first)), 0)
  if (keyframes === undefined) return dit
  // Keys and values of the global tokens are the same for all chunks: once per block.
  const globalKeys = model.layout === 'full' ? 0 : 2 * model.depth * 4 * G * model.C * model.C
  return dit + globalKeys + vinFlops(model, keyframes.length, readsMemory)
}
