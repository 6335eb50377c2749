// The VAE's numbers against a float64 restatement of the published one (support/reference/vae.ts), on every instruction set and every CUDA plug-in: widths, depths, groups and micro-batches of all kinds.
import { afterAll, describe, expect, test } from 'vitest'
import type { TensorData } from '../../lib/index.js'
import { deviceOf, devicesAndSets } from '../support/devices.js'
import { compare } from '../support/fixtures.js'
import { tinyVAE } from '../support/models.js'
import { ReferenceVAE } from '../support/reference/vae.js'
import type { Values } from '../support/reference/vae.js'
import { countingVAE, pictures } from '../support/vae.js'

afterAll(() => void deviceOf('cpu'))

const sizes = { ...tinyVAE, scaling_factor: 0.18215 }
const single = ({ data, shape }: Values): TensorData => ({ data: Float32Array.from(data), shape: [...shape] })

const expectNear = (actual: TensorData, wanted: Values): void => {
  const { difference, magnitude } = compare(actual, single(wanted))
  expect(difference).toBeLessThanOrEqual(1e-5 * magnitude)
}

describe.each([
  ['17 ↔ 5, two micro-batches', { ...sizes, micro_frame_size: 17 }, [34, 16, 24]],
  ['16 ↔ 5, two micro-batches', sizes, [32, 16, 16]],
  ['17 ↔ 5, four frames left, shapes as published', { ...sizes, block_out_channels: [8, 16, 32, 32], layers_per_block: 2, norm_num_groups: 8, temporal: { ...sizes.temporal, num_res_blocks: 4, channel_multipliers: [1, 2, 2, 4] }, micro_frame_size: 17 }, [21, 8, 16]],
  ['16 ↔ 5, five frames left, odd sizes, widths that fall, groups of one channel', { ...sizes, block_out_channels: [12, 6, 18, 12], norm_num_groups: 6, scaling_factor: 0.6, temporal: { ...sizes.temporal, filters: 6, num_res_blocks: 2, channel_multipliers: [2, 1, 3, 1] } }, [21, 21, 30]],
  ['8 ↔ 3, one frame left, one group, three layers', { ...sizes, block_out_channels: [5, 7, 9, 11], layers_per_block: 3, norm_num_groups: 1, temporal: { ...sizes.temporal, filters: 7, channel_multipliers: [1, 2, 1, 3] }, micro_frame_size: 8, micro_latent_size: 3 }, [9, 24, 17]],
  ['20 ↔ 5, which needs no frames in front', { ...sizes, micro_frame_size: 20 }, [20, 8, 8]]
] as const)('%s', (_name, config, [T, H, W]) => {
  const pixels = pictures(T, H, W)
  let wanted: { reference: ReferenceVAE; latents: TensorData; pixels: Values } | undefined

  test.each(devicesAndSets)('%s', async (device) => {
    const { vae, weights } = await countingVAE(config, T, { device: deviceOf(device) })
    await using _ = vae
    if (wanted === undefined) {
      const reference = new ReferenceVAE(config, weights)
      const latents = single(reference.encode(pixels))
      wanted = { reference, latents, pixels: reference.decode(latents, T) }
    }
    expectNear(await vae.encode(pixels), wanted.latents)
    expectNear(await vae.decode(wanted.latents, { numFrames: T }), wanted.pixels)
    expect([...wanted.reference.read].sort()).toEqual(vae.weights().map(({ name }) => name).sort())
  })
})
