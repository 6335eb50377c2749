// What the optimiser is told at a step: learning rate and EMA decay.

export interface RateOptions {
  learningRate: number
  warmupSteps: number
  totalSteps?: number | undefined
  decayFrom: number
}

/** Linear warm-up over the first steps; with `totalSteps`, a linear fall from `decayFrom · totalSteps` to 0 at `totalSteps`. Step counts from 0. */
export function learningRateAt(step: number, { learningRate, warmupSteps, totalSteps, decayFrom }: RateOptions): number {
  const warm = warmupSteps > 0 ? Math.min(1, (step + 1) / warmupSteps) : 1
  if (totalSteps === undefined) return learningRate * warm
  const from = decayFrom * totalSteps
  const left = step <= from ? 1 : Math.max(0, (totalSteps - step) / Math.max(1, totalSteps - from))
  return learningRate * warm * left
}

/** A constant decay, or one that grows from 1/20 so that early averages forget the initial weights. */
export type EmaDecay = number | { max: number; ramp: true }

/** min(max, (1 + i)/(20 + i)), i the step from 0. */
export function emaDecayAt(step: number, decay: EmaDecay): number {
  return typeof decay === 'number' ? decay : Math.min(decay.max, (1 + step) / (20 + step))
}
