// Weights changed in place: disturbed for a while, or moved along a gradient to hold it against finite differences.
import type { NativeEngine, NativeTensor, NativeTrainer } from '../../lib/native/binding.js'

const none = { fc: 0, fd: 0 }

/** Scales a weight by 1.1 and shakes each of its values by 0.05, so that neither zeros nor a norm behind it hide the change; the result puts the old values back. */
export async function disturb(engine: NativeEngine, weight: NativeTensor): Promise<() => void> {
  const { data, shape } = await weight.read()
  const noise = engine.op('randn', { y: { shape }, seed_low: 7, seed_high: 0, stream: 1, frame_major: 0 })['y']!
  engine.op('linear_combination', { y: weight, a: weight, b: noise, fa: 1.1, fb: 0.05, ...none })
  noise.dispose()
  return () => {
    const before = engine.upload(data, shape)
    engine.op('copy', { y: weight, x: before })
    before.dispose()
  }
}

/**
The derivative of `loss` along its own gradient over all trainable weights: as the trainer says, ‖g‖, and by differences of fourth order,
(8 (f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h, with a step h that changes the loss by `change` of itself: large against rounding (1e-7), small against curvature.
`loss` runs a backward pass and returns its value.
*/
export async function directional(
  engine: NativeEngine,
  trainer: NativeTrainer,
  weightOf: (name: string) => NativeTensor,
  loss: () => Promise<number>,
  change = 1e-3
): Promise<{ predicted: number; found: number }> {
  trainer.zeroGradients()
  const base = await loss()
  const moved: { weight: NativeTensor; before: NativeTensor; gradient: NativeTensor }[] = []
  let squares = 0
  for (const name of trainer.names()) {
    const gradient = await trainer.gradient(name).read()
    const weight = weightOf(name)
    const before = await weight.read()
    for (const value of gradient.data) squares += value * value
    moved.push({ weight, before: engine.upload(before.data, before.shape), gradient: engine.upload(gradient.data, gradient.shape) })
  }
  const norm = Math.sqrt(squares)
  const step = (change * base) / norm
  const at = async (distance: number): Promise<number> => {
    for (const { weight, before, gradient } of moved) engine.op('linear_combination', { y: weight, a: before, b: gradient, fa: 1, fb: distance / norm, ...none })
    return loss()
  }
  const found = (8 * ((await at(step)) - (await at(-step))) - ((await at(2 * step)) - (await at(-2 * step)))) / (12 * step)
  await at(0)
  return { predicted: norm, found }
}
