// Types of models, tensors, schedulers, videos, errors and the doctor.
import type { Readable } from 'node:stream'
import { expectTypeOf } from 'expect-type'
import {
  DDIMScheduler,
  DPMSolverMultistepScheduler,
  FlowMatchEulerDiscreteScheduler,
  RFlowScheduler,
  Scheduler,
  Tensor,
  TextEncoder,
  Tokenizer,
  Transformer,
  VAE,
  Video,
  VinError,
  createScheduler,
  doctor,
  randn,
  readVideo,
  videoFormats
} from '../../lib/index.js'
import type {
  DecodeOptions,
  DoctorCheck,
  DoctorOptions,
  DoctorReport,
  EncodedText,
  Encoding,
  ForwardOptions,
  Frame,
  Picture,
  RandnOptions,
  ReadVideoOptions,
  SaveModelOptions,
  SaveOptions,
  SchedulerConfig,
  SchedulerName,
  SchedulerOption,
  StepOptions,
  TensorData,
  TensorLike,
  TextEncoderConfig,
  TextEncoderLike,
  TimestepSize,
  TokenIds,
  TransformerConfig,
  VAEConfig,
  VideoFormat,
  VideoJSON,
  VideoWarning,
  VinConfig,
  VinErrorCode,
  WeightType
} from '../../lib/index.js'

// ---- tensors ----

expectTypeOf<TensorData>().toEqualTypeOf<{ data: Float32Array; shape: number[] }>()
expectTypeOf<TensorLike>().toEqualTypeOf<TensorData | Tensor>()
expectTypeOf<Tensor['shape']>().toEqualTypeOf<number[]>()
expectTypeOf<Tensor['dtype']>().toEqualTypeOf<'float32' | 'bfloat16' | 'float16' | 'int32' | 'uint8' | 'float64'>()
expectTypeOf<Tensor['read']>().toEqualTypeOf<() => Promise<TensorData>>()
expectTypeOf<Tensor['dispose']>().toEqualTypeOf<() => void>()
// A handle has no data on this side.
expectTypeOf<Tensor>().not.toHaveProperty('data')
expectTypeOf<Tensor>().toExtend<AsyncDisposable>()
expectTypeOf<RandnOptions>().toEqualTypeOf<{ seed: number | bigint; stream?: number | undefined; shape: readonly number[] }>()
expectTypeOf(randn).toEqualTypeOf<(options: RandnOptions) => Promise<TensorData>>()

// ---- models ----

expectTypeOf<VinConfig>().toEqualTypeOf<{ num_global_tokens: number; dim: number; num_heads: number; num_blocks: number; keyframe_interval: number; memory?: boolean; global_features?: number }>()
expectTypeOf<TransformerConfig>().toEqualTypeOf<{
  attention_layout: 'factorised' | 'hybrid' | 'full'
  depth: number
  hidden_size: number
  num_heads: number
  in_channels: number
  patch_size: number[]
  mlp_ratio: number
  caption_channels: number
  model_max_length: number
  qk_norm: boolean
  pred_sigma: boolean
  input_sq_size: number
  chunk_frames: number
  context_frames: number
  latent_fps: number
  max_latent_frames: number
  step_cache_polynomial?: number[]
  vin?: VinConfig
  cam?: boolean
  apm?: boolean
  fusion?: boolean
}>()
expectTypeOf<ForwardOptions<Tensor>>().toEqualTypeOf<{
  latents: Tensor
  timestep: number
  promptEmbeds: TensorLike
  promptMask?: ArrayLike<number> | undefined
  frameMask?: ArrayLike<number> | undefined
  fps: number
  height: number
  width: number
  signal?: AbortSignal | undefined
}>()
expectTypeOf<VAEConfig>().toEqualTypeOf<{
  block_out_channels: number[]
  layers_per_block: number
  norm_num_groups: number
  latent_channels: number
  scaling_factor: number
  temporal: { filters: number; num_res_blocks: number; channel_multipliers: number[]; temporal_downsample: boolean[] }
  micro_frame_size: number
  micro_latent_size: number
  shift?: number[]
  scale?: number[]
}>()
expectTypeOf<DecodeOptions>().toEqualTypeOf<{ numFrames?: number | undefined; signal?: AbortSignal | undefined }>()
expectTypeOf<TextEncoderConfig>().toEqualTypeOf<{
  vocab_size: number
  d_model: number
  d_kv: number
  d_ff: number
  num_layers: number
  num_heads: number
  relative_attention_num_buckets: number
  relative_attention_max_distance: number
  layer_norm_epsilon: number
  feed_forward_proj: string
}>()
expectTypeOf<TokenIds>().toEqualTypeOf<{ ids: ArrayLike<number>; mask?: ArrayLike<number> | undefined }>()
expectTypeOf<EncodedText>().toEqualTypeOf<{ embeds: TensorData; mask: number[] }>()
expectTypeOf<Encoding>().toEqualTypeOf<{ ids: number[]; mask: number[]; unknown: string[]; truncated: boolean }>()
expectTypeOf<TextEncoderLike['encode']>().toEqualTypeOf<
  (text: string | { ids: number[]; mask: number[] }, options?: { maxLength?: number; signal?: AbortSignal }) => Promise<EncodedText>
>()
expectTypeOf<TextEncoder>().toExtend<TextEncoderLike>()

expectTypeOf<Transformer['config']>().toEqualTypeOf<Readonly<TransformerConfig>>()
expectTypeOf<Transformer['hasGlobalTokens']>().toEqualTypeOf<boolean>()
expectTypeOf<VAE['config']>().toEqualTypeOf<Readonly<VAEConfig>>()
expectTypeOf<VAE['microBatch']>().toEqualTypeOf<{ frames: number; latentFrames: number }>()
expectTypeOf<TextEncoder['config']>().toEqualTypeOf<Readonly<TextEncoderConfig>>()
expectTypeOf<TextEncoder['tokenizer']>().toEqualTypeOf<Tokenizer | undefined>()
for (const model of [] as (Transformer | VAE | TextEncoder)[]) {
  expectTypeOf(model.weights()).toEqualTypeOf<{ name: string; shape: number[] }[]>()
  expectTypeOf(model.bytes).toEqualTypeOf<number>()
  expectTypeOf(model).toExtend<AsyncDisposable>()
}
expectTypeOf<Tokenizer['encode']>().toEqualTypeOf<(text: string, options?: { maxLength?: number }) => Encoding>()
expectTypeOf<Tokenizer['vocabulary']>().toEqualTypeOf<readonly string[]>()
expectTypeOf(Tokenizer.fromJson).toEqualTypeOf<(json: unknown, file?: string) => Promise<Tokenizer>>()
expectTypeOf(Tokenizer.fromPretrained).parameter(0).toEqualTypeOf<string>()
expectTypeOf(Tokenizer.fromPretrained).returns.toEqualTypeOf<Promise<Tokenizer>>()

async function models(plain: TensorData, handle: Tensor): Promise<void> {
  const transformer = await Transformer.fromPretrained('folder', { device: 'cpu' })
  const vae = await VAE.fromPretrained('folder')
  const encoder = await TextEncoder.fromPretrained('folder')
  expectTypeOf(transformer).toEqualTypeOf<Transformer>()
  expectTypeOf(await Transformer.fromConfig({}, { seed: 1n })).toEqualTypeOf<Transformer>()
  expectTypeOf(await VAE.fromConfig({}, { seed: 1, threads: 2 })).toEqualTypeOf<VAE>()
  expectTypeOf(await TextEncoder.fromConfig({})).toEqualTypeOf<TextEncoder>()
  const common = { timestep: 1, promptEmbeds: plain, fps: 16, height: 64, width: 64 }
  expectTypeOf(await transformer.forward({ ...common, latents: plain })).toEqualTypeOf<TensorData>()
  expectTypeOf(await transformer.forward({ ...common, latents: handle })).toEqualTypeOf<Tensor>()
  expectTypeOf(await vae.encode(plain)).toEqualTypeOf<TensorData>()
  expectTypeOf(await vae.decode(handle, { numFrames: 16 })).toEqualTypeOf<Tensor>()
  // A promise may be handed on.
  expectTypeOf(await vae.decode(vae.encode(plain))).toEqualTypeOf<TensorData>()
  expectTypeOf(await encoder.encode('text', { maxLength: 4 })).toEqualTypeOf<EncodedText>()
  expectTypeOf(await encoder.encode({ ids: new Int32Array(2) })).toEqualTypeOf<EncodedText>()
  // @ts-expect-error models are opened, not constructed
  new Transformer()
  // @ts-expect-error fps is needed
  await transformer.forward({ latents: plain, timestep: 1, promptEmbeds: plain, height: 64, width: 64 })
  // @ts-expect-error doubles are no tensor
  await vae.encode({ data: new Float64Array(3), shape: [3, 1, 1, 1] })
  // @ts-expect-error a config is frozen
  transformer.config.depth = 3
}
void models

// ---- schedulers ----

expectTypeOf<SchedulerConfig>().toEqualTypeOf<Record<string, unknown>>()
expectTypeOf<SchedulerName>().toEqualTypeOf<'DDIMScheduler' | 'DPMSolverMultistepScheduler' | 'FlowMatchEulerDiscreteScheduler' | 'RFlowScheduler'>()
expectTypeOf<SchedulerOption>().toEqualTypeOf<SchedulerName | SchedulerConfig | Scheduler>()
expectTypeOf<TimestepSize>().toEqualTypeOf<{ height?: number | undefined; width?: number | undefined; latentFrames?: number | undefined }>()
expectTypeOf<StepOptions<TensorData>>().toEqualTypeOf<{ eta?: number | undefined; noise?: TensorData | undefined }>()
expectTypeOf<Scheduler['timesteps']>().toEqualTypeOf<number[]>()
expectTypeOf<Scheduler['config']>().toEqualTypeOf<Readonly<SchedulerConfig>>()
expectTypeOf<Scheduler['setTimesteps']>().toEqualTypeOf<(numInferenceSteps: number, size?: TimestepSize) => void>()
expectTypeOf(DDIMScheduler.fromConfig).toEqualTypeOf<(config?: SchedulerConfig | string) => DDIMScheduler>()
expectTypeOf(DPMSolverMultistepScheduler.fromConfig).toEqualTypeOf<(config?: SchedulerConfig | string) => DPMSolverMultistepScheduler>()
expectTypeOf(FlowMatchEulerDiscreteScheduler.fromConfig).toEqualTypeOf<(config?: SchedulerConfig | string) => FlowMatchEulerDiscreteScheduler>()
expectTypeOf(RFlowScheduler.fromConfig).toEqualTypeOf<(config?: SchedulerConfig | string) => RFlowScheduler>()
expectTypeOf<DDIMScheduler | DPMSolverMultistepScheduler | FlowMatchEulerDiscreteScheduler | RFlowScheduler>().toExtend<Scheduler>()

async function schedulers(scheduler: Scheduler, plain: TensorData, handle: Tensor): Promise<void> {
  expectTypeOf(await scheduler.step(plain, 1, plain, { eta: 0, noise: plain })).toEqualTypeOf<TensorData>()
  expectTypeOf(await scheduler.step(plain, 1, handle)).toEqualTypeOf<Tensor>()
  expectTypeOf(await scheduler.addNoise(plain, handle, 1)).toEqualTypeOf<TensorData>()
  // @ts-expect-error a step needs its sample
  await scheduler.step(plain, 1)
  // @ts-expect-error the class is abstract
  new Scheduler({})
}
void schedulers

// ---- video ----

expectTypeOf<Picture>().toEqualTypeOf<{ data: Uint8Array; width: number; height: number }>()
expectTypeOf<Frame>().toEqualTypeOf<{ data: Uint8Array; width: number; height: number; index: number }>()
expectTypeOf<VideoFormat>().toEqualTypeOf<'mp4' | 'gif' | 'webp' | 'apng' | 'png' | 'y4m' | 'safetensors'>()
expectTypeOf(videoFormats).toEqualTypeOf<readonly ['mp4', 'gif', 'webp', 'apng', 'png', 'y4m', 'safetensors']>()
expectTypeOf<VideoWarning>().toEqualTypeOf<{ code: string; message: string }>()
expectTypeOf<SaveOptions>().toEqualTypeOf<{ scale?: number; signal?: AbortSignal; onProgress?: (progress: { done: number; total: number }) => void }>()
expectTypeOf<Omit<Video<'options', 'plan'>, 'frames' | 'save' | 'toBuffer' | 'toStream' | 'toJSON'>>().toEqualTypeOf<{
  readonly latents: TensorData
  readonly width: number
  readonly height: number
  readonly fps: number
  readonly numFrames: number
  readonly seed: number | bigint
  readonly options: 'options'
  readonly plan: 'plan'
  readonly timings: Readonly<Record<string, number>>
  readonly skippedSteps: number
  readonly warnings: VideoWarning[]
}>()
expectTypeOf<Video['frames']>().toEqualTypeOf<(options?: { signal?: AbortSignal }) => AsyncGenerator<Frame>>()
expectTypeOf<Video['save']>().toEqualTypeOf<(path: string, options?: SaveOptions) => Promise<void>>()
expectTypeOf<Video['toStream']>().toEqualTypeOf<(format: string, options?: SaveOptions) => Readable>()
expectTypeOf<Video<'options', 'plan'>['toJSON']>().toEqualTypeOf<() => VideoJSON<'options', 'plan'>>()
expectTypeOf<keyof VideoJSON>().toEqualTypeOf<'width' | 'height' | 'fps' | 'numFrames' | 'seed' | 'options' | 'plan' | 'timings' | 'skippedSteps' | 'warnings'>()
expectTypeOf<VideoJSON['seed']>().toEqualTypeOf<number | string>()
expectTypeOf<Video['toBuffer']>().toEqualTypeOf<(format: string, options?: SaveOptions) => Promise<Buffer>>()

// ---- errors and the doctor ----

expectTypeOf<VinErrorCode>().toEqualTypeOf<
  | 'ERR_VIN_FORMAT'
  | 'ERR_VIN_MISSING_COMPONENT'
  | 'ERR_VIN_NOT_SUPPORTED'
  | 'ERR_VIN_OUT_OF_MEMORY'
  | 'ERR_VIN_BACKEND_UNAVAILABLE'
  | 'ERR_VIN_DEVICE'
  | 'ERR_VIN_NONFINITE'
  | 'ERR_VIN_DISPOSED'
  | 'ERR_VIN_QUEUE_FULL'
  | 'ERR_VIN_RESUME_MISMATCH'
  | 'ERR_VIN_DISK'
>()
expectTypeOf<VinError>().toExtend<Error>()
expectTypeOf<VinError['code']>().toEqualTypeOf<VinErrorCode>()
expectTypeOf<VinError['details']>().toEqualTypeOf<Record<string, unknown>>()
expectTypeOf(VinError).toBeConstructibleWith('ERR_VIN_FORMAT', 'message', {}, { cause: 1 })
// @ts-expect-error a code that is none
new VinError('ERR_VIN_FORMATS', 'message')
expectTypeOf<DoctorCheck>().toEqualTypeOf<{ id: string; status: 'ok' | 'warning' | 'broken'; detail: string; fix?: string }>()
expectTypeOf<DoctorReport>().toEqualTypeOf<{ ok: boolean; version: string; checks: DoctorCheck[] }>()
expectTypeOf(doctor).toEqualTypeOf<(options?: DoctorOptions) => Promise<DoctorReport>>()

// ---- weights, and files ----

expectTypeOf<WeightType>().toEqualTypeOf<'float32' | 'float16' | 'bfloat16'>()
expectTypeOf<SaveModelOptions>().toEqualTypeOf<{ dtype?: WeightType | undefined }>()
for (const part of [{} as Transformer, {} as VAE, {} as TextEncoder]) {
  expectTypeOf(part.save).toEqualTypeOf<(folder: string, options?: SaveModelOptions) => Promise<void>>()
  expectTypeOf(part.readWeight).toEqualTypeOf<(name: string) => Promise<TensorData>>()
  expectTypeOf(part.writeWeight).toEqualTypeOf<(name: string, value: TensorData) => void>()
}
expectTypeOf(createScheduler).toEqualTypeOf<(option?: SchedulerOption | string) => Scheduler>()
expectTypeOf(readVideo).toEqualTypeOf<(path: string, options: ReadVideoOptions) => AsyncGenerator<Frame>>()
expectTypeOf<Pick<ReadVideoOptions, 'width' | 'height' | 'fps'>>().toEqualTypeOf<{ width: number; height: number; fps: number }>()
expectTypeOf<NonNullable<ReadVideoOptions['onWarning']>>().parameters.toEqualTypeOf<[VideoWarning]>()
