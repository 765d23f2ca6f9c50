"""How the report looks: one column, one accent, figures that line up; dark and print included."""

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1d1d1b; --soft: #66645d; --line: #e2dfd7; --paper: #fdfcf9; --wash: #f4f2ec;
  --accent: #0b6b5d; --tint: #a5d0c6; --before: #cbc7bc;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #ebe8e0; --soft: #a3a097; --line: #34332f; --paper: #161614; --wash: #1f1f1c;
    --accent: #6fd3c0; --tint: #2f6459; --before: #55534c;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 400 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, Inter, "Helvetica Neue", Arial,
    sans-serif;
  font-variant-numeric: tabular-nums;
}
body > header, body > nav, main, body > footer {
  max-width: 62rem; margin: 0 auto; padding: 0 1.5rem;
}
body > header { padding-top: 5rem; }
main:focus { outline: none; }
a { color: var(--accent); }
.skip { position: absolute; left: 1rem; top: -4rem; padding: .5rem 1rem; background: var(--paper); }
.skip:focus { top: 1rem; }
nav ul { list-style: none; padding: 0; max-width: none; margin: 2rem 0 0; }
nav li { display: inline-block; margin: 0 1.25rem .25rem 0; font-size: .9rem; }
p, ul { max-width: 40rem; margin: 0 0 1rem; }
.kicker { color: var(--soft); margin-bottom: .25rem; overflow-wrap: anywhere; }
h1 {
  font-size: clamp(2.25rem, 8vw, 4.25rem); font-weight: 300; line-height: 1.1;
  letter-spacing: -.03em; margin: 0 0 1.5rem;
}
h1 .from, h1 .arrow { color: var(--soft); }
h1 .arrow { font-weight: 200; padding: 0 .12em; }
h1 .to { font-weight: 600; color: var(--accent); }
h1 span { white-space: nowrap; }
.lede { font-size: 1.2rem; line-height: 1.55; }
.verdict { padding-left: 1rem; border-left: 3px solid var(--accent); }
.verdict.unmet { border-left: 6px double var(--ink); }
h3 { font-size: 1rem; font-weight: 600; margin: 2.5rem 0 .25rem; }
h2 { font-size: 1.3rem; font-weight: 600; letter-spacing: -.01em; margin: 0 0 .5rem; }
section { margin-top: 4.5rem; }
section > p { color: var(--soft); margin-bottom: 1.5rem; }

table { border-collapse: collapse; width: 100%; font-size: .9rem; line-height: 1.4; }
caption {
  caption-side: top; text-align: left; color: var(--soft); padding-bottom: .75rem;
  max-width: 40rem;
}
th, td { padding: .5rem .6rem; text-align: left; vertical-align: baseline; }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th, thead td { border-bottom: 1px solid var(--ink); vertical-align: bottom; }
thead th { color: var(--soft); font-weight: 400; }
tbody th { font-weight: 500; overflow-wrap: anywhere; min-width: 10rem; }
tbody tr { border-bottom: 1px solid var(--line); }
.n { text-align: right; }
td.n { white-space: nowrap; }
tr.chosen > * { color: var(--accent); font-weight: 600; }
.large { font-size: 1rem; }
.together { white-space: nowrap; }
.source { display: inline-block; min-width: 12rem; }
.wide { font-size: .8rem; }
.wide th, .wide td { padding-left: .4rem; padding-right: .4rem; }
.wide tbody th { min-width: 7.5rem; }
.wide th:first-child, .wide td:first-child { padding-left: 0; }
.wide th:last-child, .wide td:last-child { padding-right: 0; }
.scroll { overflow-x: auto; }
ul + .scroll { margin-top: 2rem; }

figure { margin: 0 0 1.5rem; }
.scroll + figure { margin-top: 2.5rem; }
figcaption { color: var(--soft); font-size: .9rem; margin-bottom: 1rem; max-width: 40rem; }
figcaption div { margin-top: .5rem; }
.key { white-space: nowrap; margin-right: 1.25rem; }
.key i {
  display: inline-block; width: 1.4em; height: .65em; margin-right: .5em; border-radius: 1px;
}
svg { display: block; width: 100%; min-width: 36rem; height: auto; overflow: visible; }
svg text { font-size: 12.5px; fill: var(--ink); }
svg text.soft { fill: var(--soft); }
svg text.strong { font-weight: 600; fill: var(--accent); }
svg text.halo { paint-order: stroke; stroke: var(--paper); stroke-width: 5px; }
.before { fill: var(--before); background: var(--before); }
.installed { fill: var(--tint); background: var(--tint); }
.packed { fill: var(--accent); background: var(--accent); }
.tile { fill: var(--before); background: var(--before); stroke: var(--paper); stroke-width: 1.5; }
.tile.convolution { fill: var(--tint); background: var(--tint); }
.tile.dense { fill: var(--accent); background: var(--accent); }
i.tile.other {
  background: repeating-linear-gradient(135deg, var(--soft) 0 1px, var(--before) 1px 4px);
}
.hatch { stroke: var(--soft); stroke-opacity: .45; }
svg text.on-dense { fill: var(--paper); }
svg text.on-other { paint-order: stroke; stroke: var(--before); stroke-width: 5px; }
.grid { stroke: var(--line); }
.axis { stroke: var(--soft); }
.budget { stroke: var(--ink); stroke-dasharray: 4 4; }
.trail { fill: none; stroke: var(--soft); stroke-opacity: .45; }
.visited { fill: var(--paper); stroke: var(--soft); stroke-width: 1.5; }
circle.chosen { fill: var(--accent); stroke: var(--paper); stroke-width: 2; }
.whisker { stroke: var(--accent); stroke-width: 2; }

dl {
  display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; margin: 0;
}
dt, dd { padding: .5rem 0; margin: 0; border-bottom: 1px solid var(--line); font-size: .9rem; }
dt { color: var(--soft); padding-right: 1.5rem; }
dd { overflow-wrap: anywhere; }
code, pre { font: .85em/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
pre {
  background: var(--wash); padding: 1rem 1.25rem; border-radius: 4px; white-space: pre-wrap;
  overflow-wrap: anywhere; margin: 0 0 1.5rem;
}
details { margin-top: 1.5rem; }
summary { cursor: pointer; color: var(--accent); padding: .5rem 0; }
.command { user-select: all; -webkit-user-select: all; }
.gallery {
  list-style: none; padding: 0; max-width: none; display: grid; gap: 1.25rem 1rem;
  grid-template-columns: repeat(auto-fill, minmax(6.25rem, 1fr));
}
.gallery li { margin: 0; font-size: .8rem; line-height: 1.35; }
.gallery img {
  display: block; width: 6rem; height: auto; margin-bottom: .4rem; border-radius: 3px;
  background: var(--wash);
}
.gallery img.coarse { image-rendering: pixelated; }
.gallery p { margin: 0; }
.gallery .was, .gallery .truth, section h3 + p { color: var(--soft); }
a:focus-visible, summary:focus-visible, .scroll:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 3px;
}
li { margin-bottom: .4rem; overflow-wrap: anywhere; }
body > footer {
  margin-top: 4.5rem; padding-bottom: 6rem; color: var(--soft); font-size: .9rem;
}

@media (max-width: 40rem) {
  body > header { padding-top: 2.5rem; }
  section { margin-top: 3rem; }
  dl { grid-template-columns: 1fr; }
  dt { border: 0; padding-bottom: 0; }
  dd { padding-top: 0; }
  th, td { padding: .45rem .4rem; }
  tbody th { min-width: 6.5rem; }
  .large { font-size: .8rem; }
  .large tbody th { min-width: 4.5rem; }
  .large td:last-child { white-space: normal; }
  .gallery { gap: 1rem .75rem; }
  /* pictures shrink with the screen, their letters less */
  figure svg { min-width: 0; }
  figure svg text { font-size: 19px; }
  figure svg.bars, figure svg.treemap { min-width: 28rem; }
  figure svg.bars text { font-size: 16px; }
  figure svg.treemap text { font-size: 12.5px; }
}
@media print {
  :root {
    --ink: #000; --soft: #555; --line: #ccc; --paper: #fff; --wash: #f4f4f4;
    --accent: #0b6b5d; --tint: #a5d0c6; --before: #cbc7bc;
  }
  body { font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body > header, main, body > footer { max-width: none; padding: 0; }
  nav, .skip { display: none; }
  section { margin-top: 2.5rem; }
  h2, section > p, caption { break-after: avoid; }
  th, td, dt, dd { padding-top: .3rem; padding-bottom: .3rem; }
  table { font-size: 8pt; }
  .large { font-size: 10pt; }
  .wide { font-size: 7pt; }
  tbody th, .wide tbody th, .source { min-width: 0; }
  tr, figure, dt, dd, .gallery li { break-inside: avoid; }
  .scroll { overflow: visible; }
  svg { min-width: 0; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
