// Two worker threads, each with a pipeline and half of the cores: node examples/worker.mjs
import { availableParallelism } from 'node:os'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
import { VideoPipeline } from 'vin-native'

if (isMainThread) {
  const prompts = ['a red circle moves over the sea', 'a blue square moves over the night']
  const threads = Math.max(1, Math.floor(availableParallelism() / prompts.length))
  await Promise.all(
    prompts.map(
      (prompt, index) =>
        new Promise((resolve, reject) => {
          const worker = new Worker(new URL(import.meta.url), { workerData: { prompt, threads, path: `worker-${index}.mp4` } })
          worker.on('message', ({ path, numFrames }) => console.log(`${path}: ${numFrames} frames`))
          worker.on('error', reject)
          worker.on('exit', resolve)
        })
    )
  )
} else {
  const { prompt, threads, path } = workerData
  const pipeline = await VideoPipeline.fromPretrained('demo', { threads })
  const video = await pipeline.generate({ prompt, numFrames: 32, seed: 1 })
  await video.save(path)
  parentPort.postMessage({ path, numFrames: video.numFrames })
  await pipeline.dispose()
}
