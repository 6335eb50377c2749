// T5's encoder in float64 (opensora.md §4.2), and what a loss says to its weights: by central differences, whose error of about 1e-9 is far below fp32.

export type Weights = Map<string, Float64Array>

export interface T5Sizes {
  d_model: number
  d_kv: number
  d_ff: number
  num_layers: number
  num_heads: number
}

/** Fewer than 8 tokens: every distance has a bucket of its own. */
const bucketOf = (distance: number) => Math.abs(distance) + (distance > 0 ? 16 : 0)

const gelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

/** [L, d_model] of at most 8 ids. */
export function encodeText(weights: Weights, { d_model: d, d_kv: head, d_ff: wide, num_layers: layers, num_heads: heads }: T5Sizes, ids: readonly number[]): Float64Array {
  const L = ids.length
  const w = (name: string) => weights.get(`${name}.weight`)!
  const project = (x: Float64Array, name: string, from: number, to: number) => {
    const matrix = w(name)
    const out = new Float64Array(L * to)
    for (let at = 0; at < out.length; at++) {
      const row = Math.floor(at / to) * from
      const o = (at % to) * from
      let sum = 0
      for (let i = 0; i < from; i++) sum += x[row + i]! * matrix[o + i]!
      out[at] = sum
    }
    return out
  }
  const norm = (x: Float64Array, name: string) => {
    const scale = w(name)
    const rms = ids.map((_, row) => Math.sqrt(x.subarray(row * d, row * d + d).reduce((sum, value) => sum + value * value, 0) / d + 1e-6))
    return x.map((value, at) => (value / rms[Math.floor(at / d)]!) * scale[at % d]!)
  }
  let x = new Float64Array(L * d)
  ids.forEach((id, row) => x.set(w('shared').subarray(id * d, id * d + d), row * d))
  const table = w('encoder.block.0.layer.0.SelfAttention.relative_attention_bias')
  const inner = heads * head
  for (let layer = 0; layer < layers; layer++) {
    const [attention, dense] = [`encoder.block.${layer}.layer.0`, `encoder.block.${layer}.layer.1`]
    const n = norm(x, `${attention}.layer_norm`)
    const [q, k, v] = ['q', 'k', 'v'].map((name) => project(n, `${attention}.SelfAttention.${name}`, d, inner)) as [Float64Array, Float64Array, Float64Array]
    const mixed = new Float64Array(L * inner)
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < L; i++) {
        const powers = ids.map((_, j) => {
          let score = table[bucketOf(j - i) * heads + h]!
          for (let c = h * head; c < (h + 1) * head; c++) score += q[i * inner + c]! * k[j * inner + c]!
          return Math.exp(score)
        })
        const total = powers.reduce((a, b) => a + b)
        for (let c = h * head; c < (h + 1) * head; c++) mixed[i * inner + c] = powers.reduce((sum, power, j) => sum + power * v[j * inner + c]!, 0) / total
      }
    }
    const attended = project(mixed, `${attention}.SelfAttention.o`, inner, d)
    x = x.map((value, at) => value + attended[at]!)
    const m = norm(x, `${dense}.layer_norm`)
    const [gate, up] = ['wi_0', 'wi_1'].map((name) => project(m, `${dense}.DenseReluDense.${name}`, d, wide)) as [Float64Array, Float64Array]
    const out = project(gate.map((value, at) => gelu(value) * up[at]!), `${dense}.DenseReluDense.wo`, wide, d)
    x = x.map((value, at) => value + out[at]!)
  }
  return norm(x, 'encoder.final_layer_norm')
}

/** Adds factor · ∂⟨dText, T5(ids)⟩/∂weight to `gradients`. */
export function addTextGradients(gradients: Weights, weights: Weights, sizes: T5Sizes, ids: readonly number[], dText: Float64Array, factor: number): void {
  const product = () => encodeText(weights, sizes, ids).reduce((sum, value, at) => sum + value * dText[at]!, 0)
  const h = 1e-5
  for (const [name, values] of weights) {
    const out = gradients.get(name)!
    for (let at = 0; at < values.length; at++) {
      if (name === 'shared.weight' && !ids.includes(Math.floor(at / sizes.d_model))) continue
      const kept = values[at]!
      values[at] = kept + h
      const above = product()
      values[at] = kept - h
      const below = product()
      values[at] = kept
      out[at]! += (factor * (above - below)) / (2 * h)
    }
  }
}

/**
What a linear layer hands to its input, read off its weight's gradient: G = dYᵀ X, so dY = (X Xᵀ)⁻¹ X Gᵀ where the rows of X are independent, and dX = dY W.
X [L, D], G and W [out, D] → dX [L, D].
*/
export function inputGradient(X: ArrayLike<number>, G: ArrayLike<number>, W: ArrayLike<number>, L: number, D: number): Float64Array {
  const out = G.length / D
  // [X Xᵀ | X Gᵀ], reduced by Gauss–Jordan; X Xᵀ is positive definite, no pivots are needed.
  const columns = L + out
  const rows = Array.from({ length: L }, (_, i) => {
    const row = new Float64Array(columns)
    for (let j = 0; j < L; j++) for (let c = 0; c < D; c++) row[j]! += X[i * D + c]! * X[j * D + c]!
    for (let o = 0; o < out; o++) for (let c = 0; c < D; c++) row[L + o]! += X[i * D + c]! * G[o * D + c]!
    return row
  })
  for (let pivot = 0; pivot < L; pivot++) {
    const lead = rows[pivot]!
    const scale = 1 / lead[pivot]!
    for (let c = 0; c < columns; c++) lead[c]! *= scale
    rows.forEach((row, i) => {
      if (i === pivot) return
      const factor = row[pivot]!
      for (let c = 0; c < columns; c++) row[c]! -= factor * lead[c]!
    })
  }
  const dX = new Float64Array(L * D)
  for (let i = 0; i < L; i++) for (let o = 0; o < out; o++) for (let c = 0; c < D; c++) dX[i * D + c]! += rows[i]![L + o]! * W[o * D + c]!
  return dX
}
