// index.html: the report for people. One file without network, beside the videos that it shows; tables and curves need no script.

import { curveOf, markOf } from './curves.js'
import { escaped, jsonInScript } from './html.js'
import { pageScript, pageStyle } from './page-parts.js'
import type { CompareReport } from './report.js'
import { isClear, type Estimate } from './statistics.js'
import { costs, measuresOf, type Measure, type ReportGroup } from './summary.js'

const sign = (value: number, digits: number): string => `${value > 0 ? '+' : value < 0 ? '−' : ''}${Math.abs(value).toFixed(digits)}`

function numberCell(estimate: Estimate | undefined, { digits }: Measure, isBest = false): string {
  if (estimate === undefined) return '<td>–</td>'
  const { mean, interval } = estimate
  const range = interval === undefined ? '' : ` <small>${interval.map((end) => end.toFixed(digits)).join(' … ')}</small>`
  const text = mean.toFixed(digits)
  return `<td>${isBest ? `<strong title="best of its length">${text}</strong>` : text}${range}</td>`
}

function differenceCell(estimate: Estimate | undefined, { digits, better }: Measure): string {
  if (estimate === undefined) return '<td>–</td>'
  const { mean, interval = [mean, mean] } = estimate
  const verdict = !isClear(estimate) || better === undefined ? '' : mean > 0 === (better === 'higher') ? 'better' : 'worse'
  return `<td>${sign(mean, digits)} <small>${interval.map((end) => sign(end, digits)).join(' … ')}</small>${verdict === '' ? '' : ` <em class="${verdict}">${verdict}</em>`}</td>`
}

/** The method whose mean is best, of at least two. */
function bestOf(measure: Measure, groups: readonly ReportGroup[]): string | undefined {
  if (measure.better === undefined) return undefined
  const ranked = groups.filter(({ values }) => values[measure.name] !== undefined).sort((a, b) => (a.values[measure.name]!.mean - b.values[measure.name]!.mean) * (measure.better === 'lower' ? 1 : -1))
  const [first, second] = ranked.map(({ values }) => values[measure.name]!.mean)
  return ranked.length < 2 || first === second ? undefined : ranked[0]!.method
}

const arrows = { higher: ' ↑', lower: ' ↓' }

function tableOf(caption: string, measures: readonly Measure[], groups: readonly ReportGroup[], methods: readonly string[], cell: (group: ReportGroup, measure: Measure) => string): string {
  const head = measures.map(({ title, means, better }) => `<th scope="col"><abbr title="${escaped(means)}">${escaped(title)}</abbr>${better === undefined ? '' : arrows[better]}</th>`).join('')
  const rows = groups.map((group) => {
    const failed = group.failed === 0 ? '' : ` <em class="worse">${group.failed} failed</em>`
    return `<tr><th scope="row">${key(group.method, methods)} ${escaped(group.method)}${failed}</th><td>${group.videos}</td>${measures.map((measure) => cell(group, measure)).join('')}</tr>`
  })
  return `<div class="scroll" tabindex="0" role="region" aria-label="${escaped(caption)}"><table><caption>${escaped(caption)}</caption><thead><tr><th scope="col">method</th><th scope="col">videos</th>${head}</tr></thead><tbody>${rows.join('')}</tbody></table></div>`
}

function key(method: string, methods: readonly string[]): string {
  const at = methods.indexOf(method)
  return `<svg class="key m${at % 8}" viewBox="-7 -7 14 14" aria-hidden="true">${markOf(at)(0, 0)}</svg>`
}

/** What the numbers are, and are not. */
/** Names of one reason together. */
function sentences(what: string, reasons: Readonly<Record<string, string | undefined>>): string[] {
  const list = new Intl.ListFormat('en')
  return [...new Set(Object.values(reasons))].map((reason) => `${what} ${list.format(Object.keys(reasons).filter((name) => reasons[name] === reason))} (${reason}).`)
}

function notesOf({ tools, runtimes, methods, groups, metrics, notMeasured, notRun }: CompareReport): string[] {
  const versions = [...new Set(runtimes.map(({ version }) => version))]
  const machines = [...new Set(runtimes.map(({ device, isa, threads }) => `${device}, ${isa}, ${threads} threads`))]
  return [
    'Every method starts from the same weights, text, scheduler, steps, guidance and seed, and from the same noise, which some of them arrange in their own way. Intervals are of 95 %: Student’s for means, Wilson’s for shares, and for differences Student’s over pairs of one prompt and one seed. Videos of one prompt are alike, so intervals of few prompts are too narrow for others.',
    ...(tools.flow === undefined ? [] : [`MAWE and dynamic degree rest on the optical flow “${tools.flow}”. Published numbers rest on RAFT: compare them within this page only. MAWE also falls when a video stands still, so read W and M beside it.`]),
    ...(tools.interpolator === undefined ? [] : [`Smoothness rests on frames made by “${tools.interpolator}”, published numbers on AMT-S: within this page only.`]),
    ...(tools.encoder === undefined ? [] : [`Consistency and identity are of VBench’s form, with features of the compared model’s own ${tools.encoder}. They are not VBench’s, whose features are DINO’s and CLIP’s, and an encoder that one of the methods samples with may favour it.`]),
    ...(metrics.includes('sceneCuts') ? ['Scene cuts are PySceneDetect’s AdaptiveDetector with its defaults, as published. A cut or a closing curtain that the prompt asks for counts like any other.'] : []),
    ...(notMeasured.mawe === undefined ? [] : ['The model has no VAE, so latents are compared, which nobody sees: how much they change where chunks meet, and how far they are from those of full attention. That is no measure of quality: full attention may be worse, and methods that arrange the noise in their own way are far from it for that alone. The latents lie in cells/; vin-native decode makes videos of them with a model that has their VAE.']),
    ...sentences('Not measured:', notMeasured),
    ...sentences('Not run:', notRun),
    'Published comparisons were made with other weights, prompts and lengths: only the order of the methods can be held against theirs.',
    'FLOPs and memory are planned, not measured: two for each multiply-add of matrix products and attention, both branches of guidance; memory is the dry run’s of one evaluation. What VIN saves depends on length, layout and overlap: no share of it holds in general.',
    ...(machines.length > 1 ? [`The rows were made on ${machines.length} kinds of machine (${machines.join('; ')}): their seconds do not compare.`] : []),
    ...(versions.length > 1 ? [`The rows were made by ${versions.length} versions (${versions.join(', ')}).`] : []),
    ...(groups.some(({ failed }) => failed > 0) ? ['A video that failed did not fit into memory, or its numbers stopped being finite: report.json says which. It counts in no mean.'] : []),
    ...(methods.length < 2 ? ['There is one method: nothing to hold it against.'] : [])
  ]
}

const plain = (value: unknown): string => (typeof value === 'object' ? JSON.stringify(value) : String(value))

function settingsOf({ options, weights, runtimes, prompts, seeds }: CompareReport): string {
  const rows = [
    ...Object.entries(options).map(([name, value]) => [name, plain(value)]),
    ['prompts', String(prompts.length)],
    ['seeds', seeds.length > 8 ? `${seeds.length}, from ${seeds[0]} to ${seeds.at(-1)}` : seeds.join(', ')],
    ...runtimes.map(({ version, device, backend, isa, threads }) => ['made by', `vin-native ${version} on ${device} (${backend}, ${isa}, ${threads} threads)`]),
    ...Object.entries(weights).map(([file, digest]) => [`SHA-256 of ${file}`, digest])
  ]
  return `<dl>${rows.map(([name, value]) => `<dt>${escaped(name!)}</dt><dd>${escaped(value!)}</dd>`).join('')}</dl>`
}

function videosOf({ rows, prompts, seeds, frames, methods, options }: CompareReport): string {
  if (!rows.some(({ video }) => video !== undefined)) return ''
  const choice = (id: string, label: string, values: readonly (string | number)[]): string =>
    `<label for="${id}">${label} <select id="${id}">${values.map((value, at) => `<option value="${at}">${escaped(String(value))}</option>`).join('')}</select></label>`
  const data = { methods, fps: options.fps ?? 16, videos: rows.filter(({ video }) => video !== undefined).map((row) => [methods.indexOf(row.method), frames.indexOf(row.frames), prompts.indexOf(row.prompt), seeds.indexOf(row.seed), row.video]) }
  return `<section aria-labelledby="videos"><h2 id="videos">Side by side</h2>
<p>Space plays and stops, ← and → go a frame, Home goes to the beginning.</p>
<div class="choices">${choice('prompt', 'prompt', prompts)}${choice('seed', 'seed', seeds)}${choice('frames', 'frames', frames)}</div>
<div class="choices"><button id="play" type="button">Play</button><label for="time">time <input id="time" type="range" min="0" max="1000" value="0"></label><output id="clock" for="time">0.00 s</output></div>
<div id="grid" aria-live="polite"></div>
<noscript>The videos lie in cells/; a script plays them in step.</noscript>
<script type="application/json" id="data">${jsonInScript(data)}</script></section>`
}

/** Of each prompt one picture, of its longest video. */
function attentionOf({ rows, prompts, methods }: CompareReport): string {
  const shown = prompts.flatMap((prompt) => {
    const own = rows.filter((row) => row.prompt === prompt && row.attention !== undefined).sort((a, b) => b.frames - a.frames || methods.indexOf(a.method) - methods.indexOf(b.method))
    return own.slice(0, 1)
  })
  if (shown.length === 0) return ''
  const figures = shown.map(({ method, prompt, frames: length, attention, video }) => {
    const { picture, keyframes, heads } = attention!
    const rowsSaid = `${video === undefined ? '' : 'above the video, below '}${heads} ${heads === 1 ? 'head' : 'heads'}`
    const columns = `latent frames ${keyframes.join(', ')}`
    return `<figure><img src="${escaped(picture)}" loading="lazy" alt="${escaped(`Attention of ${heads} heads over ${columns}`)}"><figcaption>${escaped(prompt)} (${escaped(method)}, ${length} frames): ${rowsSaid}; ${columns}</figcaption></figure>`
  })
  return `<section aria-labelledby="attention"><h2 id="attention">Where the VIN looks</h2>
<p>Attention of each head of the VIN’s encoder over keyframes of the finished video, nearly without noise, mean over the global tokens. A row is a head, brighter is more, each by its own brightest patch: shares compare within a row.</p>
<div class="pictures">${figures.join('')}</div></section>`
}

export function pageOf(report: CompareReport): string {
  const { groups, methods, frames, reference, rows, prompts, options } = report
  const measures = measuresOf(groups)
  const at = (length: number): ReportGroup[] => groups.filter((group) => group.frames === length)
  const best = new Map(frames.map((length) => [length, new Map([...measures, ...costs].map((measure) => [measure.name, bestOf(measure, at(length))]))]))
  const valueCell = (group: ReportGroup, measure: Measure): string => numberCell(group.values[measure.name], measure, best.get(group.frames)?.get(measure.name) === group.method)
  const tables = frames.map((length) => tableOf(`${length} frames`, measures, at(length), methods, valueCell))
  const compared = measures.filter(({ name }) => groups.some(({ differences }) => differences[name] !== undefined))
  const against = frames.map((length) => tableOf(`${length} frames, difference to ${reference}`, compared, at(length).filter(({ method }) => method !== reference), methods, (group, measure) => differenceCell(group.differences[measure.name], measure)))
  const cost = frames.map((length) => tableOf(`${length} frames, cost`, costs, at(length), methods, valueCell))
  const curves = [...measures, ...costs].flatMap((measure) => {
    const curve = curveOf(measure, groups, methods, frames)
    return curve === undefined ? [] : [`<figure>${curve}<figcaption>${escaped(measure.title)}${measure.better === undefined ? '' : arrows[measure.better]}: ${escaped(measure.means)}</figcaption></figure>`]
  })
  const legend = methods.map((method) => `<li>${key(method, methods)} ${escaped(method)}</li>`).join('')
  const count = (n: number, word: string): string => `${n} ${word}${n === 1 ? '' : 's'}`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>Comparison of ${count(methods.length, 'method')}</title>
<style>${pageStyle}</style>
</head>
<body>
<header><h1>Comparison of ${count(methods.length, 'method')}</h1>
<p>${count(rows.length, 'video')} of ${count(prompts.length, 'prompt')}, ${frames.join(', ')} frames of ${options.width} × ${options.height} at ${options.fps} a second. The same numbers are in <a href="report.json">report.json</a> and <a href="report.csv">report.csv</a>.</p>
<ul class="legend">${legend}</ul></header>
<main>
<section aria-labelledby="notes"><h2 id="notes">What compares with what</h2><ul>${notesOf(report).map((note) => `<li>${escaped(note)}</li>`).join('')}</ul></section>
<section aria-labelledby="numbers"><h2 id="numbers">Numbers</h2><p>Means, and beside them 95 % intervals; arrows say what is better, bold is the best of a length.</p>${tables.join('')}</section>
${compared.length === 0 ? '' : `<section aria-labelledby="differences"><h2 id="differences">Differences to ${escaped(reference)}</h2><p>Over the same prompts and seeds; where the interval leaves out 0, it says better or worse.</p>${against.join('')}</section>`}
${curves.length === 0 ? '' : `<section aria-labelledby="curves"><h2 id="curves">Over length</h2><div class="curves">${curves.join('')}</div></section>`}
<section aria-labelledby="cost"><h2 id="cost">Cost</h2>${cost.join('')}</section>
${videosOf(report)}
${attentionOf(report)}
<section aria-labelledby="settings"><h2 id="settings">How it was made</h2>${settingsOf(report)}</section>
</main>
<script>${pageScript}</script>
</body>
</html>
`
}
