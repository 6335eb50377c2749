// Videos of the world as the VAE takes and gives them.

import { pixelPlanes } from 'vin-native'
import type { TensorData, VAE } from 'vin-native'
import { latentNoise, PhiloxRandom, renderFrames, streams, WORLD_SIZE } from 'vin-native/demo-world'
import type { World } from 'vin-native/demo-world'

/** The latents of a world's first video frames. */
export async function encodeWorld(vae: VAE, world: World, frames: number): Promise<TensorData> {
  return vae.encode(pixelPlanes({ data: renderFrames(world, 0, frames), shape: [frames, WORLD_SIZE, WORLD_SIZE, 3] }))
}

/** Noise for the latents of video number `index` of a seed. */
export function noiseFor({ shape }: TensorData, seed: number, index: number): TensorData {
  return { data: latentNoise(new PhiloxRandom(seed, streams.noise, index), shape as [number, number, number, number]), shape: [...shape] }
}
