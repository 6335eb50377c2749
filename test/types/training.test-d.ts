// Types of training, data sets and evaluation.
import { expectTypeOf } from 'expect-type'
import { Trainer, VAETrainer, compare, countVotes, demoWorld, evaluate, evaluateClips, makeStudy, pixelPlanes, summarize, vbenchTotal, videoFolder, vinEncoder } from '../../lib/index.js'
import type {
  Clip,
  ClipEvaluation,
  ClipsEvaluation,
  Consistency,
  Dataset,
  DatasetNeeds,
  DatasetReport,
  DemoWorldExample,
  DemoWorldOptions,
  DynamicDegree,
  EvaluateClipsOptions,
  EvaluateOptions,
  EvaluateSource,
  Evaluation,
  CompareEstimate,
  CompareOptions,
  CompareProgress,
  CompareReport,
  CompareRow,
  Estimate,
  EvaluationScores,
  ReportGroup,
  RowRuntime,
  EvaluationSummary,
  FitOptions,
  FlowField,
  Frame,
  FrameEncoder,
  FrameInterpolator,
  Gradient,
  IdentityOverGap,
  LossOptions,
  Mawe,
  MetricName,
  MetricValues,
  ModelOptions,
  MotionSmoothness,
  NamedGradients,
  OpticalFlow,
  Scheduler,
  SchedulerOption,
  StepReport,
  Study,
  StudyAnswers,
  StudyOptions,
  StudyResult,
  StudySummary,
  StudyVote,
  Tensor,
  TensorData,
  TensorLike,
  TrainerOptions,
  TrainingExample,
  TrainingWarning,
  VAE,
  VAETrainerOptions,
  VBenchDimension,
  VBenchTotal,
  Video,
  VideoFolder,
  VideoFolderOptions,
  VideoLatents,
  VideoPipeline,
  VideoPixels,
  WeightedExample
} from '../../lib/index.js'

// ---- options ----

type Share = 'random' | 'interpolate' | 'quarterRandom' | 'quarterHead' | 'quarterTail' | 'quarterHeadTail' | 'imageRandom' | 'imageHead' | 'imageTail' | 'imageHeadTail' | 'chunks'
expectTypeOf<Omit<TrainerOptions, 'trainable'>>().toEqualTypeOf<{
  scheduler?: SchedulerOption | undefined
  learningRate?: number | undefined
  backboneLearningRate?: number | undefined
  weightDecay?: number | undefined
  betas?: readonly [number, number] | undefined
  maxGradNorm?: number | undefined
  warmupSteps?: number | undefined
  totalSteps?: number | undefined
  decayFrom?: number | undefined
  emaDecay?: number | { max: number; ramp: true } | undefined
  gradientAccumulationSteps?: number | undefined
  batchSize?: number | undefined
  latentFramesPerStep?: number | undefined
  lengths?: readonly number[] | undefined
  textDropout?: number | undefined
  globalTokenDropout?: number | undefined
  maskRatios?: Partial<Record<Share, number>> | undefined
  staggerRatio?: number | undefined
  globalTokenMemory?: number | undefined
  globalFeatureWeight?: number | undefined
  timestepSampling?: 'uniform' | { mean: number; std: number } | undefined
  contextLossWeight?: number | undefined
  seed?: number | bigint | undefined
  dtype?: 'auto' | 'float32' | undefined
  gradientCheckpointing?: boolean | undefined
}>()
// 'all', 'vin', or any pattern.
expectTypeOf<'all' | 'vin' | 'blocks.*' | RegExp | undefined>().toExtend<TrainerOptions['trainable']>()
expectTypeOf<boolean>().not.toExtend<TrainerOptions['trainable']>()

expectTypeOf<LossOptions<Tensor>>().toEqualTypeOf<{
  latents: Tensor
  noise: TensorLike
  timestep: number
  promptEmbeds: TensorLike
  fps?: number | undefined
  frameMask?: ArrayLike<number> | undefined
  chunkFrames?: number | undefined
  contextFrames?: number | undefined
  keyframeInterval?: number | undefined
}>()
expectTypeOf<Omit<VAETrainerOptions, 'stage' | 'emaDecay'>>().toEqualTypeOf<{
  learningRate?: number | undefined
  warmupSteps?: number | undefined
  totalSteps?: number | undefined
  decayFrom?: number | undefined
  weightDecay?: number | undefined
  betas?: readonly [number, number] | undefined
  maxGradNorm?: number | undefined
  batchSize?: number | undefined
  l1?: number | undefined
  mse?: number | undefined
  kl?: number | undefined
  latentNoise?: number | undefined
  firstPictures?: number | undefined
  lastPictures?: number | undefined
  cuts?: number | undefined
  seed?: number | undefined
}>()
expectTypeOf<number | { max: number; ramp: true } | undefined>().toExtend<VAETrainerOptions['emaDecay']>()
expectTypeOf<'spatial' | 'all'>().toExtend<VAETrainerOptions['stage']>()
expectTypeOf<string>().not.toExtend<VAETrainerOptions['stage']>()

expectTypeOf<StepReport>().toEqualTypeOf<{ step: number; loss: number; gradNorm: number; learningRate: number; samplesPerSecond: number }>()
expectTypeOf<NamedGradients>().toEqualTypeOf<Map<string, Gradient>>()
expectTypeOf<Gradient['read']>().returns.resolves.toExtend<TensorData>()
expectTypeOf<Pick<FitOptions, 'steps' | 'minutes' | 'signal' | 'onStep' | 'onGradients' | 'onCheckpoint' | 'evalEvery'>>().toEqualTypeOf<{
  steps?: number | undefined
  minutes?: number | undefined
  signal?: AbortSignal | undefined
  onStep?: ((report: StepReport) => void | Promise<void>) | undefined
  onGradients?: ((gradients: NamedGradients) => void | Promise<void>) | undefined
  onCheckpoint?: ((folder: string, step: number) => void | Promise<void>) | undefined
  evalEvery?: number | undefined
}>()

expectTypeOf<FitOptions['onWarning']>().toEqualTypeOf<((warning: TrainingWarning) => void) | undefined>()
expectTypeOf<TrainingWarning>().toEqualTypeOf<{ code: string; message: string }>()

// ---- data sets ----

type Shape = [number, number, number, number]
expectTypeOf<TrainingExample>().toEqualTypeOf<{
  prompt: string
  frames?: { data: Uint8Array; shape: Shape }
  latents?: { data: Float32Array; shape: Shape }
  promptEmbeds?: TensorData
  fps?: number
  globalFeatures?: ArrayLike<number>
}>()
expectTypeOf<Dataset>().toExtend<AsyncIterable<TrainingExample>>()
// Any async iterable of examples is a data set.
expectTypeOf<AsyncGenerator<{ prompt: string; latents: { data: Float32Array; shape: Shape } }>>().toExtend<Dataset>()
expectTypeOf<Dataset<DemoWorldExample>['examples']>().toEqualTypeOf<((epoch: number, skip: number) => AsyncIterable<DemoWorldExample>) | undefined>()
expectTypeOf<DemoWorldOptions>().toEqualTypeOf<{ seed: number | bigint; durations?: readonly number[]; count?: number; captions?: 'mixed' | 'everything' | 'nothing' }>()
expectTypeOf<DemoWorldExample>().toExtend<TrainingExample>()
expectTypeOf<DemoWorldExample['frames']>().toEqualTypeOf<{ data: Uint8Array; shape: Shape }>()
expectTypeOf<DemoWorldExample['world']['event']>().toEqualTypeOf<'none' | 'curtain' | 'leave' | 'wall'>()
expectTypeOf<TrainingExample['frames']>().toEqualTypeOf<VideoPixels | undefined>()
expectTypeOf<TrainingExample['latents']>().toEqualTypeOf<VideoLatents | undefined>()
expectTypeOf(pixelPlanes).toEqualTypeOf<(frames: VideoPixels) => TensorData>()
expectTypeOf<WeightedExample>().toExtend<TrainingExample>()
expectTypeOf<WeightedExample['weights']>().toEqualTypeOf<Float32Array | undefined>()
expectTypeOf(demoWorld).toEqualTypeOf<(options: DemoWorldOptions) => Dataset<DemoWorldExample>>()
expectTypeOf<VideoFolderOptions>().toEqualTypeOf<{ width: number; height: number; fps?: number | undefined; maxFrames?: number | undefined; heldOut?: number | undefined; seed?: number | bigint | undefined }>()
expectTypeOf(videoFolder).toEqualTypeOf<(path: string, options: VideoFolderOptions) => VideoFolder>()
expectTypeOf<VideoFolder>().toExtend<Dataset>()
expectTypeOf<VideoFolder['heldOut']>().returns.toEqualTypeOf<AsyncIterable<TrainingExample>>()
expectTypeOf<Trainer['check']>().returns.resolves.toEqualTypeOf<DatasetReport>()
expectTypeOf<Parameters<VideoFolder['prepare']>>().toEqualTypeOf<[needs?: DatasetNeeds]>()
expectTypeOf<DatasetReport>().toExtend<{ clips: Clip[]; warnings: TrainingWarning[] }>()
expectTypeOf<Clip['use']>().toEqualTypeOf<'training' | 'held out' | 'left out'>()

// ---- trainers ----

expectTypeOf(Trainer).toBeConstructibleWith({} as VideoPipeline)
expectTypeOf(Trainer).toBeConstructibleWith({} as VideoPipeline, { learningRate: 1e-4 })
expectTypeOf<Trainer['pipeline']>().toEqualTypeOf<VideoPipeline>()
expectTypeOf<Trainer['scheduler']>().toEqualTypeOf<Scheduler>()
expectTypeOf<Trainer['globalStep']>().toEqualTypeOf<number>()
expectTypeOf<Trainer['trainableNames']>().toEqualTypeOf<string[]>()
expectTypeOf<Trainer['fit']>().toEqualTypeOf<(dataset: Dataset, options: FitOptions) => Promise<void>>()
expectTypeOf<Trainer['step']>().returns.toEqualTypeOf<Promise<StepReport>>()
expectTypeOf<readonly TrainingExample[]>().toExtend<Parameters<Trainer['step']>[0]>()
expectTypeOf<Trainer['save']>().toEqualTypeOf<(folder: string) => Promise<void>>()
expectTypeOf<Trainer['dispose']>().toEqualTypeOf<() => void>()
expectTypeOf(Trainer.resume).toEqualTypeOf<(folder: string, changes?: TrainerOptions, model?: ModelOptions) => Promise<Trainer>>()
expectTypeOf(VAETrainer).toBeConstructibleWith({} as VAE, { stage: 'spatial' })
expectTypeOf<VAETrainer['vae']>().toEqualTypeOf<VAE>()
expectTypeOf<VAETrainer['step']>().returns.toEqualTypeOf<Promise<StepReport>>()
expectTypeOf<VAETrainer['save']>().toEqualTypeOf<(folder: string) => Promise<void>>()
expectTypeOf(VAETrainer.resume).returns.toEqualTypeOf<Promise<VAETrainer>>()

async function training(trainer: Trainer, plain: TensorData, handle: Tensor): Promise<void> {
  // The form of the latents is the form of the gradients.
  expectTypeOf(await trainer.lossAndGradients({ latents: plain, noise: handle, timestep: 1, promptEmbeds: plain })).toEqualTypeOf<{ loss: number; gradients: Map<string, TensorData> }>()
  expectTypeOf((await trainer.lossAndGradients({ latents: handle, noise: plain, timestep: 1, promptEmbeds: plain })).gradients).toEqualTypeOf<Map<string, Tensor>>()
  // @ts-expect-error noise is needed
  await trainer.lossAndGradients({ latents: plain, timestep: 1, promptEmbeds: plain })
  // @ts-expect-error a misspelt option
  new Trainer(trainer.pipeline, { learningrate: 1e-4 })
  // @ts-expect-error a VAE trains in stages
  new VAETrainer(trainer.pipeline.vae, {})
}
void training

// ---- evaluation ----

expectTypeOf<string | AsyncIterable<Frame> | Pick<Video, 'frames'>>().toExtend<EvaluateSource>()
expectTypeOf<Video>().toExtend<EvaluateSource>()
expectTypeOf<MetricName>().toEqualTypeOf<
  'temporalFlickering' | 'motionSmoothness' | 'dynamicDegree' | 'subjectConsistency' | 'backgroundConsistency' | 'sceneCuts' | 'seamScore' | 'mawe' | 'identityOverGap'
>()
expectTypeOf<EvaluateOptions>().toEqualTypeOf<{
  metrics?: readonly MetricName[] | undefined
  fps?: number | undefined
  flow?: OpticalFlow | undefined
  interpolator?: FrameInterpolator | undefined
  encoder?: FrameEncoder | undefined
  borders?: readonly number[] | undefined
  gaps?: readonly number[] | undefined
  onProgress?: ((progress: { done: number; total: number | undefined }) => void) | undefined
  signal?: AbortSignal | undefined
}>()
expectTypeOf<Evaluation>().toExtend<MetricValues & { frames: number; width: number; height: number }>()
expectTypeOf<MetricValues>().toExtend<{
  temporalFlickering?: number
  motionSmoothness?: MotionSmoothness
  dynamicDegree?: DynamicDegree
  subjectConsistency?: Consistency
  backgroundConsistency?: Consistency
  sceneCuts?: number[]
  seamScore?: number
  mawe?: Mawe
  identityOverGap?: IdentityOverGap
}>()
expectTypeOf<OpticalFlow['estimate']>().returns.toEqualTypeOf<FlowField | PromiseLike<FlowField>>()
expectTypeOf<EvaluateClipsOptions>().toExtend<EvaluateOptions>()
expectTypeOf<ClipsEvaluation>().toHaveProperty('clips').toEqualTypeOf<ClipEvaluation[]>()
expectTypeOf(evaluateClips).returns.toEqualTypeOf<Promise<ClipsEvaluation>>()
expectTypeOf(summarize).toEqualTypeOf<(evaluations: readonly Evaluation[]) => EvaluationSummary>()
expectTypeOf(vinEncoder).toEqualTypeOf<(pipeline: VideoPipeline) => FrameEncoder>()
expectTypeOf<EvaluationSummary['mean']>().toEqualTypeOf<EvaluationScores>()
expectTypeOf(evaluate).toEqualTypeOf<(source: EvaluateSource, options?: EvaluateOptions) => Promise<Evaluation>>()

expectTypeOf(vbenchTotal).toEqualTypeOf<(scores: Partial<Record<VBenchDimension, number>>) => VBenchTotal>()
expectTypeOf<VBenchTotal['total']>().toEqualTypeOf<number | undefined>()
expectTypeOf(compare).toEqualTypeOf<(pipeline: VideoPipeline, options: CompareOptions) => Promise<CompareReport>>()
expectTypeOf<{ report: string; methods: string[]; prompts: string[]; seeds: 4; frames: number[]; numInferenceSteps: number; fusion: 'late' }>().toExtend<CompareOptions>()
expectTypeOf<{ report: string; method: 'vin' }>().not.toEqualTypeOf<CompareOptions>()
expectTypeOf<CompareOptions['onEstimate']>().toEqualTypeOf<((estimate: CompareEstimate) => void) | undefined>()
expectTypeOf<CompareOptions['onProgress']>().toEqualTypeOf<((progress: CompareProgress) => void) | undefined>()
expectTypeOf<CompareOptions['onRow']>().toEqualTypeOf<((row: CompareRow) => void) | undefined>()
expectTypeOf<CompareRow['runtime']>().toEqualTypeOf<RowRuntime>()
expectTypeOf(makeStudy).toEqualTypeOf<(comparison: string, options?: StudyOptions) => Promise<Study>>()
expectTypeOf<Study>().toEqualTypeOf<{ path: string; pairs: number; perPerson: number; methods: string[]; reference: string }>()
expectTypeOf(countVotes).toEqualTypeOf<(answers: readonly StudyAnswers[]) => StudySummary>()
expectTypeOf<StudyAnswers['votes']>().toEqualTypeOf<StudyVote[]>()
expectTypeOf<StudySummary['results']>().toEqualTypeOf<StudyResult[]>()
expectTypeOf<CompareReport['groups']>().toEqualTypeOf<ReportGroup[]>()
expectTypeOf<ReportGroup['values']>().toEqualTypeOf<Record<string, Estimate>>()
