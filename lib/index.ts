// The public interface: exports only, no work on import.

export { generate, type GenerateCallOptions } from './pipeline/generate.js'
export { VideoPipeline, type AttentionMaps } from './pipeline/pipeline.js'
export { openLatents, type OpenLatentsOptions } from './pipeline/saved-latents.js'
export { fitStepCache, type FitStepCacheOptions, type StepCacheFit } from './pipeline/fit-step-cache.js'
export type { GeneratedVideo, GenerationEvent, GenerationJob } from './pipeline/job.js'
export type { PipelineWarning, VideoPlan } from './pipeline/plan.js'
export type { TextEncoderLike } from './pipeline/prompt.js'
export type { SavePipelineOptions } from './pipeline/save.js'

export { Transformer, type ForwardOptions, type TransformerConfig, type VinConfig } from './models/transformer.js'
export { VAE, type DecodeOptions, type VAEConfig } from './models/vae.js'
export { TextEncoder, type EncodedText, type TextEncoderConfig, type TokenIds } from './models/text-encoder.js'
export { Tokenizer, type Encoding } from './models/tokenizer.js'
export type { SaveModelOptions, WeightType } from './models/save.js'

export { createScheduler, DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, RFlowScheduler, Scheduler } from './schedulers/index.js'
export type { SchedulerConfig, SchedulerName, SchedulerOption, StepOptions, TimestepSize } from './schedulers/index.js'

export { Tensor, type TensorData, type TensorLike } from './native/tensor.js'
export { randn, type RandnOptions } from './native/ops.js'
export { doctor, type DoctorCheck, type DoctorOptions, type DoctorReport } from './native/doctor.js'
export type { Device, RejectedBackend } from './native/backends.js'
export type { Runtime } from './native/engine.js'
export type { Logger } from './native/log.js'

export { Video, videoFormats } from './video/index.js'
export { readVideo, type ReadVideoOptions } from './video/ffmpeg.js'
export type { Frame, Picture, SaveOptions, VideoFormat, VideoJSON, VideoWarning } from './video/index.js'

export { VinError, type VinErrorCode } from './errors.js'

export type { ChunkOptions, DenoiseMethod, DenoiseOptions } from './options/denoise.js'
export type { GenerateOptions, PreviewEvent, StepEvent, StepResult, TimelineEntry } from './options/generate.js'
export type { Limits } from './options/limits.js'
export type { ComputeType, LoadProgress, ModelOptions, TransformerPart } from './options/model.js'
export type { FromConfigOptions, PipelineConfig, PipelineDefaults } from './options/pipeline.js'
export type { MethodName } from './methods/index.js'
export type { Chunk, Overlap } from './plan/chunks.js'
export type { Fusion, FusionOptions, FusionWeights, FusionWindow } from './plan/fusion.js'
export type { StepCacheOption } from './plan/step-cache.js'

export { Trainer, type LossOptions } from './training/trainer.js'
export type { FitOptions, NamedGradients, StepReport } from './training/fit.js'
export type { Gradient } from './training/gradient.js'
export type { TrainerOptions } from './training/options.js'
export { VAETrainer, type VAETrainerOptions } from './training/vae-trainer.js'
export { pixelPlanes, type WeightedExample } from './training/pixels.js'
export { demoWorld, type DemoWorldExample, type DemoWorldOptions } from './training/demo-world.js'
export { videoFolder, type VideoFolder, type VideoFolderOptions } from './training/video-folder.js'
export type { Clip, Dataset, DatasetNeeds, DatasetReport, TrainingExample, TrainingWarning, VideoLatents, VideoPixels } from './training/dataset.js'

export { evaluate, evaluateClips, summarize, vbenchTotal, vinEncoder } from './evaluate/index.js'
export type {
  ClipEvaluation,
  ClipsEvaluation,
  Consistency,
  DynamicDegree,
  EvaluateClipsOptions,
  EvaluateOptions,
  EvaluateSource,
  Evaluation,
  EvaluationScores,
  EvaluationSummary,
  FlowField,
  FrameEncoder,
  FrameInterpolator,
  IdentityOverGap,
  Mawe,
  MetricName,
  MetricValues,
  MotionSmoothness,
  OpticalFlow,
  VBenchDimension,
  VBenchTotal
} from './evaluate/index.js'

export { compare, countVotes, makeStudy } from './compare/index.js'
export type { CompareEstimate, CompareOptions, CompareProgress, CompareReport, CompareRow, Estimate, ReportGroup, RowRuntime, Study, StudyAnswers, StudyOptions, StudyResult, StudySummary, StudyVote } from './compare/index.js'
