// When overlaps are blended, as a window over the schedule: at sampling step s of n while until < (n − s)/n ≤ from.

export interface FusionWindow {
  from: number
  until: number
}

export type Fusion = 'early' | 'mid' | 'late' | 'none' | FusionWindow

const windows: Record<string, FusionWindow> = {
  early: { from: 1, until: 0.4 },
  mid: { from: 0.7, until: 0.3 },
  late: { from: 0.4, until: 0 },
  none: { from: 0, until: 0 }
}

export const fusionNames = Object.keys(windows)

function fusionWindow(fusion: Fusion): FusionWindow {
  return typeof fusion === 'string' ? (windows[fusion] as FusionWindow) : fusion
}

/** The quotient is compared with the literals: a product such as 0.7 · n is inexact. */
export function fuses(fusion: Fusion, step: number, numInferenceSteps: number): boolean {
  const { from, until } = fusionWindow(fusion)
  const remaining = (numInferenceSteps - step) / numInferenceSteps
  return until < remaining && remaining <= from
}
