// Where each case of what must not break is tested: a case without a test, or a test that has gone, is red here. Cases carry the numbers of the robustness page.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const safetensors = 'core/safetensors.test.ts'
const tokenizer = 'models/tokenizer.test.ts'
const components = 'models/components.test.ts'
const options = 'options/options.test.ts'
const sampling = 'pipeline/robustness.test.ts'

/** Case → what it says, and the file and title of each of its tests. */
const cases: Record<string, [what: string, ...tests: [file: string, title: string][]]> = {
  F1: ['header lengths that are none', [safetensors, "describe('header length'"], [safetensors, 'is compared with the limits and the real file before memory is taken']],
  F2: ['files beyond a limit', [safetensors, '16 MiB + 1'], [safetensors, '100,000,001'], [safetensors, '65,537 tensors'], [safetensors, 'rank 9'], [safetensors, 'a name of 513 bytes'], [safetensors, 'in less than 200 ms']],
  F3: ['spans that are none', [safetensors, "describe('spans'"], [safetensors, 'every refusal has its own text']],
  F4: ['shapes that are none', [safetensors, "describe('shapes'"]],
  F5: ['header text', [safetensors, "describe('header text'"], [safetensors, 'a tensor named __proto__ is plain data'], ['core/json.test.ts', 'a key named __proto__ is data']],
  F6: ['dtypes and values that nothing computes with', [safetensors, 'is not supported, which names the tensor'], [safetensors, 'in a weight is an error that names the tensor']],
  F7: ['one flipped bit', ['models/checksums.test.ts', 'one flipped bit is found by the SHA256SUMS of']],
  F8: ['a file that shrinks', [safetensors, 'a file that is truncated while it is read is an error or a finished read, never a crash']],
  F9: [
    'other weights than the config says',
    [safetensors, 'missing, unexpected and wrong-shaped tensors are listed, and nothing stays loaded'],
    [safetensors, 'known buffers of published checkpoints are passed over'],
    [components, 'out of range is ERR_VIN_FORMAT naming it'],
    [components, 'missing weights, and weights of another shape']
  ],
  F11: ['shards elsewhere', [safetensors, 'as a shard is refused'], [safetensors, 'a symbolic link and a hard link are refused although their target is good, before another shard is opened'], [safetensors, 'is refused before another shard is opened'], [safetensors, 'load through their links'], [components, 'shards under an index load like one file']],
  F12: ['tokenizers', [tokenizer, 'a file above 64 MiB is refused unread'], [tokenizer, 'nesting beyond 64 is refused without recursion'], [tokenizer, 'a merge of unknown tokens'], ['core/json.test.ts', '10,000 and 10,000,000 levels end in an error and not in a stack overflow']],
  S3: ['Inf inside the model', [sampling, 'S3 Inf put into block 2 at step 5'], ['pipeline/job.test.ts', 'Inf put into block 1 at step 3']],
  S4: ['numbers of frames', [options, 'Expected an integer from 1 to 4096 for numFrames but received NaN'], [options, 'short videos work: 1 frame, and one less than a chunk']],
  S5: ['fps, width and height', [sampling, 'S5 fps, width and height'], [options, 'the two nearest are 96 and 104']],
  S6: ['prompts', [sampling, 'S6 prompts'], [tokenizer, 'NUL is dropped and half surrogates become U+FFFD, whole ones stay'], [tokenizer, 'a long text is cut to maxLength and keeps its end of sequence']],
  S7: ['guidance', [sampling, 'S7 guidance 0 and 1 are one evaluation a step'], ['pipeline/denoise.test.ts', 'guidance 0 is the unconditional branch, 1 the conditional one, and w mixes them']],
  S8: ['abort at every place', [sampling, 'S8 abort'], ['pipeline/job.test.ts', 'rejects with the reason within 250 ms, and the pipeline works'], ['video/save.test.ts', 'an abort rejects with its reason and leaves nothing behind']],
  S11: ['kills at any moment', ['pipeline/killed.test.ts', 'killed at 20 moments'], ['pipeline/killed.test.ts', 'killed while the .mp4 is written'], ['training/kill.test.ts', 'a run killed twenty times'], ['training/checkpoint.test.ts', 'killed between any two operations'], ['cli/run-folder.test.ts', 'a dead holder is followed at once']],
  S12: ['states of another run', [sampling, 'S12 a saved state'], ['pipeline/resume.test.ts', 'another %s is named'], ['pipeline/resume.test.ts', 'gives way to the one before']],
  A3: ['a hook that throws', ['pipeline/hooks.test.ts', 'rejects the job with its error, the iterator too, and the pipeline is usable at once (A3)'], ['pipeline/previews.test.ts', 'an onPreview that throws rejects the job']],
  O1: [
    'video files as others read them',
    ['video/ffprobe.test.ts', 'mp4: H.264 baseline, yuv420p, every frame, the exact rate'],
    ['video/mp4.test.ts', 'decoded by ffmpeg, the pixels are within 33 dB'],
    ['video/mp4.test.ts', 'odd sizes are padded with a warning and never reach the encoder'],
    ['video/formats.test.ts', 'holds all frames, one palette, and delays that add up to the length of the video'],
    ['video/formats.test.ts', 'holds every pixel and the exact delay, at odd sizes too'],
    ['video/yuv.test.ts', 'white is 235, black is 16, and greys have no colour']
  ],
  O2: ['a killed encoder', ['video/save.test.ts', 'a killed encoder is one clear error, and the latents can still be saved'], ['cli/run.test.ts', 'a video that cannot be written leaves its latents, and decode makes it'], [sampling, 'O2 what was sampled outlives a video that cannot be written']]
}

test.each(Object.entries(cases).map(([id, [what, ...tests]]) => [id, what, tests] as const))('%s %s', (_id, _what, tests) => {
  expect(tests.length).toBeGreaterThan(0)
  for (const [file, title] of tests) expect(readFileSync(join(import.meta.dirname, file), 'utf8')).toContain(title)
})
