// Which timestep each video of a step is trained at (model.md §4).

import type { Scheduler } from '../schedulers/scheduler.js'
import type { PhiloxRandom } from '../plan/random.js'

export type TimestepSampling = 'uniform' | { mean: number; std: number }

/** Φ⁻¹, the inverse of the normal distribution function: Wichura's algorithm AS 241, relative error below 1e-15. */
export function inverseNormal(p: number): number {
  if (p <= 0) return -Infinity
  if (p >= 1) return Infinity
  const q = p - 0.5
  if (Math.abs(q) <= 0.425) {
    const r = 0.180625 - q * q
    return (q * polynomial(r, CENTRE_ABOVE)) / polynomial(r, CENTRE_BELOW)
  }
  const tail = Math.sqrt(-Math.log(q < 0 ? p : 1 - p))
  const value = tail <= 5 ? polynomial(tail - 1.6, MIDDLE_ABOVE) / polynomial(tail - 1.6, MIDDLE_BELOW) : polynomial(tail - 5, FAR_ABOVE) / polynomial(tail - 5, FAR_BELOW)
  return q < 0 ? -value : value
}

function polynomial(x: number, coefficients: readonly number[]): number {
  let sum = 0
  for (let degree = coefficients.length - 1; degree >= 0; degree--) sum = sum * x + coefficients[degree]!
  return sum
}

const CENTRE_ABOVE = [
  3.387132872796366608, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125, 45921.953931549871457, 67265.770927008700853, 33430.575583588128105,
  2509.0809287301226727
]
const CENTRE_BELOW = [
  1, 42.313330701600911252, 687.1870074920579083, 5394.1960214247511077, 21213.794301586595867, 39307.89580009271061, 28729.085735721942674, 5226.495278852854561
]
const MIDDLE_ABOVE = [
  1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504, 1.27045825245236838258, 0.24178072517745061177, 0.0227238449892691845833,
  7.7454501427834140764e-4
]
const MIDDLE_BELOW = [
  1, 2.05319162663775882187, 1.6763848301838038494, 0.68976733498510000455, 0.14810397642748007459, 0.0151986665636164571966, 5.475938084995344946e-4,
  1.05075007164441684324e-9
]
const FAR_ABOVE = [
  6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 0.29656057182850489123, 0.026532189526576123093, 0.0012426609473880784386, 2.71155556874348757815e-5,
  2.01033439929228813265e-7
]
const FAR_BELOW = [
  1, 0.59983220655588793769, 0.13692988092273580531, 0.0148753612908506148525, 7.868691311456132591e-4, 1.8463183175100546818e-5, 1.4215117583164458887e-7,
  2.04426310338993978564e-15
]

/** Noise levels σ in (0, 1) of a step's videos. Logit-normal ones are stratified: video j takes u = (π(j) + U)/B, σ = sigmoid(mean + std · Φ⁻¹(u)). */
export function drawNoiseLevels(random: PhiloxRandom, videos: number, sampling: TimestepSampling): number[] {
  // (word + ½)/2³² keeps U inside (0, 1), so that no σ is 0 or 1.
  const inside = () => random.uniform() + 2 ** -33
  if (sampling === 'uniform') return Array.from({ length: videos }, inside)
  const order = random.permutation(videos)
  return order.map((stratum) => 1 / (1 + Math.exp(-(sampling.mean + sampling.std * inverseNormal((stratum + inside()) / videos)))))
}

/** The timestep of a noise level, of a scheduler's n: n σ for flow schedulers, else ⌊n σ⌋. */
export function timestepOf(noiseLevel: number, { discrete, numTrainTimesteps }: Pick<Scheduler, 'discrete' | 'numTrainTimesteps'>): number {
  return discrete ? Math.min(numTrainTimesteps - 1, Math.floor(numTrainTimesteps * noiseLevel)) : numTrainTimesteps * noiseLevel
}
