// VBench's temporal flickering: (255 − mean over neighbours of mean |a − b|) / 255, of 8-bit RGB frames.

export class TemporalFlickering {
  #before: Uint8Array | undefined
  #sum = 0
  #pairs = 0

  /** The next frame; frames that are read may come in one array again and again. */
  add(data: Uint8Array): void {
    const before = this.#before
    if (before === undefined) {
      this.#before = data.slice()
      return
    }
    let difference = 0
    for (let at = 0; at < data.length; at++) difference += Math.abs(data[at]! - before[at]!)
    this.#sum += difference / data.length
    this.#pairs += 1
    before.set(data)
  }

  /** Undefined without a pair of frames. */
  get value(): number | undefined {
    return this.#pairs === 0 ? undefined : (255 - this.#sum / this.#pairs) / 255
  }
}
