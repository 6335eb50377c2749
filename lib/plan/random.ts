// Random numbers by Philox 4×32-10 with the counter of model.md §6, (i low, i high, stream, 0), key = seed. A generator is (seed, stream, block, words drawn): the word
// counter is i low, block is i high. Nothing else has to be kept to resume.

const MULTIPLIER_0 = 0xd2511f53
const MULTIPLIER_1 = 0xcd9e8d57
const WEYL_0 = 0x9e3779b9
const WEYL_1 = 0xbb67ae85

/** High 32 bits of the unsigned product a·b. */
function multiplyHigh(a: number, b: number): number {
  const a0 = a & 0xffff
  const a1 = a >>> 16
  const b0 = b & 0xffff
  const b1 = b >>> 16
  const low = a0 * b0
  const middle = a1 * b0 + (low >>> 16)
  const carried = (middle & 0xffff) + a0 * b1
  return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(carried / 65536)) >>> 0
}

/** Ten rounds; `counter` and `key` are unsigned 32-bit words, the result goes to `out`. */
export function philox4x32(out: Uint32Array, counter: readonly [number, number, number, number], key: readonly [number, number]): Uint32Array {
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0)
    const low0 = Math.imul(MULTIPLIER_0, c0)
    const high1 = multiplyHigh(MULTIPLIER_1, c2)
    const low1 = Math.imul(MULTIPLIER_1, c2)
    c0 = (high1 ^ c1 ^ k0) >>> 0
    c1 = low1 >>> 0
    c2 = (high0 ^ c3 ^ k1) >>> 0
    c3 = low0 >>> 0
    k0 = (k0 + WEYL_0) >>> 0
    k1 = (k1 + WEYL_1) >>> 0
  }
  out[0] = c0
  out[1] = c1
  out[2] = c2
  out[3] = c3
  return out
}

const WORD = 2 ** -32

export class PhiloxRandom {
  readonly #key: readonly [number, number]
  readonly #stream: number
  readonly #block: number
  readonly #words = new Uint32Array(4)
  #position = 0

  /** Words start at counter (0, block, stream, 0). */
  constructor(seed: number | bigint, stream: number, block = 0) {
    const wide = BigInt.asUintN(64, BigInt(seed))
    this.#key = [Number(wide & 0xffffffffn), Number(wide >> 32n)]
    this.#stream = stream >>> 0
    this.#block = block >>> 0
  }

  /** An unsigned 32-bit word. */
  word(): number {
    const index = this.#position++
    if ((index & 3) === 0) philox4x32(this.#words, [(index / 4) >>> 0, this.#block, this.#stream, 0], this.#key)
    return this.#words[index & 3]!
  }

  /** In [0, 1), a multiple of 2⁻³². */
  uniform(): number {
    return this.word() * WORD
  }

  /** A whole number from 0 to count − 1: ⌊word · count / 2³²⌋. */
  int(count: number): number {
    return Math.floor(this.uniform() * count)
  }

  /** One of the values, all alike. */
  pick<T>(values: readonly T[]): T {
    return values[this.int(values.length)]!
  }

  /** Fisher–Yates from the end: [0, count) in random order. */
  permutation(count: number): number[] {
    const order = Array.from({ length: count }, (_, index) => index)
    for (let last = count - 1; last > 0; last--) {
      const other = this.int(last + 1)
      ;[order[last], order[other]] = [order[other]!, order[last]!]
    }
    return order
  }

  /** Standard normals by Box–Muller on whole Philox blocks, in the order of model.md §6, counted from the next block. */
  normals(count: number): Float32Array {
    const out = new Float32Array(Math.ceil(count / 4) * 4)
    this.#position = Math.ceil(this.#position / 4) * 4
    for (let at = 0; at < count; at += 4) {
      for (let pair = 0; pair < 4; pair += 2) {
        const radius = Math.sqrt(-2 * Math.log((this.word() + 1) * WORD))
        const angle = 2 * Math.PI * (this.word() * WORD)
        out[at + pair] = radius * Math.cos(angle)
        out[at + pair + 1] = radius * Math.sin(angle)
      }
    }
    return out.subarray(0, count)
  }
}
