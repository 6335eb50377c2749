// What there is to say of a data set before anything trains on it.

import { abortableCall } from '../native/cancel.js'
import type { VideoPipeline } from '../pipeline/pipeline.js'
import { fewestVideoFrames, latentFramesOf } from '../plan/frames.js'
import { warnAbout } from './dataset.js'
import type { Dataset, DatasetNeeds, DatasetReport } from './dataset.js'
import { captionWarning } from './words.js'

/** @param lengths latent frames of training videos, the shortest first */
export async function checkDataset(pipeline: VideoPipeline, lengths: readonly number[], dataset: Dataset, options: Omit<DatasetNeeds, 'minFrames'> = {}): Promise<DatasetReport> {
  const { microBatch } = pipeline
  const shortest = lengths[0] ?? 1
  const minFrames = fewestVideoFrames(shortest, microBatch)
  const report = (await abortableCall(() => dataset.prepare?.({ ...options, minFrames }), options.signal)) ?? { clips: [], warnings: [], needs: { minFrames } }
  const warnings = warnAbout(report)
  const short = report.clips.filter((clip) => clip.short === true).map(({ frames }) => latentFramesOf(frames, microBatch))
  const left = warnings.find(({ code }) => code === 'clips-left-out')
  if (left !== undefined && short.length > 0) left.message += `; lengths that begin with ${Math.min(...short)} latent frames, not ${shortest}, would take the short ones`
  const captions = report.clips.filter(({ use }) => use === 'training').map(({ prompt }) => prompt)
  const warning = pipeline.has('tokenizer') ? captionWarning(pipeline.tokenizer, captions, pipeline.transformer.config.model_max_length) : undefined
  return { ...report, warnings: warning === undefined ? warnings : [...warnings, warning] }
}
