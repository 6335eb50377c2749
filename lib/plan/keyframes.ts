// Latent frames that the VIN reads: ⌊k · interval · latent_fps + 10⁻⁹⌋ below N, without repeats. The 10⁻⁹ lifts products such as 9 · 0.6 · 5 over 27.

export function planKeyframes(latentFrames: number, keyframeInterval: number, latentFps: number): number[] {
  const stride = keyframeInterval * latentFps
  // Up to one frame a step every frame is hit; without this line a tiny interval would take for ever.
  if (stride <= 1) return Array.from({ length: latentFrames }, (_, frame) => frame)
  const keyframes: number[] = []
  for (let k = 0; ; k++) {
    const frame = Math.floor(k * keyframeInterval * latentFps + 1e-9)
    if (frame >= latentFrames) return keyframes
    keyframes.push(frame)
  }
}
