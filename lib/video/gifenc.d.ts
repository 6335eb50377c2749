// gifenc ships no types: what gif.ts uses of it.
declare module 'gifenc' {
  type Palette = [number, number, number][]
  interface Gif {
    writeHeader(): void
    writeFrame(index: Uint8Array, width: number, height: number, options: { first: boolean; palette?: Palette; delay: number; repeat?: number }): void
    finish(): void
    /** A copy of what has been written since the last reset. */
    bytes(): Uint8Array
    reset(): void
  }
  const gifenc: {
    GIFEncoder(options?: { auto?: boolean; initialCapacity?: number }): Gif
    quantize(rgba: Uint8Array, maxColors: number, options?: { format?: 'rgb565' | 'rgb444' }): Palette
    applyPalette(rgba: Uint8Array, palette: Palette, format?: 'rgb565' | 'rgb444'): Uint8Array
  }
  export default gifenc
}
