// Trains a small model on the world of the built-in one, with a hook on every step, and makes a video with it: node examples/train.mjs [steps]
import { Trainer, VideoPipeline, demoWorld } from 'vin-native'

const steps = Number(process.argv[2] ?? 4)
const pipeline = await VideoPipeline.fromPretrained()
const trainer = new Trainer(pipeline, { learningRate: 1e-5, batchSize: 2, lengths: [20], trainable: 'vin', seed: 1 })
await trainer.fit(demoWorld({ seed: 7 }), {
  steps,
  checkpoint: 'trained',
  onStep: ({ step, loss, gradNorm, samplesPerSecond }) => console.log(`step ${step}: loss ${loss.toFixed(4)}, gradient ${gradNorm.toFixed(3)}, ${samplesPerSecond.toFixed(1)} videos/s`)
})
trainer.dispose()
await pipeline.dispose()

// A checkpoint is a model folder.
const trained = await VideoPipeline.fromPretrained('trained')
const video = await trained.generate({ prompt: 'a white circle moves over the sea', numFrames: 32, seed: 2 })
await video.save('trained.mp4', { scale: 4 })
console.log(`trained.mp4: ${video.numFrames} frames`)
await trained.dispose()
