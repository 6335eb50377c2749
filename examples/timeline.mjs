// A prompt that changes after two seconds, and a second video that goes on where the first one ends: node examples/timeline.mjs
import { VideoPipeline } from 'vin-native'

const pipeline = await VideoPipeline.fromPretrained()
const prompt = [
  { at: 0, prompt: 'a large red circle moves over the meadow' },
  { at: 2, prompt: 'a large red circle moves over the night' }
]
const first = await pipeline.generate({ prompt, numFrames: 64, seed: 3 })
await first.save('first.mp4', { scale: 4 })

// Given frames count in numFrames: 64 that are there, 64 that are new.
const both = await pipeline.generate({ prompt: 'a large red circle moves over the night', video: first, numFrames: 128, seed: 4 })
await both.save('both.mp4', { scale: 4 })
console.log(`${first.numFrames} and ${both.numFrames} frames`)
await pipeline.dispose()
