// What a run returns: latents, and the pixels they decode to. Frames are decoded anew each time they are read, since decoding is deterministic and a long
// video's pixels are many times its latents.

import { Readable } from 'node:stream'
import { checkFunction, checkInteger, checkNames, checkSignal } from '../check.js'
import { abortReason, checkMade, missingComponent, rangeError } from '../errors.js'
import { writeFileAtomically } from '../files/atomic-file.js'
import { writeFolderAtomically } from '../files/pictures.js'
import { encodeSafetensors } from '../files/safetensors.js'
import { abortableItems } from '../native/cancel.js'
import { onAbort } from '../native/signals.js'
import type { TensorData } from '../native/tensor.js'
import { brand } from '../realms.js'
import { encodeVideo, formatOfName, formatOfPath, isPictureFolder, pictureFolderOf } from './formats.js'
import type { VideoFormat } from './formats.js'
import type { Frame, FrameSource } from './frames.js'
import { isPngOfSequence, numberPngs } from './png.js'

/** Something that was adjusted or is worth knowing; `code` is stable. */
export interface VideoWarning {
  code: string
  message: string
}

/** What the pipeline hands over. Options and Plan are its types. */
export interface VideoParts<Options = unknown, Plan = unknown> {
  /** [C, N, H, W] */
  latents: TensorData
  /** Decodes all frames of the video's latents in order; absent: there is no VAE, or only latents were asked for. */
  decode?: ((signal: AbortSignal | undefined, latents: TensorData) => AsyncIterable<Frame>) | undefined
  /** Pixels. */
  width: number
  height: number
  fps: number
  numFrames: number
  /** @default 0 */
  seed?: number | bigint | undefined
  options: Options
  plan: Plan
  /** Milliseconds by stage. */
  timings?: Readonly<Record<string, number>>
  /** @default 0 */
  skippedSteps?: number
  warnings?: readonly VideoWarning[]
  /** Hears of each adjustment that a writer makes. */
  onWarning?: ((warning: VideoWarning) => void) | undefined
}

export interface SaveOptions {
  /** Every pixel becomes scale × scale equal pixels. @default 1 */
  scale?: number
  /** Stops decoding and encoding; nothing is left at the path. */
  signal?: AbortSignal
  /** Called after each frame that has been handed to the writer. A GIF reads all frames twice: `total` says so. */
  onProgress?: (progress: { done: number; total: number }) => void
}

/** A video as `JSON.stringify` shows it. */
export interface VideoJSON<Options = unknown, Plan = unknown> {
  width: number
  height: number
  fps: number
  numFrames: number
  /** Digits where it was a bigint. */
  seed: number | string
  options: Options
  plan: Plan
  timings: Readonly<Record<string, number>>
  skippedSteps: number
  warnings: VideoWarning[]
}

const maxScale = 64

/** The same video with latents that nobody else writes to. */
export let withOwnLatents: (video: Video) => Video

export class Video<Options = unknown, Plan = unknown> {
  static {
    brand(this, 'Video')
  }

  /** [C, N, H, W] */
  readonly latents: TensorData
  readonly width: number
  readonly height: number
  readonly fps: number
  readonly numFrames: number
  readonly seed: number | bigint
  /** All options as they were resolved: a run can be repeated from them. */
  readonly options: Options
  readonly plan: Plan
  /** Milliseconds by stage. */
  readonly timings: Readonly<Record<string, number>>
  /** Steps whose evaluation `stepCache` left out; of a resumed run, those since it went on. */
  readonly skippedSteps: number
  /** Adjustments, those of `save` included. */
  readonly warnings: VideoWarning[]

  static {
    // A video of another copy of this library keeps its parts to itself.
    withOwnLatents = (video) => (#parts in video ? new Video({ ...video.#parts, latents: { data: new Float32Array(video.latents.data), shape: [...video.latents.shape] } }) : video)
  }

  readonly #parts: VideoParts<Options, Plan>

  /** Made by pipelines. */
  constructor(parts: VideoParts<Options, Plan>) {
    checkMade(typeof parts === 'object' && parts !== null && 'latents' in parts, 'Video', 'a video of generate() or openLatents()')
    this.#parts = parts
    this.latents = parts.latents
    this.width = parts.width
    this.height = parts.height
    this.fps = parts.fps
    this.numFrames = parts.numFrames
    this.seed = parts.seed ?? 0
    this.options = parts.options
    this.plan = parts.plan
    this.timings = parts.timings ?? {}
    this.skippedSteps = parts.skippedSteps ?? 0
    this.warnings = [...(parts.warnings ?? [])]
  }

  /** The frames in order, each yielded as it is decoded. */
  async *frames(options: { signal?: AbortSignal } = {}): AsyncGenerator<Frame> {
    checkNames(options, 'frames', ['signal'])
    const signal = checkSignal(options.signal)
    signal?.throwIfAborted()
    yield* abortableItems(this.#decoder()(signal, this.latents), signal)
  }

  #decoder(): NonNullable<VideoParts['decode']> {
    const { decode } = this.#parts
    if (decode === undefined) {
      throw missingComponent('vae', 'Expected a VAE to decode frames but this video holds latents only; save .safetensors, or generate with a model that has vae/ and outputType "video"')
    }
    return decode
  }

  /**
  Writes the video in the format of the extension: .mp4 .gif .webp .apng .y4m, .png (a folder of pictures, out.png → out/000000.png; a single frame is out.png itself)
  or .safetensors (latents).
  */
  async save(path: string, options: SaveOptions = {}): Promise<void> {
    const format = formatOfPath(path)
    const { scale, signal } = checkSaveOptions(options, 'save')
    signal?.throwIfAborted()
    if (isPictureFolder(path, this.numFrames)) return writeFolderAtomically(pictureFolderOf(path), numberPngs(this.#encode('png', scale, options)), isPngOfSequence, signal)
    return writeFileAtomically(path, this.#encode(format, scale, options), signal)
  }

  /** The bytes that `save` would write. 'png' is for a video of one frame. */
  async toBuffer(format: string, options: SaveOptions = {}): Promise<Buffer> {
    const name = formatOfName(format)
    const { scale, signal } = checkSaveOptions(options, 'toBuffer')
    signal?.throwIfAborted()
    this.#checkOneFile(name)
    const chunks: Uint8Array[] = []
    for await (const chunk of this.#encode(name, scale, options)) {
      signal?.throwIfAborted()
      chunks.push(Uint8Array.from(chunk))
    }
    return Buffer.concat(chunks)
  }

  /**
  The same bytes as a stream, for a response or a file. Encoding begins when it is first read from; a stream that is destroyed, or whose reader goes away, stops it,
  and an abort or a failure destroys it. All formats but .y4m, .apng and .gif come at the end: their first bytes depend on the last frame.

  @example
  video.toStream('mp4').pipe(response)
  */
  toStream(format: string, options: SaveOptions = {}): Readable {
    const name = formatOfName(format)
    const { scale, signal } = checkSaveOptions(options, 'toStream')
    this.#checkOneFile(name)
    const stop = new AbortController()
    const pieces = this.#encode(name, scale, { ...options, signal: stop.signal })
    const stream = new Readable({
      read() {
        pieces.next().then(
          ({ done, value }) => this.push(done === true ? null : value),
          (error: Error) => this.destroy(error)
        )
      },
      destroy(error, callback) {
        release()
        // An encoder that waits for a frame hears of it by its signal.
        stop.abort(error ?? abortReason())
        pieces.return(undefined).finally(() => callback(error)).catch(() => {})
      }
    })
    const fail = (): void => void stream.destroy(signal?.reason as Error)
    const release = onAbort(signal, fail)
    if (signal?.aborted === true) fail()
    return stream
  }

  /** What the video is, without latents and pixels: for logs and for answers of a service. A bigint becomes its digits. */
  toJSON(): VideoJSON<Options, Plan> {
    const { width, height, fps, numFrames, seed, options, plan, timings, skippedSteps, warnings } = this
    return JSON.parse(JSON.stringify({ width, height, fps, numFrames, seed, options, plan, timings, skippedSteps, warnings }, plainValue)) as VideoJSON<Options, Plan>
  }

  #checkOneFile(format: VideoFormat): void {
    if (format === 'png' && this.numFrames !== 1) throw rangeError(`Expected a video of 1 frame for format "png" but this one has ${this.numFrames}; use "apng", or save("out.png") for a folder of pictures`)
  }

  async *#encode(format: VideoFormat, scale: number, options: SaveOptions): AsyncGenerator<Uint8Array> {
    if (format === 'safetensors') yield* encodeSafetensors({ latents: this.latents }, this.#metadata())
    else yield* encodeVideo(format, this.#source({ ...options, passes: format === 'gif' ? 2 : 1 }), scale)
  }

  #source({ signal, onProgress, passes = 1 }: SaveOptions & { passes?: number }): FrameSource {
    this.#decoder()
    let done = 0
    const frames = async function* (this: Video<Options, Plan>): AsyncGenerator<Frame> {
      for await (const frame of this.frames(signal === undefined ? {} : { signal })) {
        yield frame
        onProgress?.({ done: ++done, total: this.numFrames * passes })
      }
    }
    const warn = (code: string, message: string): void => {
      if (this.warnings.some((known) => known.code === code && known.message === message)) return
      this.warnings.push({ code, message })
      this.#parts.onWarning?.({ code, message })
    }
    return { width: this.width, height: this.height, fps: this.fps, numFrames: this.numFrames, frames: frames.bind(this), warn, signal }
  }

  #metadata(): Record<string, string> {
    return {
      num_frames: String(this.numFrames),
      fps: String(this.fps),
      width: String(this.width),
      height: String(this.height),
      seed: String(this.seed),
      options: JSON.stringify(this.options, plainValue) ?? '{}'
    }
  }
}

/** For JSON.stringify: digits of a bigint, and no arrays of numbers. */
function plainValue(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : ArrayBuffer.isView(value) ? undefined : value
}

function checkSaveOptions(options: SaveOptions, what: string): { scale: number; signal: AbortSignal | undefined } {
  checkNames(options, what, ['scale', 'signal', 'onProgress'])
  checkFunction(options.onProgress, 'onProgress')
  return { scale: checkInteger(options.scale ?? 1, 'scale', 1, maxScale), signal: checkSignal(options.signal) }
}
