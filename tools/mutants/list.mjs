// Faults for `node tools/mutants.mjs`: in `file`, the text `from`, which occurs once, becomes `to`, and at least one test of `tests` has to fail.
// A fault is small and plausible: a tail forgotten, a bound off by one, two operands exchanged. It compiles and it does not crash. `dist`: its tests run what is compiled.

export const mutants = [
  // ---- kernels ----
  {
    name: 'attention-running-sum', area: 'CPU kernels: online softmax', file: 'csrc/cpu/attention.cpp',
    from: 'load(block.total + n) * shrink + (added[0] + added[1])', to: 'load(block.total + n) + (added[0] + added[1])',
    tests: ['test/ops/attention.test.ts']
  },
  {
    name: 'linear-tail', area: 'CPU kernels: matrix product', file: 'csrc/cpu/linear.cpp',
    from: 'if (k < K) sums[1] += load_n(row + k, (int)(K - k)) * load_n(line + k, (int)(K - k));', to: '',
    tests: ['test/ops/linear.test.ts']
  },
  {
    name: 'conv3d-padding', area: 'CPU kernels: convolution', file: 'csrc/cpu/conv3d.cpp',
    from: 'args->stride_t, args->stride_s, args->pad_t, args->pad_s, args->pad_s};', to: 'args->stride_t, args->stride_s, args->pad_s, args->pad_s, args->pad_s};',
    tests: ['test/ops/conv3d.test.ts']
  },
  {
    name: 'layer-norm-variance', area: 'CPU kernels: norms', file: 'csrc/cpu/layer_norm_modulate.cpp',
    from: 'sum(squares) / (float)C + eps', to: 'sum(squares) / (float)(C - 1) + eps',
    tests: ['test/ops/layer_norm_modulate.test.ts']
  },
  {
    name: 'fusion-blend-cuda', area: 'CUDA kernels', file: 'cuda/fusion_blend.cu',
    from: '(double)(frames - frame) * a', to: '(double)(frames - frame - 1) * a',
    tests: ['test/cuda/fusion-blend.test.ts']
  },

  // ---- core ----
  {
    name: 'arena-rest', area: 'core: arena', file: 'csrc/core/arena.cpp',
    from: 'if (rest) free_[offset + size] = rest;', to: 'if (rest) free_[offset] = rest;',
    tests: ['test/models/evaluation.test.ts']
  },
  {
    name: 'tape-accumulate', area: 'core: tape', file: 'csrc/core/tape.cpp',
    from: 'call(ops, vin_add_args{target.view(), target.view(), gradient.view()});', to: 'call(ops, vin_copy_args{target.view(), gradient.view()});',
    tests: ['test/training/trainer.test.ts']
  },
  {
    name: 'checkpoint-gradient', area: 'core: recomputation', file: 'csrc/ops/graph.cpp',
    from: 'ops.tape->alias(again, output);', to: '',
    tests: ['test/training/trainer.test.ts']
  },
  {
    name: 'philox-key', area: 'core: random numbers', file: 'csrc/core/philox.h',
    from: 'key_high += 0xBB67AE85u;', to: 'key_high += 0xBB67AE84u;',
    tests: ['test/ops/randn.test.ts']
  },
  {
    name: 'safetensors-hole', area: 'core: safetensors', file: 'csrc/core/safetensors.cpp',
    from: 'if (tensor.begin > at) fail(', to: 'if (tensor.begin > at + 8) fail(',
    tests: ['test/core/safetensors.test.ts']
  },
  {
    name: 'json-key-twice', area: 'core: JSON', file: 'csrc/core/json.cpp',
    from: 'if (members_[by_key_[i]].first == members_[by_key_[i - 1]].first) return', to: 'if (i > 1 && members_[by_key_[i]].first == members_[by_key_[i - 2]].first) return',
    tests: ['test/core/json.test.ts']
  },
  {
    name: 'cancel-flag', area: 'addon: abort', file: 'csrc/napi/tensor.cpp',
    from: 'held()->requested = true;', to: 'held()->requested = false;',
    tests: ['test/native/cancel.test.ts']
  },

  // ---- models ----
  {
    name: 'vin-keyframes', area: 'models: VIN', file: 'csrc/models/vin.cpp',
    from: 'frames.push_back(video_tokens.slice(1, frame, frame + 1));', to: 'frames.push_back(video_tokens.slice(1, frame / 2, frame / 2 + 1));',
    tests: ['test/models/evaluation.test.ts']
  },
  {
    name: 'dit-modulation', area: 'models: DiT', file: 'csrc/models/dit.cpp',
    from: 'layer_norm(ops, h2, s.scale_m, s.shift_m, group)', to: 'layer_norm(ops, h2, s.shift_m, s.scale_m, group)',
    tests: ['test/models/evaluation.test.ts']
  },
  {
    name: 'guidance', area: 'models: guidance', file: 'csrc/models/denoise.cpp',
    from: 'combine_into(ops, eps, r.guidance_scale, whole.front(), 1 - r.guidance_scale, whole.back());',
    to: 'combine_into(ops, eps, r.guidance_scale, whole.front(), -r.guidance_scale, whole.back());',
    tests: ['test/pipeline/denoise.test.ts']
  },
  {
    name: 'vae-front', area: 'models: VAE micro-batches', file: 'csrc/models/vae.cpp',
    from: 'const bool repeat = config.extra_latents() > 0;', to: 'const bool repeat = config.extra_latents() > 1;',
    tests: ['test/models/components.test.ts']
  },
  {
    name: 't5-buckets', area: 'models: T5', file: 'csrc/models/t5.cpp',
    from: '(r > 0 ? half : 0)', to: '(r < 0 ? half : 0)',
    tests: ['test/models/t5.test.ts']
  },
  {
    name: 'batch-modulation', area: 'training: batches of videos', file: 'csrc/models/dit.cpp',
    from: 'static_cast<int32_t>(video) * in.levels +', to: 'static_cast<int32_t>(video / 2) * in.levels +',
    tests: ['test/training/batches.test.ts']
  },
  {
    name: 'ema-decay', area: 'training: average of the weights', file: 'csrc/models/trainer.cpp',
    from: 'live_[i].view(), decay}', to: 'live_[i].view(), 1 - decay}',
    tests: ['test/training/ten-steps.test.ts']
  },
  {
    name: 'gradient-clipping', area: 'training: clipping', file: 'csrc/models/trainer.cpp',
    from: 'sum.view(), o.max_grad_norm}', to: 'sum.view(), 2 * o.max_grad_norm}',
    tests: ['test/training/ten-steps.test.ts']
  },

  // ---- plans and schedulers ----
  {
    name: 'fusion-window', area: 'plan: fusion', file: 'lib/plan/fusion.ts',
    from: 'until < remaining && remaining <= from', to: 'until <= remaining && remaining < from',
    tests: ['test/plan/plan.test.ts']
  },
  {
    name: 'chunk-joined', area: 'plan: chunks', file: 'lib/plan/chunks.ts',
    from: '< contextFrames) starts.pop()', to: '<= contextFrames) starts.pop()',
    tests: ['test/plan/plan.test.ts']
  },
  {
    name: 'ddim-previous', area: 'schedulers: DDIM', file: 'lib/schedulers/ddim.ts',
    from: 'Math.floor(this.#alphas.length / this.#numInferenceSteps)', to: 'Math.round(this.#alphas.length / this.#numInferenceSteps)',
    tests: ['test/schedulers/schedulers.test.ts']
  },
  {
    name: 'dpm-second-order', area: 'schedulers: DPM-Solver++', file: 'lib/schedulers/dpm-solver-multistep.ts',
    from: 'const ofX0 = factor * (1 + 0.5 / r)', to: 'const ofX0 = factor * (1 + 0.5 * r)',
    tests: ['test/schedulers/schedulers.test.ts']
  },
  {
    name: 'flow-last-sigma', area: 'schedulers: flow match', file: 'lib/schedulers/flow-match-euler-discrete.ts',
    from: 'this.#shifted(1 / this.numTrainTimesteps), n)', to: 'this.#shifted(1 / n), n)',
    tests: ['test/schedulers/schedulers.test.ts']
  },
  {
    name: 'rflow-ratio', area: 'schedulers: RFlow', file: 'lib/schedulers/rflow.ts',
    from: '/ (512 * 512)) * Math.sqrt(latentFrames)', to: '/ (512 * 512)) * latentFrames',
    tests: ['test/schedulers/schedulers.test.ts']
  },

  // ---- runs and files ----
  {
    name: 'resume-compare', area: 'resume: what must agree', file: 'lib/pipeline/resume.ts',
    from: 'new Set([...Object.keys(wanted), ...Object.keys(found)])', to: 'Object.keys(found)',
    tests: ['test/pipeline/resume.test.ts']
  },
  {
    name: 'mp4-offsets', area: 'video: mp4', file: 'lib/video/mp4-boxes.ts',
    from: 'change.shift = ftyp.bytes.length + rebuild(moov, change).length - mdat.begin', to: 'change.shift = rebuild(moov, change).length - mdat.begin',
    tests: ['test/video/mp4.test.ts'], dist: true
  },
  {
    name: 'yuv-odd-width', area: 'video: colour', file: 'lib/video/yuv.ts',
    from: 'const right = Math.min(2 * x + 1, width - 1) * 3', to: 'const right = (2 * x + 1 < width ? 2 * x + 1 : 2 * x - 1) * 3',
    tests: ['test/video/yuv.test.ts']
  },
  {
    name: 'options-open-bound', area: 'options', file: 'lib/check.ts',
    from: '|| (above && value === minimum)', to: '',
    tests: ['test/pipeline/denoise.test.ts']
  },
  {
    name: 'exit-code-disk', area: 'command line: exit codes', file: 'lib/cli/exit.ts',
    from: 'ERR_VIN_DISK: exitCodes.resources,', to: '',
    tests: ['test/cli/usage.test.ts'], dist: true
  },

  // ---- training data and evaluation ----
  {
    name: 'mask-random-run', area: 'training: masks', file: 'lib/training/masks.ts',
    from: 'random.int(frames - length + 1)', to: 'random.int(frames - length)',
    tests: ['test/training/choices.test.ts']
  },
  {
    name: 'dataset-pass', area: 'training: order of a data set', file: 'lib/training/dataset.ts',
    from: 'yield* dataset.examples(epoch, skip)', to: 'yield* dataset.examples(0, skip)',
    tests: ['test/training/dataset.test.ts']
  },
  {
    name: 'shuffle', area: 'training: random order', file: 'lib/plan/random.ts',
    from: 'this.int(last + 1)', to: 'this.int(last)',
    tests: ['test/training/random.test.ts']
  },
  {
    name: 'decoder-noise', area: 'training: latents for decoders', file: 'lib/training/decoder-latents.ts',
    from: 'at = begin * plane', to: 'at = 0',
    tests: ['test/training/vae-trainer.test.ts']
  },
  {
    name: 'shape-fill', area: 'evaluation: attributes', file: 'models/demo/evaluation/attributes.ts',
    from: "fill < 0.9 ? 'circle' : 'square'", to: "fill < 0.76 ? 'circle' : 'square'",
    tests: ['test/demo/attributes.test.ts']
  }
]
