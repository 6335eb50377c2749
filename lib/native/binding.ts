// The types of vin-native.node. Everything here is plain: shapes are checked again in C++, errors come as lib/errors.ts has them (`useErrors`).
// A call that returns a NativeTensor has only been queued: the tensor is a handle, and work that failed shows when the handle is awaited or read.

import type { VinError } from '../errors.js'
import type { FrameAttention } from '../plan/attention.js'
import type { Chunk } from '../plan/chunks.js'
import type { FusionWeights } from '../plan/fusion.js'

export type DType = 'float32' | 'bfloat16' | 'float16' | 'int32' | 'uint8' | 'float64'
export type TypedArray = Float32Array | Float64Array | Int32Array | Uint8Array

/** A device tensor. Reading copies on the engine's thread. */
export interface NativeTensor {
  readonly shape: number[]
  readonly dtype: DType
  /** Resolves when the command that makes this tensor has finished; rejects with its error. */
  ready(): Promise<void>
  read(): Promise<{ data: TypedArray; shape: number[] }>
  /** Frees the memory once queued commands that use it have run. Twice is fine; later use throws ERR_VIN_DISPOSED. */
  dispose(): void
}

/** One atomic flag per job; commands queued with it stop before their next op with an AbortError, which `withCancel` turns into the signal's reason. */
export interface NativeCancel {
  cancel(): void
}

export interface EngineStats {
  /** Bytes of device memory held now, and the most ever held; live tensor handles; backend allocations so far. */
  bytes: number
  peakBytes: number
  handles: number
  allocations: number
  /** Commands finished. */
  commands: number
  /** Plans made for commands: a command whose shapes one has had before makes none. */
  dryRuns: number
  /** Copies to the device, and times the engine's thread has waited for an asynchronous one. */
  uploads: number
  waits: number
  /** A device error has ended the engine: what is queued fails with it, and so does all that comes. */
  lost: boolean
}

/** An op of csrc/ops.def by name: tensors and numbers by field name. Outputs are given as `{ shape, dtype? }` (made by the call) or as a tensor (written in place). */
export type OpArguments = Record<string, NativeTensor | { shape: number[]; dtype?: DType } | number | null | undefined>

export type Config = Record<string, unknown>

/**
One evaluation of model.md §3. Frames are latent frames. lib/pipeline/evaluation.ts makes it, csrc/napi/request.cpp takes it apart. `T` is a tensor, or its shape alone
for a dry run.
*/
export interface EvaluationRequest<T = NativeTensor> {
  latents: T                                  // [C,N,H,W]
  timestep: number
  /** [N]: those of latent frames that have their own; `timestep` is then that of the global tokens. */
  frameTimesteps?: readonly number[] | undefined
  /** [L,D]; timelines: rows of all entries in order. Left out in training alone. */
  text?: T | undefined
  /** Unconditional text, or absent: one evaluation. */
  negativeText?: T | undefined
  /** Absent: 1. */
  guidanceScale?: number | undefined
  fps: number
  height: number                              // pixels
  width: number
  chunks: Chunk[]
  /** Keyframes of the VIN; absent: chunks without global tokens. */
  keyframes?: readonly number[] | undefined
  /** Blend overlaps (the default); false: the owner's value. Or one of them per chunk but the first. */
  fuse?: boolean | readonly boolean[] | undefined
  /** Weights of the blend; absent: 'linear'. */
  fusionWeights?: FusionWeights | undefined
  /** How self-attention over frames sees the one chunk of all frames (methods.md §3, §4); absent: every frame sees every frame. Not in training. */
  attention?: FrameAttention | undefined
  /** Chunks read the latent frames before them through `cam.*`, and one frame of the video through `apm.*` (methods.md §5), where the model has them; absent: neither. Not with keyframes. */
  streaming?: Streaming | undefined
  /** Randomized blending, instead of `fuse`: per chunk but the first, how many frames of its overlap have the earlier chunk's value; the others have its own. */
  overlapCuts?: readonly number[] | undefined
  /** [N] 1 = denoised, 0 = conditioning. */
  frameMask?: readonly number[] | undefined
  /** The VIN reads these latents instead. */
  globalTokensFrom?: T | undefined
  /** Timelines: per chunk the rows of `text` (and of `negativeText`) its captions come from. Absent: all rows. */
  chunkText?: Rows[] | undefined
  chunkNegativeText?: Rows[] | undefined
  /** The VIN reads the first so many rows of `text` (and of `negativeText`); what follows them is for chunks alone. Absent: all rows. */
  vinTextRows?: number | undefined
  vinNegativeTextRows?: number | undefined
  /** Global tokens of each branch [branches, G, d] (methods.md §6): with `readsMemory` those of the evaluation before are read, and those of this one are written. */
  memory?: T | undefined
  readsMemory?: boolean | undefined
  /** What the blocks add to each chunk [branches, rows of all chunks, C]: written, or with `reuseResiduals` added again in place of captions, VIN and blocks. */
  residuals?: T | undefined
  reuseResiduals?: boolean | undefined
  /** Chunks evaluated at once; 0: as many as there are threads. */
  chunksInFlight?: number | undefined
  cancel?: NativeCancel | undefined
}

export interface Streaming {
  /** The latent frame of `latents` that APM reads; absent: the null anchor. */
  anchor?: number | undefined
  /** w_anchor of … + w_anchor (ε(text, anchor) − ε(text, null anchor)). Absent: 1. */
  anchorGuidanceScale?: number | undefined
}

/** Rows [begin, end) of a text. */
export interface Rows {
  begin: number
  end: number
}

/** What a test wants to see beside the prediction; names as in fixtures/README.md. */
export interface Intermediates {
  t_vec?: NativeTensor
  video_tokens?: NativeTensor
  global_tokens?: NativeTensor
  global_tokens_projected?: NativeTensor
  chunks?: NativeTensor[]
}

export interface NativeModel {
  /** Names, shapes and sizes of all weights in the state dict. */
  weights(): { name: string; shape: number[] }[]
  /** A live view of one weight (fp32): reading shows its present value, writing through `engine.op` changes it. */
  weight(name: string): NativeTensor
  /** Writes a safetensors file atomically (temporary file, fsync, rename, fsync of the folder). */
  save(path: string, options: { dtype: DType }): Promise<void>
  bytes(): number
  dispose(): void
}

export interface NativeTransformer extends NativeModel {
  denoise(request: EvaluationRequest): NativeTensor
  /** The same evaluation with every intermediate kept (tests, pictures). */
  trace(request: EvaluationRequest): { output: NativeTensor } & Intermediates
  /** All output channels [P,N,H,W] of the plain backbone as one chunk (stdit3), opensora.md §1.3. */
  forward(request: Omit<EvaluationRequest, 'chunks'>): NativeTensor
  /** VIN attention per head: encoder [heads, G, keys] and per processor block [heads, G+L, G+L]. */
  attention(request: EvaluationRequest): { encoder: NativeTensor; processor: NativeTensor[] }
  /** The modulated input of the first block for all frames: [N · S, C]. */
  firstInput(request: EvaluationRequest): NativeTensor
  /** Peak activation bytes of one such evaluation, by the dry run. Runs on the calling thread. */
  memory(request: EvaluationRequest<{ readonly shape: readonly number[] }>): number
}

export interface NativeVae extends NativeModel {
  /** pixels [3,T,H,W] in −1…1 → mean latents after shift and scale [4,N,H/8,W/8]. */
  encode(pixels: NativeTensor, options: { cancel?: NativeCancel }): NativeTensor
  /** latents → [3,numFrames,8H,8W]. */
  decode(latents: NativeTensor, options: { numFrames: number; cancel?: NativeCancel }): NativeTensor
  /** One micro-batch of latent frames [begin, end) → uint8 [frames, 8H, 8W, 3] RGB, already cropped. */
  decodePixels(latents: NativeTensor, options: { begin: number; end: number; numFrames: number; cancel?: NativeCancel }): NativeTensor
  /** Peak activation bytes of decoding one micro-batch, by the dry run. Runs on the calling thread. */
  memory(options: { height: number; width: number }): number
}

export interface NativeT5 extends NativeModel {
  /** ids of the valid tokens [L] → [L, d_model]. */
  encode(ids: number[], options: { cancel?: NativeCancel }): NativeTensor
}

export interface NativeModels {
  transformer: NativeTransformer
  vae: NativeVae
  t5: NativeT5
}

export type ModelKind = keyof NativeModels

/** One video's part of a training step (model.md §4): its evaluation, with x_t for latents, and what is asked of it. */
export interface BackwardRequest extends EvaluationRequest {
  target: NativeTensor                        // [C,N,H,W]
  /** Instead of `text`: token ids for the text encoder that trains along. */
  ids?: number[] | undefined
  /** Instead of either: the first so many rows of y_embedding. */
  nullText?: number | undefined
  /** The VIN reads the video twice: the tokens of the first time, without gradients, are the memory of the second (methods.md §6). */
  remembersItself?: boolean | undefined
  /** [K]: what the global tokens are to tell of the video through `vin.global_features.*`; globalFeatureWeight / K · Σ (f̂ − f)² joins its loss. Absent: nothing. */
  globalFeatures?: NativeTensor | undefined
  globalFeatureWeight?: number | undefined
  contextLossWeight: number
  /** Factor of this video's loss in the summed gradient (1 / videos of the step). */
  lossScale: number
}

/** Gradients, moments and EMA of one or more models that train together. */
export interface NativeTrainer {
  /** Adds the gradients of all requests (in order), and returns each video's loss, float64 [videos], before lossScale. */
  backward(requests: BackwardRequest[], options: { gradientCheckpointing: boolean; cancel?: NativeCancel }): NativeTensor
  /**
  VAE: pixels [3,T,H,W] of one micro-batch (or single frames), weight [T,H,W] per pixel (stage temporal: [T,H/8,W/8] per latent); loss parts float64 [2] = reconstruction, kl (both scaled as given).
  Stage decoder decodes `latents`, as encode() gives them; the others encode and sample the posterior with `noise`.
  */
  backwardVae(request: { pixels: NativeTensor; weight?: NativeTensor; l1: number; mse: number; kl: number; cancel?: NativeCancel } & (
    { stage: 'spatial' | 'temporal' | 'all'; noise: NativeTensor } | { stage: 'decoder'; latents: NativeTensor }
  )): NativeTensor
  zeroGradients(): void
  /** Trainable names, in update order, and a live fp32 view of a gradient. */
  names(): string[]
  gradient(name: string): NativeTensor
  /**
  Clip and AdamW in one command. Per name its rate and decay; returns float64 [1] = sum of the gradients' squares before clipping. Where its root is not finite, or what
  that is clipped to has a square that float32 has not, nothing changes.
  */
  update(options: { learningRates: number[]; weightDecays: number[]; beta1: number; beta2: number; eps: number; maxGradNorm: number; step: number }): NativeTensor
  /** EMA of the weights as they are now: behind an update that has changed them. */
  average(decay: number): void
  /** Raw weights, first and second moments, EMA: one safetensors file, atomic. Loading checks every name and shape. */
  saveState(path: string): Promise<void>
  loadState(path: string): Promise<void>
  /** Writes one model with its EMA weights. */
  saveAverage(modelIndex: number, path: string, options: { dtype: DType }): Promise<void>
  dispose(): void
}

/** A plug-in's device. */
export interface DeviceInfo {
  name: string
  uuid: string
  /** 90 is sm_90; 13000 is a driver for CUDA 13.0. */
  arch: number
  driver: number
  multiprocessors: number
  totalBytes: number
  freeBytes: number
}

export interface NativeEngine {
  /** `hardware`: as it was found when the engine was opened; absent: the CPU. */
  readonly info: { device: string; backend: string; isa: string; threads: number; hardware?: DeviceInfo }
  /** Copies host data into a device tensor. */
  upload(data: TypedArray, shape: number[]): NativeTensor
  /** Queues one op of ops.def; returns the outputs by field name. `times` (1) calls it so often in a row. Throws a RangeError for an unknown op, field or shape. */
  op(name: string, args: OpArguments, times?: number): Record<string, NativeTensor>
  /** A view [begin, end) along one axis; shares memory. */
  slice(tensor: NativeTensor, axis: number, begin: number, end: number): NativeTensor
  reshape(tensor: NativeTensor, shape: number[]): NativeTensor
  /** Resolves when everything queued so far has finished (also after failures). */
  fence(): Promise<void>
  stats(): EngineStats
  createCancel(): NativeCancel
  /** Loads and checks a state dict. Names per kind: model.md §2, opensora.md §3–4. Reading happens on the engine thread; `cancel` is read per slice. Weights whose names begin with one of `untrained` are not read but get initial values. */
  load<K extends ModelKind>(kind: K, config: Config, files: string[], options?: { cancel?: NativeCancel; limits?: Record<string, number>; untrained?: string[] }): Promise<NativeModels[K]>
  /** Untrained weights (initial values: demo.md §3.4). */
  create<K extends ModelKind>(kind: K, config: Config, seed: bigint): Promise<NativeModels[K]>
  /** `trainable` holds the exact weight names, one list per model. */
  createTrainer(models: NativeModel[], trainable: string[][]): NativeTrainer
  dispose(): Promise<void>
}

export interface NativeEngineOptions {
  device: string
  threads: number
  isa?: string
  backendPath?: string
  memoryBudget?: number
  trace?: string
}

export interface Binding {
  /**
  Hands over the classes that errors are made of: wrong arguments are a RangeError with code, cancelled work a DOMException, all else a VinError. They belong to the
  environment: the copy of the library that has loaded the addon last has given its own, which all copies know as theirs (lib/realms.ts). Without them errors are plain.
  */
  useErrors(classes: { VinError: typeof VinError; RangeError: RangeErrorConstructor; DOMException: typeof DOMException }): void
  /** Opens an engine: its thread, its worker threads, its backend. Throws ERR_VIN_NOT_SUPPORTED for an ISA the machine lacks. */
  createEngine(options: NativeEngineOptions): NativeEngine
  /**
  The same on a thread of its own: a driver may take long to start. Rejects with ERR_VIN_BACKEND_UNAVAILABLE, whose `details.reason` is a code of RejectedBackend, for a
  plug-in or a device that refuses; with ERR_VIN_OUT_OF_MEMORY for a device that is full.
  */
  openEngine(options: NativeEngineOptions): Promise<NativeEngine>
  /** A plug-in and the devices that it shows. It starts the driver, which may take long or crash: for a process of its own. Throws as `openEngine` rejects. */
  describeBackend(options: { backendPath: string }): { name: string; build: string; devices: DeviceInfo[] }
  /** The files of a library's name where the system's loader would look for it, none of them opened. */
  findLibrary(name: string): string[]
  /** Instruction sets of this machine that the addon was built with, worst first. */
  cpuFeatures(): string[]
  /**
  fp32 operations per second of so many threads (default 1) that do nothing but multiply-adds in registers, on the best instruction set or the given one: what benchmarks
  divide by. Takes about 20 ms of the calling thread. Throws ERR_VIN_NOT_SUPPORTED for an ISA the machine lacks.
  */
  measurePeak(options: { threads?: number; isa?: string }): number
  /** Names and fields of ops.def: the addon's own description. */
  ops(): { name: string; fields: { name: string; kind: 'out' | 'in' | 'opt' | 'i32' | 'f32' | 'f64' }[] }[]
  /** safetensors without a model: names, dtypes, shapes and data of all tensors (fp32 for floating types unless raw). Throws ERR_VIN_FORMAT. */
  readSafetensors(path: string | Uint8Array, options?: { limits?: Record<string, number>; headerOnly?: boolean }): { tensors: Record<string, { dtype: string; shape: number[]; data?: TypedArray }>; metadata: Record<string, string> }
  /** Atomic. */
  writeSafetensors(path: string, tensors: Record<string, { data: TypedArray; shape: number[]; dtype?: DType }>, metadata?: Record<string, string>): void
  /**
  The strict JSON reader used for configs (depth, size, duplicate keys, UTF-8 checked); returns null-prototype objects. With `nonfinite` the words Infinity, -Infinity
  and NaN are numbers, as Python writes them.
  */
  parseJson(text: Uint8Array, file: string, limits?: { depth?: number; bytes?: number; nonfinite?: boolean }): unknown
  /**
  The config of a model with every key that it leaves out, checked: the one owner of keys, bounds and defaults is csrc/models. `file` is named in errors.

  Throws ERR_VIN_FORMAT, and ERR_VIN_NOT_SUPPORTED for what no backend computes with.
  */
  resolveConfig(kind: ModelKind, config: Config, file: string): unknown
  /** Process-wide: bytes and handles of all engines (leak tests). */
  memory(): { bytes: number; handles: number; engines: number }
}
