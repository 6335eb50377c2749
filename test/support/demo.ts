// The built-in model in small: what the stages of train:demo and the measurements of evaluate:demo need to run, trained on next to nothing.

import type { DemoSizes } from '../../models/demo/recipe/config.js'
import { demoVocabularySize } from '../../models/demo/recipe/tokenizer.js'
import { tinyTextEncoder, tinyTransformer, tinyVAE } from './models.js'

export const smallDemo: DemoSizes = {
  // 16 channels a level are the least with which the temporal part can start as pictures that pass through.
  vae: { ...tinyVAE, norm_num_groups: 8, temporal: { ...tinyVAE.temporal, filters: 32 } },
  transformer: { ...tinyTransformer, model_max_length: 24 },
  textEncoder: { ...tinyTextEncoder, vocab_size: Math.max(96, demoVocabularySize) },
  heldOutFrames: 1,
  heldOutClips: 1,
  momentVideos: 1,
  latentFramesPerStep: 20
}
