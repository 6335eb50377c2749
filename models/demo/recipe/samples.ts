// What a training can show while it runs: a picture of samples for each checkpoint, of the same prompts and seeds.

import { join } from 'node:path'
import { mkdir } from 'node:fs/promises'
import { encode } from 'fast-png'
import { VideoPipeline } from 'vin-native'
import type { ModelOptions, Picture } from 'vin-native'
import { promptOf } from '../evaluation/obedience.js'
import { tile } from '../evaluation/sheet.js'
import { writeWhole } from './files.js'

/** Prompts are those of seeds from here on; neither training nor an evaluation uses them. */
const FIRST_PROMPT = 7000

/** Of a sampled video; a row shows a frame every half second. */
const SECONDS = 4

/** `onCheckpoint` of a run: writes sheets/STAGE-STEP.png below `folder`, 24 single pictures or four videos with one row each. */
export function sheets(stage: 'images' | 'transformer', folder: string, model: ModelOptions): (checkpoint: string, step: number) => Promise<void> {
  const [videos, numFrames, columns] = stage === 'images' ? [24, 1, 8] : [4, 16 * SECONDS, 2 * SECONDS]
  return async (checkpoint, step) => {
    await using pipeline = await VideoPipeline.fromPretrained(checkpoint, model)
    const pictures: Picture[] = []
    for (let seed = FIRST_PROMPT; seed < FIRST_PROMPT + videos; seed++) {
      const video = await pipeline.generate({ prompt: promptOf(seed, numFrames).prompt, seed, numFrames })
      for await (const frame of video.frames()) if (frame.index % 8 === 0) pictures.push({ ...frame, data: frame.data.slice() })
    }
    await mkdir(join(folder, 'sheets'), { recursive: true })
    await writeWhole(join(folder, 'sheets', `${stage}-${String(step).padStart(6, '0')}.png`), encode({ ...tile(pictures, columns, 2), channels: 3, depth: 8 }))
  }
}
