// The page of a blind study: style, script and page in one file without network, beside the videos that it shows.

import { escaped, jsonInScript } from './html.js'
import { pageStyle } from './page-parts.js'
import { ANSWERS_KIND } from './votes.js'

/** Stands in the page: the folder is a study. */
export const studyMark = 'content="vin-native study"'

/** What the page shows. Of `videos` the first is the reference's. */
export interface StudyData {
  study: string
  reference: string
  question: string
  perPerson: number
  pairs: { method: string; frames: number; prompt: string; seed: number; videos: [reference: string, other: string] }[]
}

const style = `
#pair { display: grid; gap: .5rem; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr) } #pair figcaption { text-align: center } #pair video { max-height: 70vh; object-fit: contain }
#votes { display: grid; gap: .5rem; grid-template-columns: repeat(3, minmax(0, 1fr)); margin: .75rem 0 } #votes button, .go { padding: .6rem }
#prompt { font-size: 1.1rem; font-weight: 600 } #person { padding: .3rem .6rem } textarea { width: 100%; font: 12px/1.4 monospace; color: inherit; background: var(--paper); border: 1px solid var(--soft); border-radius: 6px }
[hidden] { display: none !important }
@media (max-width: 30rem) { #end th, #end td { padding: .3rem .2rem; white-space: normal; overflow-wrap: normal; font-size: .85rem } }
`

const script = `
(() => {
  const byId = (id) => document.getElementById(id)
  const data = JSON.parse(byId('data').textContent)
  const kept = 'vin-study ' + data.study
  const remember = (state) => { try { if (state === undefined) localStorage.removeItem(kept); else localStorage.setItem(kept, JSON.stringify(state)) } catch {} }
  const recall = () => { try { return JSON.parse(localStorage.getItem(kept) ?? 'null') } catch { return null } }
  // Order and sides follow from one number.
  const random = (seed) => () => {
    seed = (seed + 0x6d2b79f5) | 0
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const shuffled = (list, draw) => {
    const copy = [...list]
    for (let j = copy.length - 1; j > 0; j--) { const m = Math.floor(draw() * (j + 1)); [copy[j], copy[m]] = [copy[m], copy[j]] }
    return copy
  }
  const planOf = (session) => {
    const draw = random(session)
    const byMethod = new Map()
    for (const at of shuffled(data.pairs.map((_, i) => i), draw)) byMethod.set(data.pairs[at].method, [...(byMethod.get(data.pairs[at].method) ?? []), at])
    const queues = shuffled([...byMethod.values()], draw)
    const chosen = []
    for (let round = 0; chosen.length < data.perPerson; round++) for (const queue of queues) if (round < queue.length && chosen.length < data.perPerson) chosen.push(queue[round])
    return shuffled(chosen, draw).map((pair) => ({ pair, first: draw() < 0.5 ? 0 : 1 }))
  }
  // Wilson's interval; as lib/compare/statistics.ts.
  const share = (hits, count) => {
    const [z2, p] = [1.959964 ** 2, hits / count]
    const [middle, half] = [p + z2 / (2 * count), 1.959964 * Math.sqrt(p * (1 - p) / count + z2 / (4 * count * count))]
    return { mean: p, interval: [(middle - half) / (1 + z2 / count), (middle + half) / (1 + z2 / count)], count }
  }
  const tally = (method, votes, frames) => {
    const ties = votes.filter((vote) => vote.choice === 'tie').length
    const losses = votes.filter((vote) => vote.choice !== 'tie' && (vote.choice === 'left') === (vote.left === method)).length
    const wins = votes.length - ties - losses
    return { method, ...(frames === undefined ? {} : { frames }), votes: votes.length, wins, ties, losses, winRate: share(wins, votes.length), tieRate: share(ties, votes.length), lossRate: share(losses, votes.length) }
  }
  const resultsOf = (votes) => [...new Set(votes.map((vote) => vote.method))].sort().flatMap((method) => {
    const own = votes.filter((vote) => vote.method === method)
    const lengths = [...new Set(own.map((vote) => vote.frames))].sort((a, b) => a - b)
    return [tally(method, own), ...lengths.map((frames) => tally(method, own.filter((vote) => vote.frames === frames), frames))]
  })
  const sections = ['begin', 'look', 'end'].map(byId)
  const show = (id) => { for (const section of sections) section.hidden = section.id !== id }
  const pair = byId('pair')
  const buttons = ['left', 'tie', 'right'].map(byId)
  let state = null, plan = [], videos = [], ready = false, playing = false, seen = 0, shown = 0
  const say = (text) => { byId('status').textContent = text }
  const play = () => {
    playing = true
    byId('play').textContent = 'Stop'
    for (const video of videos) void video.play().catch(() => {})
  }
  const stop = () => {
    playing = false
    byId('play').textContent = 'Play'
    for (const video of videos) video.pause()
  }
  const rewind = () => { for (const video of videos) video.currentTime = 0 }
  const toggle = () => { if (playing) stop(); else play() }
  const next = () => {
    stop()
    const turn = ++shown
    ready = false
    for (const button of buttons) button.disabled = true
    byId('back').disabled = state.votes.length === 0
    if (state.at >= plan.length) return finish()
    const { pair: index, first } = plan[state.at]
    const { prompt, videos: files } = data.pairs[index]
    byId('prompt').textContent = prompt
    say('Pair ' + (state.at + 1) + ' of ' + plan.length + ': loading')
    videos = ['left', 'right'].map((side, i) => {
      const video = document.createElement('video')
      Object.assign(video, { muted: true, playsInline: true, preload: 'auto', src: files[i === 0 ? first : 1 - first] })
      video.setAttribute('aria-label', side + ' video')
      return video
    })
    pair.replaceChildren(...videos.map((video, i) => {
      const figure = document.createElement('figure')
      const caption = document.createElement('figcaption')
      caption.textContent = i === 0 ? 'left' : 'right'
      figure.append(video, caption)
      return figure
    }))
    const loaded = (video) => new Promise((resolve, reject) => { video.addEventListener('loadeddata', resolve, { once: true }); video.addEventListener('error', reject, { once: true }) })
    // Both from their beginning again and again.
    videos[0].addEventListener('ended', () => { if (playing) { rewind(); play() } })
    Promise.all(videos.map(loaded)).then(() => {
      if (turn !== shown) return
      ready = true
      seen = performance.now()
      for (const button of buttons) button.disabled = false
      say('Pair ' + (state.at + 1) + ' of ' + plan.length)
      play()
    }, () => {
      if (turn !== shown) return
      // What cannot be shown is left out, and told.
      if (!state.unseen.includes(index)) state.unseen.push(index)
      state.at += 1
      remember(state)
      next()
    })
  }
  const vote = (choice) => {
    if (!ready) return
    const { pair: index, first } = plan[state.at]
    const { method, frames, prompt, seed } = data.pairs[index]
    state.votes.push({ method, frames, prompt, seed, left: first === 0 ? data.reference : method, choice, seconds: Math.round((performance.now() - seen) / 100) / 10 })
    state.at += 1
    remember(state)
    next()
  }
  const back = () => {
    const last = state.votes.pop()
    if (last === undefined) return
    do state.at -= 1
    while (state.unseen.includes(plan[state.at].pair))
    remember(state)
    next()
  }
  const answers = () => ({ kind: '${ANSWERS_KIND}', version: 1, study: data.study, reference: data.reference, question: data.question, person: state.person, session: state.session, votes: state.votes, unseen: state.unseen.length, results: resultsOf(state.votes) })
  const finish = () => {
    stop()
    show('end')
    const own = answers()
    const text = JSON.stringify(own, null, 1)
    byId('text').value = text
    const link = byId('save')
    link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }))
    link.download = 'answers-' + (state.person.replace(/[^\\p{L}\\p{N}]+/gu, '-') || 'someone') + '-' + state.session.toString(16) + '.json'
    byId('again').hidden = state.at >= plan.length
    const percent = (value) => (100 * value).toFixed(0) + ' %'
    byId('counts').replaceChildren(...own.results.filter((row) => row.frames === undefined).map((row) => {
      const line = document.createElement('tr')
      const { mean, interval } = row.lossRate
      for (const [i, cell] of [row.method, row.votes, row.wins, row.ties, row.losses, percent(mean) + ' (' + interval.map(percent).join(' to ') + ')'].entries()) {
        const field = document.createElement(i === 0 ? 'th' : 'td')
        if (i === 0) field.scope = 'row'
        field.textContent = String(cell)
        line.append(field)
      }
      return line
    }))
    byId('told').textContent = 'Thank you: ' + state.votes.length + ' of ' + plan.length + ' pairs' + (state.unseen.length === 0 ? '.' : ', ' + state.unseen.length + ' could not be shown.')
    byId('reference').textContent = data.reference
    link.focus()
  }
  const go = () => { plan = planOf(state.session); show('look'); next() }
  const begin = (event) => {
    event.preventDefault()
    const asked = /^#seed=(\\d{1,10})$/.exec(location.hash)
    state = { session: asked === null ? crypto.getRandomValues(new Uint32Array(1))[0] : Number(asked[1]) >>> 0, person: byId('person').value.trim(), at: 0, votes: [], unseen: [] }
    remember(state)
    go()
  }
  byId('start').addEventListener('submit', begin)
  byId('goon').addEventListener('click', () => { state = recall(); go() })
  byId('left').addEventListener('click', () => vote('left'))
  byId('tie').addEventListener('click', () => vote('tie'))
  byId('right').addEventListener('click', () => vote('right'))
  byId('play').addEventListener('click', toggle)
  byId('back').addEventListener('click', back)
  byId('leave').addEventListener('click', finish)
  byId('again').addEventListener('click', go)
  byId('anew').addEventListener('click', () => { remember(undefined); state = null; byId('goon').hidden = true; byId('person').value = ''; show('begin'); byId('person').focus() })
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || byId('look').hidden) return
    if (event.key === ' ' && event.target.closest('button') !== null) return
    const act = { ArrowLeft: () => vote('left'), ArrowRight: () => vote('right'), ArrowDown: () => vote('tie'), ' ': toggle, Home: rewind, Backspace: back }[event.key]
    if (act === undefined) return
    event.preventDefault()
    act()
  })
  const before = recall()
  byId('goon').hidden = !(before !== null && Array.isArray(before.votes))
  show('begin')
})()
`

export function studyPage(data: StudyData): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" ${studyMark}>
<link rel="icon" href="data:,">
<title>Which video is better?</title>
<style>${pageStyle}${style}</style>
</head>
<body>
<noscript>This page needs its script, which lies in it.</noscript>
<main>
<section id="begin" aria-labelledby="what" hidden><h1 id="what">${escaped(data.question)}</h1>
<p>You will see ${data.perPerson} pairs of videos, each pair of one text. Look at both, then say which one it is, or that they are as good. The left and the right side mean nothing.</p>
<form id="start"><p><label for="person">your name or number, if you like: <input id="person" autocomplete="off" maxlength="100"></label></p>
<p><button class="go" type="submit">Begin</button> <button class="go" id="goon" type="button" hidden>Go on where it was left</button></p></form>
<p>Keys: ← left, → right, ↓ as good, Space plays and stops, Home plays from the beginning, Backspace goes back one pair.</p></section>
<section id="look" aria-labelledby="question" hidden><h1 id="question">${escaped(data.question)}</h1>
<p id="prompt"></p><div id="pair"></div>
<div id="votes"><button id="left" type="button">← left</button><button id="tie" type="button">↓ as good</button><button id="right" type="button">right →</button></div>
<p class="choices"><button id="play" type="button">Play</button><button id="back" type="button">Back</button><button id="leave" type="button">End here</button> <span id="status" role="status"></span></p></section>
<section id="end" aria-labelledby="thanks" hidden><h1 id="thanks">Your answers</h1><p id="told"></p>
<p class="choices"><a id="save" href="#">Save them as a file</a> <button id="again" type="button">Go on</button> <button id="anew" type="button">Another person</button></p>
<div class="scroll" tabindex="0" role="region" aria-label="Counts"><table><caption>Votes of <span id="reference"></span> against</caption><thead><tr><th scope="col">method</th><th scope="col">votes</th><th scope="col">wins</th><th scope="col">ties</th><th scope="col">losses</th><th scope="col">lost, 95 %</th></tr></thead><tbody id="counts"></tbody></table></div>
<label for="text">The file:</label><textarea id="text" rows="12" readonly></textarea></section>
</main>
<script type="application/json" id="data">${jsonInScript(data)}</script>
<script>${script}</script>
</body>
</html>
`
}
