// Types of generate, denoise, plan, their options, events and results.
import { expectTypeOf } from 'expect-type'
import { VideoPipeline, fitStepCache, generate, openLatents } from '../../lib/index.js'
import type {
  ChunkOptions,
  DenoiseMethod,
  AttentionMaps,
  Chunk,
  ComputeType,
  DenoiseOptions,
  Device,
  Frame,
  FromConfigOptions,
  Fusion,
  FusionOptions,
  FusionWeights,
  FusionWindow,
  GenerateCallOptions,
  GeneratedVideo,
  GenerateOptions,
  GenerationEvent,
  GenerationJob,
  Limits,
  LoadProgress,
  Logger,
  MethodName,
  ModelOptions,
  OpenLatentsOptions,
  Overlap,
  Picture,
  PipelineConfig,
  PipelineDefaults,
  PipelineWarning,
  PreviewEvent,
  RejectedBackend,
  Runtime,
  SavePipelineOptions,
  Scheduler,
  SchedulerOption,
  FitStepCacheOptions,
  StepCacheFit,
  StepCacheOption,
  StepEvent,
  StepResult,
  Tensor,
  TensorData,
  TensorLike,
  TextEncoder,
  TextEncoderLike,
  TimelineEntry,
  Tokenizer,
  Transformer,
  TransformerPart,
  VAE,
  Video,
  VideoPlan,
  WeightType
} from '../../lib/index.js'

// ---- options ----

expectTypeOf<TimelineEntry>().toEqualTypeOf<{ at: number | { frame: number }; prompt: string; ease?: number | undefined }>()
expectTypeOf<MethodName>().toEqualTypeOf<'vin' | 'full' | 'autoregressive' | 'freenoise' | 'spectral-blend' | 'streaming-t2v' | 'independent'>()
expectTypeOf<FusionWindow>().toEqualTypeOf<{ from: number; until: number }>()
expectTypeOf<FitStepCacheOptions>().toEqualTypeOf<{
  pipeline: VideoPipeline
  runs: readonly GenerateOptions[]
  signal?: AbortSignal | undefined
  onProgress?: ((progress: { done: number; total: number }) => void) | undefined
}>()
expectTypeOf<StepCacheFit>().toEqualTypeOf<{ polynomial: number[]; changes: [input: number, added: number][]; error: number }>()
expectTypeOf(fitStepCache).toEqualTypeOf<(options: FitStepCacheOptions) => Promise<StepCacheFit>>()
expectTypeOf<StepCacheOption>().toEqualTypeOf<'off' | 'slow' | 'fast' | number>()
expectTypeOf<FusionWeights>().toEqualTypeOf<'linear' | 'raised-cosine' | 'learned'>()
expectTypeOf<FusionOptions>().toEqualTypeOf<{ from?: number | undefined; until?: number | undefined; weights?: FusionWeights | undefined }>()
expectTypeOf<Fusion>().toEqualTypeOf<'early' | 'mid' | 'late' | 'none' | FusionOptions>()
expectTypeOf<StepResult>().toEqualTypeOf<TensorLike | void | undefined>()

expectTypeOf<GenerateOptions>().toEqualTypeOf<{
  prompt?: string | readonly TimelineEntry[] | undefined
  negativePrompt?: string | undefined
  promptEmbeds?: TensorLike | undefined
  negativePromptEmbeds?: TensorLike | undefined
  numFrames?: number | undefined
  width?: number | undefined
  height?: number | undefined
  fps?: number | undefined
  numInferenceSteps?: number | undefined
  guidanceScale?: number | undefined
  seed?: number | bigint | undefined
  latents?: TensorLike | undefined
  scheduler?: SchedulerOption | undefined
  method?: MethodName | undefined
  chunkFrames?: number | undefined
  contextFrames?: number | undefined
  keyframeInterval?: number | undefined
  anchorGuidanceScale?: number | undefined
  randomizedBlending?: boolean | undefined
  fusion?: Fusion | undefined
  stagger?: number | undefined
  globalTokenMemory?: boolean | undefined
  stepCache?: StepCacheOption | undefined
  chunksInFlight?: number | undefined
  outputType?: 'video' | 'latents' | undefined
  image?: string | Uint8Array | Picture | undefined
  lastImage?: string | Uint8Array | Picture | undefined
  video?: string | Video | { latents: TensorLike } | AsyncIterable<Frame> | undefined
  onStep?: ((event: StepEvent) => StepResult | Promise<StepResult>) | undefined
  preview?: boolean | undefined
  onPreview?: ((event: PreviewEvent) => void | Promise<void>) | undefined
  resume?: string | undefined
  signal?: AbortSignal | undefined
}>()

expectTypeOf<ComputeType>().toEqualTypeOf<'auto' | 'float32' | 'bfloat16' | 'int8'>()
expectTypeOf<TransformerPart>().toEqualTypeOf<'cam' | 'apm' | 'fusion' | 'memory'>()
expectTypeOf<Device>().toEqualTypeOf<'auto' | 'cpu' | 'cuda' | `cuda:${number}` | 'cuda-emu' | 'cuda-ptx'>()
expectTypeOf<LoadProgress>().toEqualTypeOf<{ component: string; done: number; total: number }>()
expectTypeOf<keyof Limits>().toEqualTypeOf<'headerBytes' | 'tensors' | 'nameBytes' | 'rank' | 'jsonDepth' | 'configBytes' | 'tokenizerBytes' | 'imagePixels' | 'promptBytes' | 'numFrames' | 'pixels'>()
expectTypeOf<Limits[keyof Limits]>().toEqualTypeOf<number | undefined>()
expectTypeOf<{}>().toExtend<Limits>()
expectTypeOf<keyof ModelOptions>().toEqualTypeOf<'device' | 'dtype' | 'threads' | 'memoryBudget' | 'queueLimit' | 'addParts' | 'globalFeatures' | 'limits' | 'nativeBinding' | 'signal' | 'onProgress' | 'logger'>()
expectTypeOf<Omit<ModelOptions, 'nativeBinding'>>().toEqualTypeOf<{
  device?: Device | undefined
  dtype?: ComputeType | undefined
  threads?: number | undefined
  memoryBudget?: number | undefined
  queueLimit?: number | undefined
  addParts?: readonly TransformerPart[] | undefined
  globalFeatures?: number | undefined
  limits?: Limits | undefined
  signal?: AbortSignal | undefined
  onProgress?: ((progress: LoadProgress) => void) | undefined
  logger?: Logger | undefined
}>()
expectTypeOf<Logger>().toEqualTypeOf<{ debug(facts: object, message: string): void; warn(facts: object, message: string): void }>()
expectTypeOf<Console>().toExtend<Logger>()
// A path, or the loaded addon.
expectTypeOf<string>().toExtend<ModelOptions['nativeBinding']>()
expectTypeOf<number>().not.toExtend<ModelOptions['nativeBinding']>()

expectTypeOf<keyof GenerateCallOptions>().toEqualTypeOf<'model' | keyof GenerateOptions | keyof ModelOptions>()
expectTypeOf<GenerateCallOptions['model']>().toEqualTypeOf<string | undefined>()
expectTypeOf<GenerateCallOptions>().toExtend<GenerateOptions>()
expectTypeOf<GenerateCallOptions>().toExtend<ModelOptions>()

expectTypeOf<DenoiseOptions<TensorData>>().toEqualTypeOf<{
  latents: TensorData
  timestep: number
  frameTimesteps?: ArrayLike<number> | undefined
  promptEmbeds: TensorLike
  negativePromptEmbeds?: TensorLike | undefined
  fps?: number | undefined
  width?: number | undefined
  height?: number | undefined
  guidanceScale?: number | undefined
  fuse?: boolean | undefined
  fusionWeights?: FusionWeights | undefined
  method?: 'vin' | 'independent' | 'full' | 'freenoise' | 'spectral-blend' | undefined
  chunkFrames?: number | undefined
  contextFrames?: number | undefined
  keyframeInterval?: number | undefined
  frameMask?: ArrayLike<number> | undefined
  globalTokensFrom?: TensorLike | undefined
  chunksInFlight?: number | undefined
  signal?: AbortSignal | undefined
}>()
expectTypeOf<DenoiseMethod>().toEqualTypeOf<'vin' | 'independent' | 'full' | 'freenoise' | 'spectral-blend'>()
expectTypeOf<ChunkOptions>().toEqualTypeOf<Pick<DenoiseOptions, 'chunkFrames' | 'contextFrames' | 'keyframeInterval' | 'chunksInFlight'>>()
expectTypeOf<DenoiseOptions['latents']>().toEqualTypeOf<TensorLike>()

expectTypeOf<PipelineDefaults>().toEqualTypeOf<{ guidanceScale: number; numInferenceSteps: number; width: number; height: number; fps: number }>()
expectTypeOf<PipelineConfig>().toEqualTypeOf<{
  transformer: Record<string, unknown>
  vae?: Record<string, unknown> | undefined
  textEncoder?: Record<string, unknown> | undefined
  tokenizer?: string | Record<string, unknown> | Tokenizer | undefined
  scheduler?: SchedulerOption | undefined
}>()
expectTypeOf<keyof FromConfigOptions>().toEqualTypeOf<keyof ModelOptions | 'seed' | 'defaults'>()
expectTypeOf<FromConfigOptions['seed']>().toEqualTypeOf<number | bigint | undefined>()
expectTypeOf<FromConfigOptions['defaults']>().toEqualTypeOf<Partial<PipelineDefaults> | undefined>()
expectTypeOf<OpenLatentsOptions>().toEqualTypeOf<{ numFrames?: number | undefined; fps?: number | undefined }>()

// ---- plan, events, results ----

expectTypeOf<Chunk>().toEqualTypeOf<{ first: number; start: number; end: number }>()
expectTypeOf<Overlap>().toEqualTypeOf<{ from: number; until: number }>()
expectTypeOf<PipelineWarning>().toEqualTypeOf<{ code: string; message: string }>()
expectTypeOf<VideoPlan>().toEqualTypeOf<{
  latentFrames: number
  chunks: Chunk[]
  overlaps: Overlap[]
  keyframes: number[]
  prompts: string[]
  promptShares: number[][]
  flops: { perStep: number; byMethod: Record<string, number>; branches: number; total: number; evaluations: number }
  memory: { weights: number; activations: number; decode: number; peak: number }
  warnings: PipelineWarning[]
}>()
expectTypeOf<StepEvent>().toEqualTypeOf<{ type: 'step'; step: number; numInferenceSteps: number; timestep: number; computed: boolean; latents(): Promise<TensorData>; etaMs: number }>()
expectTypeOf<PreviewEvent>().toEqualTypeOf<{ type: 'preview'; step: number; frames: Frame[] }>()
expectTypeOf<GenerationEvent>().toEqualTypeOf<
  | { type: 'queued'; position: number }
  | { type: 'plan'; plan: VideoPlan }
  | StepEvent
  | PreviewEvent
  | { type: 'warning'; code: string; message: string }
  | { type: 'decode'; done: number; total: number }
  | { type: 'frames'; frames: Frame[] }
  | { type: 'done'; video: GeneratedVideo }
>()
expectTypeOf<GeneratedVideo>().toEqualTypeOf<Video<Readonly<Record<string, unknown>>, VideoPlan>>()
expectTypeOf<AttentionMaps>().toEqualTypeOf<{ encoder: TensorData; processor: TensorData[] }>()

expectTypeOf<GenerationJob>().toExtend<Promise<GeneratedVideo>>()
expectTypeOf<GenerationJob>().toExtend<AsyncIterable<GenerationEvent>>()
expectTypeOf<Awaited<GenerationJob>>().toEqualTypeOf<GeneratedVideo>()
expectTypeOf<GenerationJob['id']>().toExtend<string>()
expectTypeOf<GenerationJob['cancel']>().toEqualTypeOf<(reason?: unknown) => void>()
expectTypeOf<GenerationJob['finally']>().toEqualTypeOf<(onFinally?: (() => void) | null) => Promise<GeneratedVideo>>()
expectTypeOf<ReturnType<GenerationJob[typeof Symbol.asyncIterator]>>().toEqualTypeOf<AsyncGenerator<GenerationEvent, void, undefined>>()

// ---- calls ----

expectTypeOf(generate).parameters.toEqualTypeOf<[options?: GenerateCallOptions]>()
expectTypeOf(generate).returns.toEqualTypeOf<GenerationJob>()
expectTypeOf(generate.dispose).toEqualTypeOf<() => Promise<void>>()
expectTypeOf(openLatents).toEqualTypeOf<(pipeline: VideoPipeline, source: string | TensorData, options?: OpenLatentsOptions) => Promise<Video>>()

expectTypeOf(VideoPipeline.fromPretrained).toEqualTypeOf<(model?: string, options?: ModelOptions) => Promise<VideoPipeline>>()
expectTypeOf(VideoPipeline.fromConfig).toEqualTypeOf<(config: PipelineConfig, options?: FromConfigOptions) => Promise<VideoPipeline>>()
expectTypeOf<VideoPipeline['save']>().toEqualTypeOf<(folder: string, options?: SavePipelineOptions) => Promise<void>>()
expectTypeOf<SavePipelineOptions>().toEqualTypeOf<{ dtype?: WeightType | { transformer?: WeightType; vae?: WeightType; textEncoder?: WeightType } | undefined }>()
expectTypeOf<VideoPipeline['generate']>().toEqualTypeOf<(options?: GenerateOptions) => GenerationJob>()
expectTypeOf<VideoPipeline['plan']>().toEqualTypeOf<(options?: GenerateOptions) => VideoPlan>()
expectTypeOf<VideoPipeline['attention']>().toEqualTypeOf<(options: DenoiseOptions) => Promise<AttentionMaps>>()
expectTypeOf<VideoPipeline['has']>().toEqualTypeOf<(component: 'vae' | 'textEncoder' | 'tokenizer') => boolean>()
expectTypeOf<VideoPipeline['dispose']>().toEqualTypeOf<() => Promise<void>>()
expectTypeOf<VideoPipeline>().toExtend<AsyncDisposable>()
expectTypeOf<Pick<VideoPipeline, 'runtime' | 'defaults' | 'transformer' | 'vae' | 'textEncoder' | 'tokenizer' | 'scheduler' | 'disposed'>>().toEqualTypeOf<{
  readonly runtime: Runtime
  readonly defaults: Readonly<PipelineDefaults>
  readonly transformer: Transformer
  readonly vae: VAE
  textEncoder: TextEncoder
  readonly tokenizer: Tokenizer
  readonly scheduler: Scheduler
  readonly disposed: boolean
}>()
expectTypeOf<RejectedBackend>().toEqualTypeOf<{
  backend: string
  code:
    | 'not_found'
    | 'libc'
    | 'version'
    | 'abi'
    | 'corrupt'
    | 'dlopen'
    | 'symbol'
    | 'driver_missing'
    | 'driver_too_old'
    | 'wsl_driver'
    | 'no_device'
    | 'no_access'
    | 'no_code_for_device'
    | 'device_failed'
    | 'selftest_failed'
    | 'selftest_crashed'
    | 'selftest_timeout'
  reason: string
}>()
expectTypeOf<Runtime>().toEqualTypeOf<{ readonly device: string; readonly backend: string; readonly isa: string; readonly threads: number; readonly rejected: readonly RejectedBackend[] }>()

async function calls(pipeline: VideoPipeline, plain: TensorData, handle: Tensor, encoder: TextEncoderLike): Promise<void> {
  // The form of the latents is the form of the prediction.
  expectTypeOf(await pipeline.denoise({ latents: plain, timestep: 1, promptEmbeds: handle })).toEqualTypeOf<TensorData>()
  expectTypeOf(await pipeline.denoise({ latents: handle, timestep: 1, promptEmbeds: plain })).toEqualTypeOf<Tensor>()
  expectTypeOf(await generate({ prompt: 'a' })).toEqualTypeOf<GeneratedVideo>()
  // Any object of this form replaces the model's encoder.
  pipeline.textEncoder = encoder

  for await (const event of pipeline.generate()) {
    if (event.type === 'plan') expectTypeOf(event.plan).toEqualTypeOf<VideoPlan>()
    if (event.type === 'step') expectTypeOf(event).toEqualTypeOf<StepEvent>()
    if (event.type === 'preview') expectTypeOf(event.frames).toEqualTypeOf<Frame[]>()
    if (event.type === 'decode') expectTypeOf(event).toEqualTypeOf<{ type: 'decode'; done: number; total: number }>()
    if (event.type === 'done') expectTypeOf(event.video).toEqualTypeOf<GeneratedVideo>()
    // @ts-expect-error no such event
    if (event.type === 'finished') break
  }
  // @ts-expect-error a misspelt option
  pipeline.generate({ numFrame: 64 })
  // @ts-expect-error a number in letters
  pipeline.generate({ numFrames: '64' })
  // @ts-expect-error a method that is none
  pipeline.plan({ method: 'vim' })
  // @ts-expect-error a timeline entry without its time
  pipeline.plan({ prompt: [{ prompt: 'a' }] })
  // @ts-expect-error latents are needed
  await pipeline.denoise({ timestep: 1, promptEmbeds: plain })
  // @ts-expect-error pipelines are opened, not constructed
  new VideoPipeline()
  // @ts-expect-error a device that is none
  await VideoPipeline.fromPretrained('demo', { device: 'gpu' })
  // @ts-expect-error the runtime is what it is
  pipeline.runtime.device = 'cpu'
}
void calls
