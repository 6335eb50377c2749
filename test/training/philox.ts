// The random numbers of training once more, from model.md §6 and the comments of lib/training/random.ts, in 64-bit integers: whoever shares no line with the
// product can say what it should have drawn.

const MASK = 0xffffffffn

function rounds(counter: [bigint, bigint, bigint, bigint], key: [bigint, bigint]): number[] {
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < 10; round++) {
    const [a, b] = [c0 * 0xd2511f53n, c2 * 0xcd9e8d57n]
    ;[c0, c1, c2, c3] = [(b >> 32n) ^ c1 ^ k0, b & MASK, (a >> 32n) ^ c3 ^ k1, a & MASK]
    k0 = (k0 + 0x9e3779b9n) & MASK
    k1 = (k1 + 0xbb67ae85n) & MASK
  }
  return [c0, c1, c2, c3].map(Number)
}

/** Words of counter (0, block, stream, 0), (1, block, stream, 0), … one after another. */
export class Draws {
  readonly #key: [bigint, bigint]
  readonly #stream: bigint
  readonly #block: bigint
  #taken = 0
  #four: number[] = []

  constructor(seed: bigint, stream: number, block: number) {
    this.#key = [seed & MASK, seed >> 32n]
    this.#stream = BigInt(stream)
    this.#block = BigInt(block)
  }

  word(): number {
    if (this.#taken % 4 === 0) this.#four = rounds([BigInt(this.#taken / 4), this.#block, this.#stream, 0n], this.#key)
    return this.#four[this.#taken++ % 4]!
  }

  uniform(): number {
    return this.word() / 2 ** 32
  }

  /** ⌊uniform · count⌋ */
  below(count: number): number {
    return Math.floor(this.uniform() * count)
  }

  /** Fisher–Yates from the end. */
  permutation(count: number): number[] {
    const order = [...Array(count).keys()]
    for (let last = count - 1; last > 0; last--) {
      const other = this.below(last + 1)
      const kept = order[last]!
      order[last] = order[other]!
      order[other] = kept
    }
    return order
  }

  /** Box–Muller, two normals of two words. */
  normals(count: number): number[] {
    const out: number[] = []
    while (out.length < count) {
      const radius = Math.sqrt(-2 * Math.log((this.word() + 1) / 2 ** 32))
      const angle = 2 * Math.PI * this.uniform()
      out.push(radius * Math.cos(angle), radius * Math.sin(angle))
    }
    return out
  }
}

/** Noise of latents [C,N,H,W], whose element index is ((frame·C + c)·H + y)·W + x. */
export function noiseOf(draws: Draws, [C, N, H, W]: readonly [number, number, number, number]): Float32Array {
  const drawn = draws.normals(C * N * H * W)
  const out = new Float32Array(drawn.length)
  for (let c = 0; c < C; c++) for (let n = 0; n < N; n++) for (let at = 0; at < H * W; at++) out[(c * N + n) * H * W + at] = drawn[(n * C + c) * H * W + at]!
  return out
}
