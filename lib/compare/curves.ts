// A measure over length as a picture: a line a method, a bar of 95 % at every point. Colours are the page's; each method has a mark of its own shape too.

import { escaped } from './html.js'
import type { Measure, ReportGroup } from './summary.js'

const [width, height] = [360, 220]
const box = { left: 52, right: 12, top: 12, bottom: 34 }

export const marks = [
  (x: number, y: number) => `<circle cx="${x}" cy="${y}" r="4"/>`,
  (x: number, y: number) => `<rect x="${x - 4}" y="${y - 4}" width="8" height="8"/>`,
  (x: number, y: number) => `<path d="M${x} ${y - 5}l5 9h-10z"/>`,
  (x: number, y: number) => `<path d="M${x} ${y + 5}l5 -9h-10z"/>`,
  (x: number, y: number) => `<path d="M${x} ${y - 6}l6 6 -6 6 -6 -6z"/>`,
  (x: number, y: number) => `<path d="M${x - 4} ${y - 4}l8 8m0 -8l-8 8" fill="none" stroke-width="2.5"/>`,
  (x: number, y: number) => `<path d="M${x} ${y - 5}v10m-5 -5h10" fill="none" stroke-width="2.5"/>`
]

export const markOf = (method: number): ((x: number, y: number) => string) => marks[method % marks.length]!

/** Round numbers that cover a range. */
export function ticksOf(low: number, high: number): number[] {
  const span = high - low || Math.abs(high) || 1
  const rough = span / 4
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough)!
  const first = Math.floor(low / step)
  const last = Math.max(first + 1, Math.ceil(high / step))
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)))
}

const number = (value: number): string => String(Number(value.toFixed(2)))

/** Undefined for fewer than two lengths. */
export function curveOf(measure: Measure, groups: readonly ReportGroup[], methods: readonly string[], lengths: readonly number[]): string | undefined {
  const shown = groups.filter(({ values }) => values[measure.name] !== undefined)
  if (lengths.length < 2 || shown.length === 0) return undefined
  const ends = shown.flatMap(({ values }) => {
    const { mean, interval = [mean, mean] } = values[measure.name]!
    return [mean, ...interval]
  })
  const ticks = ticksOf(Math.min(...ends), Math.max(...ends))
  const [low, high] = [ticks[0]!, ticks.at(-1)!]
  const [shortest, longest] = [Math.log2(lengths[0]!), Math.log2(lengths.at(-1)!)]
  // Methods stand side by side at a length, so that their bars do not cover each other.
  const apart = (method: number): number => (method - (methods.length - 1) / 2) * 5
  const inset = 8 + 2.5 * methods.length
  const x = (frames: number): number => box.left + inset + ((Math.log2(frames) - shortest) / (longest - shortest)) * (width - box.left - box.right - 2 * inset)
  const y = (value: number): number => box.top + ((high - value) / (high - low)) * (height - box.top - box.bottom)
  const parts = [
    ...ticks.map((tick) => `<path class="grid" d="M${box.left} ${number(y(tick))}H${width - box.right}"/><text x="${box.left - 6}" y="${number(y(tick) + 4)}" text-anchor="end">${tick}</text>`),
    ...lengths.map((frames) => `<text x="${number(x(frames))}" y="${height - 14}" text-anchor="middle">${frames}</text>`),
    `<text x="${(box.left + width) / 2}" y="${height - 1}" text-anchor="middle">video frames</text>`
  ]
  for (const [at, method] of methods.entries()) {
    const points = shown.filter((group) => group.method === method).map(({ frames, values }) => ({ at: Number(number(x(frames) + apart(at))), frames, ...values[measure.name]! }))
    if (points.length === 0) continue
    const line = points.map((point, i) => `${i === 0 ? 'M' : 'L'}${point.at} ${number(y(point.mean))}`).join('')
    const bars = points.flatMap((point) => (point.interval === undefined ? [] : [`M${point.at} ${number(y(point.interval[0]))}V${number(y(point.interval[1]))}`])).join('')
    const dots = points.map((point) => `<g>${markOf(at)(point.at, Number(number(y(point.mean))))}<title>${escaped(method)}, ${point.frames} frames: ${point.mean.toFixed(measure.digits)}</title></g>`).join('')
    parts.push(`<g class="m${at % 8}"><path class="line" d="${line}"/><path class="bar" d="${bars}"/>${dots}</g>`)
  }
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(`${measure.title} over length; the tables have the numbers`)}">${parts.join('')}</svg>`
}
