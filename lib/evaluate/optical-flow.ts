// Built-in optical flow: coarse to fine, variational (after Brox, Bruhn, Papenberg and Weickert 2004), deterministic. It minimises, over all pixels p and in colours of 0 … 1,
//   ψ(Σ_c (I₁(p+w) − I₀(p))²) + 4 ψ(Σ_c |∇I₁(p+w) − ∇I₀(p)|²) + .02 ψ(|∇w|²),   ψ(s²) = √(s² + ε²).
// On each level the flow so far warps the second picture, and what is left is linearised: 5 warps, in each 2 updates of the weights ψ' with 30 Jacobi sweeps.

import { types } from 'node:util'
import { expected, rangeError } from '../errors.js'
import type { Picture } from '../video/index.js'
import { Slices } from './slices.js'

/** Where each pixel of a picture goes in the next one: [2, height, width], pixels to the right, then pixels down. */
export interface FlowField {
  data: Float32Array
  width: number
  height: number
}

/** An estimator of flow. Numbers measured by different ones cannot be compared with each other. */
export interface OpticalFlow {
  /** Stands in every result. */
  name: string
  /** The flow from one picture to the next, of the pictures' size or padded at its ends. */
  estimate(from: Picture, to: Picture, signal?: AbortSignal): FlowField | PromiseLike<FlowField>
}

const SHORTEST_SIDE = 12
const WARPS = 5
const WEIGHT_UPDATES = 2
const SWEEPS = 30
const GRADIENT_WEIGHT = 4
const SMOOTHNESS = 0.02
const EPSILON2 = 1e-6

type Plane = Float32Array
type NinePlanes = [Plane, Plane, Plane, Plane, Plane, Plane, Plane, Plane, Plane]
type TwelvePlanes = [...NinePlanes, Plane, Plane, Plane]

/** Three planes of one size. */
interface Planes {
  channels: Float32Array[]
  width: number
  height: number
}

/** The flow of a pair of pictures of one size. Memory and time grow with their pixels alone: about 400 bytes and 10 µs each. */
export async function estimateFlow(from: Picture, to: Picture, signal?: AbortSignal): Promise<FlowField> {
  const slices = new Slices(signal)
  const levels: [Planes, Planes][] = [[planesOf(from), planesOf(to)]]
  for (;;) {
    const [a, b] = levels.at(-1)!
    if (Math.min(a.width, a.height) < 2 * SHORTEST_SIDE) break
    levels.push([halved(a), halved(b)])
    await slices.turn()
  }
  let flow: FlowField | undefined
  for (const [a, b] of levels.reverse()) {
    const start: FlowField = flow === undefined ? { data: new Float32Array(2 * a.width * a.height), width: a.width, height: a.height } : resizeFlow(flow, a.width, a.height)
    flow = await refine(a, b, start, slices)
  }
  return gated(from, to, flow!, slices)
}

export const builtInFlow: OpticalFlow = { name: 'built-in', estimate: estimateFlow }

function planesOf({ data, width, height }: Picture): Planes {
  const channels = [0, 1, 2].map((c) => {
    const plane = new Float32Array(width * height)
    for (let at = 0; at < plane.length; at++) plane[at] = data[3 * at + c]! / 255
    return plane
  })
  return { channels, width, height }
}

/** Half the size, by the triangle filter 1 3 3 1. */
function halved({ channels, width, height }: Planes): Planes {
  const [w, h] = [width >> 1, height >> 1]
  const clampX = (x: number): number => Math.min(width - 1, Math.max(0, x))
  const clampY = (y: number): number => Math.min(height - 1, Math.max(0, y))
  const halves = channels.map((plane) => {
    const rows = new Float32Array(w * height)
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < w; x++) {
        const at = (k: number): number => plane[y * width + clampX(2 * x + k)]!
        rows[y * w + x] = (at(-1) + 3 * at(0) + 3 * at(1) + at(2)) / 8
      }
    }
    const half = new Float32Array(w * h)
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        const at = (k: number): number => rows[clampY(2 * y + k) * w + x]!
        half[y * w + x] = (at(-1) + 3 * at(0) + 3 * at(1) + at(2)) / 8
      }
    }
    return half
  })
  return { channels: halves, width: w, height: h }
}

/** The same motion on a picture of another size: bilinear between pixel centres, lengths in the new pixels. */
export function resizeFlow({ data, width, height }: FlowField, toWidth: number, toHeight: number): FlowField {
  const result = new Float32Array(2 * toWidth * toHeight)
  const [scaleX, scaleY] = [width / toWidth, height / toHeight]
  for (let plane = 0; plane < 2; plane++) {
    const from = plane * width * height
    const factor = plane === 0 ? 1 / scaleX : 1 / scaleY
    for (let y = 0, to = plane * toWidth * toHeight; y < toHeight; y++) {
      const sy = Math.min(height - 1, Math.max(0, (y + 0.5) * scaleY - 0.5))
      const top = Math.floor(sy)
      const fy = sy - top
      const [rowA, rowB] = [from + top * width, from + Math.min(height - 1, top + 1) * width]
      for (let x = 0; x < toWidth; x++, to++) {
        const sx = Math.min(width - 1, Math.max(0, (x + 0.5) * scaleX - 0.5))
        const left = Math.floor(sx)
        const right = Math.min(width - 1, left + 1)
        const fx = sx - left
        const above = data[rowA + left]! * (1 - fx) + data[rowA + right]! * fx
        const below = data[rowB + left]! * (1 - fx) + data[rowB + right]! * fx
        result[to] = factor * (above * (1 - fy) + below * fy)
      }
    }
  }
  return { data: result, width: toWidth, height: toHeight }
}

/** One level: from a first flow to a better one. */
async function refine(a: Planes, b: Planes, start: FlowField, slices: Slices): Promise<FlowField> {
  const { width, height } = a
  // Flow and the weights of edges lie in rows with one pixel of zeros around, so that sweeps have no border.
  const stride = width + 2
  const padded = stride * (height + 2)
  let u = new Float32Array(padded)
  let v = new Float32Array(padded)
  let nextU = new Float32Array(padded)
  let nextV = new Float32Array(padded)
  for (let y = 0; y < height; y++) {
    u.set(start.data.subarray(y * width, (y + 1) * width), (y + 1) * stride + 1)
    v.set(start.data.subarray((height + y) * width, (height + y + 1) * width), (y + 1) * stride + 1)
  }
  const system = new LinearSystem(width, height)
  const warped = a.channels.map(() => new Float32Array(width * height))
  const inside = new Uint8Array(width * height)
  for (let warp = 0; warp < WARPS; warp++) {
    await slices.rows(height, width, (from, until) => warpRows(b, u, v, warped, inside, from, until))
    await system.linearise(a.channels, warped, inside, u, v, slices)
    for (let update = 0; update < WEIGHT_UPDATES; update++) {
      await system.weigh(u, v, slices)
      for (let sweep = 0; sweep < SWEEPS; sweep++) {
        system.sweep(u, v, nextU, nextV)
        ;[u, nextU, v, nextV] = [nextU, u, nextV, v]
        await slices.turn()
      }
    }
    await slices.rows(height, width, (from, until) => {
      medianRows(u, nextU, width, height, from, until)
      medianRows(v, nextV, width, height, from, until)
    })
    ;[u, nextU, v, nextV] = [nextU, u, nextV, v]
  }
  const data = new Float32Array(2 * width * height)
  for (let y = 0; y < height; y++) {
    data.set(u.subarray((y + 1) * stride + 1, (y + 1) * stride + 1 + width), y * width)
    data.set(v.subarray((y + 1) * stride + 1, (y + 1) * stride + 1 + width), (height + y) * width)
  }
  return { data, width, height }
}

/** Catmull-Rom weights of the four samples around a place `f` behind the second. */
function cubic(f: number, into: Float64Array): void {
  into[0] = f * (-0.5 + f * (1 - 0.5 * f))
  into[1] = 1 + f * f * (-2.5 + 1.5 * f)
  into[2] = f * (0.5 + f * (2 - 1.5 * f))
  into[3] = f * f * (-0.5 + 0.5 * f)
}

const cubicX = new Float64Array(4)
const cubicY = new Float64Array(4)

/** Rows of the picture where the flow says that each pixel went; `inside` is 0 where that is outside. */
function warpRows({ channels, width, height }: Planes, u: Float32Array, v: Float32Array, warped: Float32Array[], inside: Uint8Array, from: number, until: number): void {
  const stride = width + 2
  for (let y = from; y < until; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * width + x
      const sx = x + u[(y + 1) * stride + x + 1]!
      const sy = y + v[(y + 1) * stride + x + 1]!
      const within = sx >= 0 && sy >= 0 && sx <= width - 1 && sy <= height - 1
      inside[at] = within ? 1 : 0
      if (!within) continue
      const left = Math.floor(sx)
      const top = Math.floor(sy)
      cubic(sx - left, cubicX)
      cubic(sy - top, cubicY)
      const x0 = cubicX[0]!
      const x1 = cubicX[1]!
      const x2 = cubicX[2]!
      const x3 = cubicX[3]!
      const a = Math.max(0, left - 1)
      const b = Math.min(width - 1, left + 1)
      const d = Math.min(width - 1, left + 2)
      for (let c = 0; c < 3; c++) {
        const plane = channels[c]!
        let sum = 0
        for (let j = 0; j < 4; j++) {
          const row = Math.min(height - 1, Math.max(0, top + j - 1)) * width
          sum += cubicY[j]! * (x0 * plane[row + a]! + x1 * plane[row + left]! + x2 * plane[row + b]! + x3 * plane[row + d]!)
        }
        warped[c]![at] = sum
      }
    }
  }
}

/** The equations of one warp: per pixel (A + Σ w) (u, v) = A (u₀, v₀) − b + Σ w (u, v) of the neighbours. */
class LinearSystem {
  readonly #width: number
  readonly #height: number
  /** Σ over channels of products of derivatives xx, xy, yy, xt, yt, tt: of brightness, then of its gradient. */
  readonly #tensor: Float32Array[]
  readonly #planes: Float32Array[]
  readonly #u0: Float32Array
  readonly #v0: Float32Array
  /** Weights of the edges to the right and down, the inverse of the pixel's 2 × 2 matrix, and the right side. */
  readonly #right: Float32Array
  readonly #down: Float32Array
  readonly #smooth: Float32Array
  readonly #m11: Float32Array
  readonly #m12: Float32Array
  readonly #m22: Float32Array
  readonly #r1: Float32Array
  readonly #r2: Float32Array

  constructor(width: number, height: number) {
    this.#width = width
    this.#height = height
    const plane = (): Float32Array => new Float32Array(width * height)
    const padded = (): Float32Array => new Float32Array((width + 2) * (height + 2))
    this.#tensor = Array.from({ length: 12 }, plane)
    this.#planes = Array.from({ length: 9 }, plane)
    ;[this.#u0, this.#v0, this.#right, this.#down, this.#smooth] = [padded(), padded(), padded(), padded(), padded()]
    ;[this.#m11, this.#m12, this.#m22, this.#r1, this.#r2] = [padded(), padded(), padded(), padded(), padded()]
  }

  /** Derivatives of the mean of both pictures, and of their difference in time. Pixels that leave the frame have no data. */
  async linearise(first: readonly Float32Array[], warped: readonly Float32Array[], inside: Uint8Array, u: Float32Array, v: Float32Array, slices: Slices): Promise<void> {
    const [width, height] = [this.#width, this.#height]
    this.#u0.set(u)
    this.#v0.set(v)
    for (const plane of this.#tensor) plane.fill(0)
    const [mean, t, x, y, xx, xy, yy, xt, yt] = this.#planes as NinePlanes
    const [bxx, bxy, byy, bxt, byt, btt, gxx, gxy, gyy, gxt, gyt, gtt] = this.#tensor as TwelvePlanes
    for (let c = 0; c < 3; c++) {
      const [a, b] = [first[c]!, warped[c]!]
      for (let at = 0; at < a.length; at++) {
        const later = inside[at] === 1 ? b[at]! : a[at]!
        mean[at] = 0.5 * (a[at]! + later)
        t[at] = later - a[at]!
      }
      const derive = async (from: Float32Array, alongX: Float32Array, alongY: Float32Array): Promise<void> => {
        await slices.rows(height, width, (begin, end) => {
          derivativeX(from, alongX, width, begin, end)
          derivativeY(from, alongY, width, height, begin, end)
        })
      }
      await derive(mean, x, y)
      await slices.rows(height, width, (begin, end) => {
        derivativeX(x, xx, width, begin, end)
        derivativeX(y, xy, width, begin, end)
        derivativeY(y, yy, width, height, begin, end)
      })
      await derive(t, xt, yt)
      await slices.rows(height, width, (begin, end) => {
        for (let at = begin * width; at < end * width; at++) {
          if (inside[at] === 0) continue
          const ix = x[at]!
          const iy = y[at]!
          const it = t[at]!
          bxx[at]! += ix * ix
          bxy[at]! += ix * iy
          byy[at]! += iy * iy
          bxt[at]! += ix * it
          byt[at]! += iy * it
          btt[at]! += it * it
          const ixx = xx[at]!
          const ixy = xy[at]!
          const iyy = yy[at]!
          const ixt = xt[at]!
          const iyt = yt[at]!
          gxx[at]! += ixx * ixx + ixy * ixy
          gxy[at]! += ixx * ixy + ixy * iyy
          gyy[at]! += ixy * ixy + iyy * iyy
          gxt[at]! += ixx * ixt + ixy * iyt
          gyt[at]! += ixy * ixt + iyy * iyt
          gtt[at]! += ixt * ixt + iyt * iyt
        }
      })
    }
  }

  /** The weights ψ' of the flow as it is, and with them the matrices. */
  async weigh(u: Float32Array, v: Float32Array, slices: Slices): Promise<void> {
    const [width, height, stride] = [this.#width, this.#height, this.#width + 2]
    const [smooth, right, down, startU, startV] = [this.#smooth, this.#right, this.#down, this.#u0, this.#v0]
    const [m11, m12, m22, r1, r2] = [this.#m11, this.#m12, this.#m22, this.#r1, this.#r2]
    await slices.rows(height, width, (from, until) => {
      for (let y = from; y < until; y++) {
        for (let x = 0; x < width; x++) {
          const p = (y + 1) * stride + x + 1
          const west = x > 0 ? p - 1 : p
          const east = x < width - 1 ? p + 1 : p
          const north = y > 0 ? p - stride : p
          const south = y < height - 1 ? p + stride : p
          const ux = 0.5 * (u[east]! - u[west]!)
          const uy = 0.5 * (u[south]! - u[north]!)
          const vx = 0.5 * (v[east]! - v[west]!)
          const vy = 0.5 * (v[south]! - v[north]!)
          smooth[p] = SMOOTHNESS / Math.sqrt(ux * ux + uy * uy + vx * vx + vy * vy + EPSILON2)
        }
      }
    })
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const p = (y + 1) * stride + x + 1
        if (x < width - 1) right[p] = 0.5 * (smooth[p]! + smooth[p + 1]!)
        if (y < height - 1) down[p] = 0.5 * (smooth[p]! + smooth[p + stride]!)
      }
    }
    const [bxx, bxy, byy, bxt, byt, btt, gxx, gxy, gyy, gxt, gyt, gtt] = this.#tensor as TwelvePlanes
    await slices.rows(height, width, (from, until) => {
      for (let y = from; y < until; y++) {
        for (let x = 0; x < width; x++) {
          const at = y * width + x
          const p = (y + 1) * stride + x + 1
          const u0 = startU[p]!
          const v0 = startV[p]!
          const du = u[p]! - u0
          const dv = v[p]! - v0
          const brightness = bxx[at]! * du * du + 2 * bxy[at]! * du * dv + byy[at]! * dv * dv + 2 * (bxt[at]! * du + byt[at]! * dv) + btt[at]!
          const gradient = gxx[at]! * du * du + 2 * gxy[at]! * du * dv + gyy[at]! * dv * dv + 2 * (gxt[at]! * du + gyt[at]! * dv) + gtt[at]!
          const wb = 1 / Math.sqrt(Math.max(0, brightness) + EPSILON2)
          const wg = GRADIENT_WEIGHT / Math.sqrt(Math.max(0, gradient) + EPSILON2)
          const a11 = wb * bxx[at]! + wg * gxx[at]!
          const a12 = wb * bxy[at]! + wg * gxy[at]!
          const a22 = wb * byy[at]! + wg * gyy[at]!
          r1[p] = a11 * u0 + a12 * v0 - (wb * bxt[at]! + wg * gxt[at]!)
          r2[p] = a12 * u0 + a22 * v0 - (wb * byt[at]! + wg * gyt[at]!)
          const edges = right[p]! + right[p - 1]! + down[p]! + down[p - stride]!
          const d11 = a11 + edges
          const d22 = a22 + edges
          const determinant = d11 * d22 - a12 * a12
          m11[p] = d22 / determinant
          m12[p] = -a12 / determinant
          m22[p] = d11 / determinant
        }
      }
    })
  }

  /** One Jacobi sweep. */
  sweep(u: Float32Array, v: Float32Array, nextU: Float32Array, nextV: Float32Array): void {
    const [width, height, stride] = [this.#width, this.#height, this.#width + 2]
    const [right, down, m11, m12, m22, r1, r2] = [this.#right, this.#down, this.#m11, this.#m12, this.#m22, this.#r1, this.#r2]
    for (let y = 1; y <= height; y++) {
      for (let p = y * stride + 1, end = p + width; p < end; p++) {
        const east = right[p]!
        const west = right[p - 1]!
        const south = down[p]!
        const north = down[p - stride]!
        const s1 = r1[p]! + east * u[p + 1]! + west * u[p - 1]! + south * u[p + stride]! + north * u[p - stride]!
        const s2 = r2[p]! + east * v[p + 1]! + west * v[p - 1]! + south * v[p + stride]! + north * v[p - stride]!
        nextU[p] = m11[p]! * s1 + m12[p]! * s2
        nextV[p] = m12[p]! * s1 + m22[p]! * s2
      }
    }
  }
}

/** (f(−2) − 8 f(−1) + 8 f(1) − f(2)) / 12; beyond the frame its border goes on. */
function derivativeX(from: Float32Array, to: Float32Array, width: number, begin: number, end: number): void {
  const last = width - 1
  for (let y = begin; y < end; y++) {
    const row = y * width
    for (let x = 0; x < width; x++) {
      const near = from[row + Math.min(last, x + 1)]! - from[row + Math.max(0, x - 1)]!
      const far = from[row + Math.min(last, x + 2)]! - from[row + Math.max(0, x - 2)]!
      to[row + x] = (8 * near - far) / 12
    }
  }
}

function derivativeY(from: Float32Array, to: Float32Array, width: number, height: number, begin: number, end: number): void {
  const last = height - 1
  for (let y = begin; y < end; y++) {
    const [a, b] = [Math.max(0, y - 2) * width, Math.max(0, y - 1) * width]
    const [c, d] = [Math.min(last, y + 1) * width, Math.min(last, y + 2) * width]
    for (let x = 0; x < width; x++) to[y * width + x] = (8 * (from[c + x]! - from[b + x]!) - from[d + x]! + from[a + x]!) / 12
  }
}

/** The median of 5 × 5 pixels; beyond the frame its border goes on. Both planes have one pixel around. */
function medianRows(from: Float32Array, to: Float32Array, width: number, height: number, begin: number, end: number): void {
  const stride = width + 2
  // Five pixels of each column in order, columns beyond the border too; then a window's rows of equal rank in order.
  const columns = new Float32Array(5 * (width + 4))
  const window = new Float32Array(25)
  const middle = new Float32Array(13)
  for (let y = begin; y < end; y++) {
    for (let x = -2; x < width + 2; x++) {
      const column = Math.min(width - 1, Math.max(0, x)) + 1
      for (let k = 0; k < 5; k++) columns[5 * (x + 2) + k] = from[(1 + Math.min(height - 1, Math.max(0, y + k - 2))) * stride + column]!
      sortFive(columns, 5 * (x + 2), 1)
    }
    for (let x = 0; x < width; x++) {
      for (let k = 0; k < 25; k++) window[k] = columns[5 * x + k]!
      for (let rank = 0; rank < 5; rank++) sortFive(window, rank, 5)
      // In both directions in order, 6 of the 25 are known to lie below the median and 6 above.
      for (let k = 0; k < 13; k++) {
        const value = window[candidates[k]!]!
        let place = k
        for (; place > 0 && middle[place - 1]! > value; place--) middle[place] = middle[place - 1]!
        middle[place] = value
      }
      to[(y + 1) * stride + x + 1] = middle[6]!
    }
  }
}

/** Places 5 · column + rank with (column + 1)(rank + 1) ≤ 13 and (5 − column)(5 − rank) ≤ 13. */
const candidates = Uint8Array.from([3, 4, 7, 8, 9, 11, 12, 13, 15, 16, 17, 20, 21])

/** Five values, `step` apart, in ascending order. */
function sortFive(values: Float32Array, first: number, step: number): void {
  for (let i = 1; i < 5; i++) {
    const value = values[first + i * step]!
    let place = i
    for (; place > 0 && values[first + (place - 1) * step]! > value; place--) values[first + place * step] = values[first + (place - 1) * step]!
    values[first + place * step] = value
  }
}

/** The flow where it explains the second picture much better than standing still does, else 0: flat and noisy places have no motion that can be seen. */
async function gated(from: Picture, to: Picture, flow: FlowField, slices: Slices): Promise<FlowField> {
  const { width, height, data } = flow
  const pixels = width * height
  const still = new Float32Array(pixels)
  const moved = new Float32Array(pixels)
  const inside = new Uint8Array(pixels)
  await slices.rows(height, width, (begin, end) => {
    for (let y = begin; y < end; y++) {
      for (let x = 0; x < width; x++) {
        const at = y * width + x
        const sx = x + data[at]!
        const sy = y + data[pixels + at]!
        // A pixel reaches half its width beyond its centre.
        inside[at] = sx >= -0.5 && sy >= -0.5 && sx <= width - 0.5 && sy <= height - 0.5 ? 1 : 0
        // What leaves the frame says nothing of the pixels beside it.
        if (inside[at] === 0) continue
        still[at] = squaredDifference(from, to, at, x, y)
        moved[at] = squaredDifference(from, to, at, Math.min(width - 1, Math.max(0, sx)), Math.min(height - 1, Math.max(0, sy)))
      }
    }
  })
  await blur(still, width, height, slices)
  await blur(moved, width, height, slices)
  const result = new Float32Array(2 * pixels)
  for (let at = 0; at < pixels; at++) {
    if (inside[at] === 0 || still[at]! - moved[at]! <= 1 || moved[at]! >= 0.5 * still[at]!) continue
    result[at] = data[at]!
    result[pixels + at] = data[pixels + at]!
  }
  return { data: result, width, height }
}

/** Of a pixel and the bilinear sample of the next picture, mean over the channels, in squared grey values. */
function squaredDifference(from: Picture, to: Picture, at: number, sx: number, sy: number): number {
  const { width, height, data } = to
  const left = Math.floor(sx)
  const top = Math.floor(sy)
  const fx = sx - left
  const fy = sy - top
  const right = Math.min(width - 1, left + 1)
  const bottom = Math.min(height - 1, top + 1)
  let sum = 0
  for (let c = 0; c < 3; c++) {
    const above = data[(top * width + left) * 3 + c]! * (1 - fx) + data[(top * width + right) * 3 + c]! * fx
    const below = data[(bottom * width + left) * 3 + c]! * (1 - fx) + data[(bottom * width + right) * 3 + c]! * fx
    const difference = above * (1 - fy) + below * fy - from.data[3 * at + c]!
    sum += difference * difference
  }
  return sum / 3
}

/** Weights of a Gaussian of σ 1.5 up to 6 pixels away. */
const gaussian = Float64Array.from({ length: 13 }, (_, k) => Math.exp(-((k - 6) ** 2) / (2 * 1.5 ** 2)))
const gaussianSum = gaussian.reduce((a, b) => a + b, 0)

async function blur(plane: Float32Array, width: number, height: number, slices: Slices): Promise<void> {
  const wide = new Float32Array(plane.length)
  await slices.rows(height, width, (begin, end) => {
    for (let y = begin; y < end; y++) {
      for (let x = 0; x < width; x++) {
        let sum = 0
        for (let k = -6; k <= 6; k++) sum += gaussian[k + 6]! * plane[y * width + Math.min(width - 1, Math.max(0, x + k))]!
        wide[y * width + x] = sum / gaussianSum
      }
    }
  })
  await slices.rows(height, width, (begin, end) => {
    for (let y = begin; y < end; y++) {
      for (let x = 0; x < width; x++) {
        let sum = 0
        for (let k = -6; k <= 6; k++) sum += gaussian[k + 6]! * wide[Math.min(height - 1, Math.max(0, y + k)) * width + x]!
        plane[y * width + x] = sum / gaussianSum
      }
    }
  })
}

/** A flow that a caller's estimator gave. @throws TypeError or RangeError that says what came */
export function checkFlow(flow: FlowField, least: { width: number; height: number }, exact: boolean): FlowField {
  const what = '{ data: Float32Array [2, height, width], width, height }'
  if (typeof flow !== 'object' || flow === null || !types.isFloat32Array(flow.data)) throw expected(what, 'the result of flow.estimate', flow, 'type')
  const { data, width, height } = flow
  const fits = Number.isInteger(width) && Number.isInteger(height) && data.length === 2 * width * height
  if (!fits || width < least.width || height < least.height || (exact && (width > least.width || height > least.height))) {
    throw rangeError(`Expected a flow of ${exact ? '' : 'at least '}${least.width} × ${least.height} pixels of flow.estimate but received ${data.length} numbers for ${width} × ${height}`)
  }
  return flow
}
