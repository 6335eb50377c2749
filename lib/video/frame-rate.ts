// Frames a second as a fraction, for the headers of files: a rate of television stays what it is, 30000/1001, where a decimal would let sound drift.

/** Denominators of the rates that cameras and televisions have. */
const usual = [1, 1001]

/** A rate as a fraction in lowest terms, to within a millionth of it: 16 → 16/1, 29.97 and 30000/1001 → 30000/1001, 12.5 → 25/2. */
export function frameRateFraction(fps: number): [numerator: number, denominator: number] {
  for (const denominator of usual) {
    const numerator = Math.round(fps * denominator)
    if (Math.abs(numerator / denominator - fps) < 1e-9 * fps) return [numerator, denominator]
  }
  // 23.976, 29.97, 59.94 as people write them.
  const ntsc = Math.round(fps) * 1000
  if (Math.abs(ntsc / 1001 - fps) < 5e-5 * fps) return [ntsc, 1001]
  return continuedFraction(fps)
}

function continuedFraction(fps: number): [numerator: number, denominator: number] {
  let [before, numerator] = [0, 1]
  let [below, denominator] = [1, 0]
  for (let rest = fps; ; rest = 1 / (rest - Math.floor(rest))) {
    const whole = Math.floor(rest)
    ;[before, numerator] = [numerator, whole * numerator + before]
    ;[below, denominator] = [denominator, whole * denominator + below]
    if (Math.abs(numerator / denominator - fps) <= 1e-6 * fps) return [numerator, denominator]
  }
}

/**
How long frame `index` lasts, in whole parts of a second, as GIF and WebP count. Each frame ends at the rounded time, so that the video as a whole keeps its length.
*/
export function frameDelay(index: number, fps: number, partsPerSecond: number): number {
  return Math.round(((index + 1) * partsPerSecond) / fps) - Math.round((index * partsPerSecond) / fps)
}
