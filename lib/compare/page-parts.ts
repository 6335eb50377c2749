// Style and script of index.html, as they stand in it.

export const pageStyle = `
:root { --ink: #1c1c1e; --soft: #5b5b62; --paper: #fff; --line: #d6d6dc; --good: #10683a; --bad: #a11d2b; --mark: #0b57d0;
  --c0: #0b57d0; --c1: #c2410c; --c2: #15803d; --c3: #7e22ce; --c4: #a16207; --c5: #0e7490; --c6: #be185d; --c7: #52525b }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececf0; --soft: #a8a8b3; --paper: #17171a; --line: #3a3a42; --good: #6ee7a0; --bad: #ff9aa5; --mark: #8ab4f8;
    --c0: #8ab4f8; --c1: #fdba74; --c2: #86efac; --c3: #d8b4fe; --c4: #fde047; --c5: #67e8f9; --c6: #f9a8d4; --c7: #d4d4d8 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem }
a { color: var(--mark) } small, figcaption, dt { color: var(--soft) } small { font-size: .8em; white-space: nowrap }
:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px }
.scroll { overflow-x: auto; margin: 0 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } caption { text-align: left; font-weight: 600; padding: .25rem 0 }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: right; white-space: nowrap } th[scope=row], th:first-child { text-align: left }
abbr { text-decoration: underline dotted } em { font-style: normal; font-weight: 600 } em.better { color: var(--good) } em.worse { color: var(--bad) }
.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1rem } .key { width: 14px; height: 14px; vertical-align: -2px }
.curves { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)) } figure { margin: 0; min-width: 0 }
.curves svg { width: 100%; height: auto } .curves text { font-size: 11px; fill: var(--soft) } .grid { stroke: var(--line) } .line { fill: none; stroke-width: 1.5 } .bar { stroke-width: 2; opacity: .6 }
${Array.from({ length: 8 }, (_, i) => `.m${i} { fill: var(--c${i}); stroke: var(--c${i}) }`).join(' ')}
.choices { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; margin: 0 0 .75rem } .choices label { display: flex; gap: .4rem; align-items: center; max-width: 100% }
select, button, input { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--soft); border-radius: 6px; padding: .3rem .6rem; min-width: 0; max-width: 100% } input { padding: 0 }
#grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 14rem), 1fr)) } video { width: 100%; display: block; background: #000 }
.pictures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)) } .pictures img { max-width: 100%; height: auto; display: block }
dl { display: grid; grid-template-columns: minmax(0, 14rem) minmax(0, 1fr); gap: .25rem 1rem } dd { margin: 0 }
@media (max-width: 30rem) { dl { grid-template-columns: minmax(0, 1fr) } dd { margin-bottom: .5rem } }
`

/** Videos of one prompt, seed and length, all at the time of the first one. */
export const pageScript = `
(() => {
  const holder = document.getElementById('data')
  if (holder === null) return
  const data = JSON.parse(holder.textContent)
  const byId = (id) => document.getElementById(id)
  const [grid, play, time, clock] = ['grid', 'play', 'time', 'clock'].map(byId)
  const choices = ['prompt', 'seed', 'frames'].map(byId)
  const { fps } = data
  let videos = []
  const lead = () => videos.find((video) => video.readyState > 0)
  const show = () => {
    const now = lead()
    if (now === undefined || !(now.duration > 0)) return
    time.value = String(Math.round(1000 * now.currentTime / now.duration))
    clock.value = now.currentTime.toFixed(2) + ' s'
  }
  const stop = () => { for (const video of videos) video.pause(); play.textContent = 'Play' }
  const seek = (seconds) => { for (const video of videos) if (video.readyState > 0) video.currentTime = Math.min(Math.max(0, seconds), video.duration) }
  const toggle = () => {
    if (play.textContent !== 'Play') return stop()
    if (lead()?.ended) seek(0)
    for (const video of videos) void video.play().catch(() => {})
    play.textContent = 'Stop'
  }
  const step = (frames) => { const now = lead(); stop(); if (now !== undefined) seek((Math.round(now.currentTime * fps - 0.5) + frames + 0.5) / fps) }
  const load = () => {
    stop()
    const [prompt, seed, frames] = choices.map((choice) => Number(choice.value))
    const found = data.videos.filter((row) => row[1] === frames && row[2] === prompt && row[3] === seed)
    grid.replaceChildren(...data.methods.flatMap((method, at) => {
      const row = found.find((each) => each[0] === at)
      if (row === undefined) return []
      const figure = document.createElement('figure')
      const caption = document.createElement('figcaption')
      caption.textContent = method
      const video = document.createElement('video')
      Object.assign(video, { muted: true, playsInline: true, preload: 'auto', src: row[4] })
      video.setAttribute('aria-label', method)
      video.addEventListener('error', () => { caption.textContent = method + ': ' + row[4] + ' cannot be shown' })
      figure.append(video, caption)
      return [figure]
    }))
    if (found.length === 0) grid.textContent = 'no video of this choice is finished'
    videos = [...grid.querySelectorAll('video')]
    for (const video of videos) { video.addEventListener('timeupdate', () => { if (video === lead()) show() }); video.addEventListener('loadedmetadata', show) }
    videos[0]?.addEventListener('ended', stop)
  }
  // A video that is more than half a frame off is set to the time of the first.
  const together = () => {
    const now = lead()
    if (now !== undefined && !now.paused) for (const video of videos) if (video !== now && Math.abs(video.currentTime - now.currentTime) > 0.5 / fps && !video.seeking) video.currentTime = now.currentTime
  }
  setInterval(together, 250)
  for (const choice of choices) choice.addEventListener('change', load)
  play.addEventListener('click', toggle)
  time.addEventListener('input', () => { const now = lead(); stop(); if (now !== undefined) seek(time.value / 1000 * now.duration) })
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('select, button, input, a, .scroll') !== null) return
    const act = { ' ': toggle, ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => seek(0) }[event.key]
    if (act === undefined) return
    event.preventDefault()
    act()
  })
  load()
})()
`
