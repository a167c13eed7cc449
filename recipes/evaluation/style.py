"""The style sheet of the report: light and dark, screen, phone and paper."""

# Blue and vermilion are told apart with every kind of colour blindness, and in grey.
STYLE = """
:root {
  --paper: #fbfaf8; --card: #ffffff; --ink: #1d2126; --soft: #5c646e; --faint: #8b929b;
  --line: #e3e1dc; --grid: #eceae6; --blue: #1f6fb2; --orange: #cf5a13; --green: #14805c;
  --purple: #8a4fbf; --right: 31 111 178; --right-depth: 0.72; --wrong: 222 106 30;
  --wrong-depth: 0.8; --good: #1a65a5; --warn: #a84506; --good-ground: #eaf2f9;
  --warn-ground: #fcefe4;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --card: #1b1f24; --ink: #e8e6e3; --soft: #a4abb3; --faint: #7b838c;
    --line: #2e343b; --grid: #272c32; --blue: #6db3ee; --orange: #f2935a; --green: #57c59a;
    --purple: #c09df5; --right: 92 166 226; --right-depth: 0.55; --wrong: 240 130 70;
    --wrong-depth: 0.52; --good: #6db3ee; --warn: #f2935a; --good-ground: #18293a;
    --warn-ground: #36241a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 66rem; background: var(--paper);
  color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
    "Helvetica Neue", "Noto Sans", "Liberation Sans", sans-serif;
  overflow-wrap: break-word; font-variant-numeric: tabular-nums lining-nums;
}
h1 { font-size: 2rem; line-height: 1.2; margin: 0; letter-spacing: -0.015em; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 3.25rem 0 0.25rem; letter-spacing: -0.01em; }
h3 { font-size: 0.95rem; line-height: 1.4; margin: 0 0 0.5rem; }
p { margin: 0.35rem 0 1rem; max-width: 44rem; }
.note, figcaption { color: var(--soft); font-size: 0.875rem; line-height: 1.5; }
header nav {
  margin-top: 1rem; font-size: 0.875rem; display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem;
}
a { color: var(--blue); text-decoration: none; }
a:hover { text-decoration: underline; }
.pill {
  display: inline-block; vertical-align: 0.35em; margin-left: 0.6rem; padding: 0.1rem 0.6rem;
  border-radius: 1rem; font-size: 0.8rem; font-weight: 600; letter-spacing: 0;
  background: var(--warn-ground); color: var(--warn);
}
.cards {
  display: grid; gap: 0.75rem; grid-template-columns: repeat(auto-fit, minmax(11.5rem, 1fr));
  margin: 1.75rem 0 1.25rem;
}
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 0.6rem;
  padding: 0.9rem 1rem 0.85rem;
}
.card .label { color: var(--soft); font-size: 0.8125rem; }
.card .value {
  font-size: 1.75rem; font-weight: 650; line-height: 1.25; letter-spacing: -0.02em;
  white-space: nowrap;
}
.card .value small {
  font-size: 1.05rem; font-weight: 500; color: var(--soft); letter-spacing: 0;
}
.card .detail { color: var(--soft); font-size: 0.8125rem; line-height: 1.4; }
.verdicts { list-style: none; margin: 1.25rem 0 0; padding: 0; }
.verdicts li { position: relative; padding: 0.4rem 0 0.4rem 1.9rem; max-width: 50rem; }
.verdicts li::before {
  position: absolute; left: 0; top: 0.55rem; width: 1.25rem; height: 1.25rem; border-radius: 50%;
  text-align: center; font-size: 0.75rem; line-height: 1.25rem; font-weight: 700;
}
.verdicts .good::before { content: "✓"; background: var(--good-ground); color: var(--good); }
.verdicts .warn::before { content: "!"; background: var(--warn-ground); color: var(--warn); }
.verdicts .info::before { content: "i"; background: var(--grid); color: var(--soft); }
.scroll { overflow-x: auto; margin: 0.75rem 0 0.5rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.875rem; line-height: 1.4; }
th, td {
  padding: 0.4rem 0.75rem 0.4rem 0; text-align: left; vertical-align: baseline;
  unicode-bidi: isolate;
}
th:last-child, td:last-child { padding-right: 0; }
thead th {
  color: var(--soft); font-weight: 500; border-bottom: 1px solid var(--line);
  vertical-align: bottom;
}
tbody th { font-weight: 500; }
tbody tr + tr > * { border-top: 1px solid var(--grid); }
.number { text-align: right; white-space: nowrap; }
.quiet { color: var(--soft); }
.meaning { color: var(--soft); padding-left: 1.25rem; min-width: 16rem; }
.bar { white-space: nowrap; width: 32%; min-width: 9rem; }
.bar svg {
  display: inline-block; vertical-align: -0.15em; width: calc(100% - 3.2rem); height: 0.85rem;
  margin-right: 0.5rem;
}
.split {
  display: flex; flex-wrap: wrap; gap: 1rem 3.5rem; align-items: flex-start; margin-top: 0.75rem;
}
.split > * { min-width: 0; max-width: 100%; } .split > div:last-child { flex: 1 1 19rem; }
.grid {
  display: grid; gap: 1.5rem 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); margin-top: 1rem;
}
figure { margin: 0; break-inside: avoid; min-width: 0; }
figure > svg { display: block; width: 100%; height: auto; }
.pair { max-width: 52rem; }
.sparks {
  display: grid; gap: 1rem 1.5rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(46%, 9.5rem), 1fr));
}
.sparks h3 {
  display: flex; justify-content: space-between; gap: 0.5rem; font-size: 0.8125rem;
  font-weight: 500; margin: 0 0 0.15rem; overflow-wrap: anywhere;
}
.sparks h3 span { color: var(--soft); }
.meanings dl { columns: auto; display: block; margin-top: 0.75rem; max-width: 52rem; }
.meanings dl > div { display: grid; grid-template-columns: minmax(9rem, 15rem) 1fr; }
.meanings dd { text-align: left; }
.taken { padding-left: 1.5rem; color: var(--soft); }
td.taken { white-space: nowrap; }
.legend {
  display: inline-flex; flex-wrap: wrap; gap: 0 1rem; margin-left: 0.75rem; font-weight: 400;
  font-size: 0.8125rem; color: var(--soft);
}
.legend i {
  display: inline-block; width: 1.1rem; height: 0.2rem; border-radius: 0.1rem;
  margin-right: 0.35rem; vertical-align: 0.22em;
}
.legend .one { background: var(--blue); } .legend .two { background: var(--orange); }
svg text { font-family: inherit; font-size: 12px; fill: var(--soft); }
svg .title { fill: var(--ink); font-weight: 600; font-size: 13px; }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .run1 { stroke: var(--blue); } svg .run2 { stroke: var(--orange); }
svg .run3 { stroke: var(--green); } svg .run4 { stroke: var(--purple); }
svg .dot.run1 { fill: var(--blue); } svg .dot.run2 { fill: var(--orange); }
svg .dot.run3 { fill: var(--green); } svg .dot.run4 { fill: var(--purple); }
svg .series.dash2 { stroke-dasharray: 7 4; } svg .series.dash3 { stroke-dasharray: 2 4; }
svg .series.backdrop { stroke: var(--faint); stroke-width: 1.25; opacity: 0.75; }
svg .dot.backdrop { fill: var(--faint); }
svg .gridline { stroke: var(--grid); stroke-width: 1; }
svg .axis { stroke: var(--line); stroke-width: 1; }
svg .series { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg .one { stroke: var(--blue); } svg .two { stroke: var(--orange); }
svg .dot { stroke: none; } svg .dot.one { fill: var(--blue); } svg .dot.two { fill: var(--orange); }
svg .marker { stroke: var(--faint); stroke-width: 1; stroke-dasharray: 3 3; }
svg .ideal { stroke: var(--faint); stroke-width: 1.25; stroke-dasharray: 4 4; }
svg .filled { fill: rgb(var(--right) / 0.55); } svg .track { fill: var(--grid); }
svg .histogram { fill: var(--faint); opacity: 0.6; }
svg line { vector-effect: non-scaling-stroke; }
svg .whisker { stroke: var(--ink); stroke-width: 1.25; opacity: 0.7; }
svg .expected { stroke: var(--orange); stroke-width: 2.5; }
.swatch { display: inline-block; width: 1.6rem; height: 0.6rem; margin-right: 0.45rem; }
.runs { list-style: none; margin: 0.9rem 0 0; padding: 0; }
.runs li { display: flex; align-items: baseline; padding: 0.15rem 0; }
.runs li > .swatch { flex: none; } .runs li > span { min-width: 0; overflow-wrap: anywhere; }
.legend.wide { display: flex; margin: 0 0 0.5rem; gap: 0.2rem 1.4rem; max-width: none; }
th.run { color: var(--ink); font-weight: 600; white-space: normal; min-width: 6.5rem; }
.below { display: block; color: var(--soft); font-size: 0.8125rem; }
.better { color: var(--good); font-weight: 600; } .worse { color: var(--warn); font-weight: 600; }
td.value { text-align: right; overflow-wrap: anywhere; min-width: 7rem; }
.block { margin-top: 1.5rem; }
.grid.side { grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); }
.confusion { width: auto; }
.confusion td, .confusion tbody th, .confusion thead th { border: 0 !important; }
.confusion tbody th {
  position: sticky; left: 0; background: var(--paper); padding: 0 0.6rem 0 0; text-align: right;
  font-weight: 400; white-space: nowrap; max-width: 11rem; overflow: hidden;
  text-overflow: ellipsis; z-index: 1; vertical-align: middle;
}
.confusion thead th {
  padding: 0 0 0.4rem; font-weight: 400; color: var(--ink); vertical-align: bottom;
}
.confusion thead th span {
  display: inline-block; writing-mode: vertical-rl; transform: rotate(180deg); max-height: 10rem;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; text-align: left;
  line-height: 1.1;
}
.confusion thead th:not(:first-child) { text-align: center; }
.confusion td {
  width: 2.6rem; min-width: 2.1rem; height: 2.1rem; padding: 0; text-align: center;
  vertical-align: middle; font-size: 0.8125rem; box-shadow: inset 0 0 0 1px var(--paper);
}
.confusion .right { background: rgb(var(--right) / calc(var(--v) * var(--right-depth))); }
.confusion .wrong { background: rgb(var(--wrong) / calc(var(--v) * var(--wrong-depth))); }
.confusion .strong { font-weight: 600; }
.confusion .zero { background: color-mix(in srgb, var(--grid) 45%, transparent); }
.confusion .support {
  color: var(--soft); text-align: right; padding-left: 0.75rem; width: auto; box-shadow: none;
}
.many td { width: 1.9rem; min-width: 1.7rem; height: 1.7rem; font-size: 0.6875rem; }
.gallery {
  display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(8.4rem, 1fr));
  margin-top: 1rem;
}
.gallery figure {
  background: var(--card); border: 1px solid var(--line); border-radius: 0.5rem; overflow: hidden;
}
.gallery img {
  display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #17191c;
}
.gallery img.pixels { image-rendering: pixelated; }
.gallery figcaption {
  padding: 0.5rem 0.65rem 0.6rem; font-size: 0.8125rem; line-height: 1.4; color: var(--ink);
  overflow-wrap: anywhere;
}
.gallery .wrong { color: var(--warn); font-weight: 600; }
.gallery span { display: block; }
dl { margin: 0.75rem 0 0; columns: 2 20rem; column-gap: 2.5rem; font-size: 0.875rem; }
dl > div {
  display: flex; justify-content: space-between; gap: 1rem; padding: 0.3rem 0;
  border-bottom: 1px solid var(--grid); break-inside: avoid;
}
dt {
  color: var(--soft); flex: none; } dd { margin: 0; text-align: right; overflow-wrap: anywhere;
  min-width: 0;
}
details {
  margin-top: 1rem; } summary { cursor: pointer; color: var(--blue); font-size: 0.875rem;
}
code {
  font: 0.8125rem/1.4 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  overflow-wrap: anywhere;
}
footer {
  margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: 0.8125rem;
}
@media (max-width: 40rem) {
  body { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; }
  .cards { grid-template-columns: repeat(2, 1fr); gap: 0.6rem; }
  .card {
    padding: 0.75rem 0.8rem; } .card .value { font-size: 1.4rem; } .card .value small {
    font-size: 0.85rem;
  }
  .gallery { grid-template-columns: repeat(3, 1fr); gap: 0.6rem; }
  .gallery figcaption { font-size: 0.75rem; padding: 0.4rem 0.5rem; }
  .card:last-child:nth-child(odd) { grid-column: 1 / -1; }
  th, td { padding-right: 0.55rem; }
  .scroll tbody th:first-child { position: sticky; left: 0; background: var(--paper); }
  .scroll .confusion tbody th:first-child { min-width: 0; max-width: 6.25rem; }
  .confusion td { width: 1.5rem; min-width: 1.5rem; height: 1.7rem; font-size: 0.6875rem; }
  .bar { min-width: 6.75rem; }
  .meaning { min-width: 28rem; }
  .scroll tbody th:first-child {
    min-width: 6.25rem; max-width: 9rem; overflow-wrap: anywhere;
  }
  th.run, td.value { min-width: 5rem; }
}
@media print {
  :root { --paper: #fff; --card: #fff; }
  @page { margin: 14mm; }
  body { max-width: none; padding: 0; font-size: 9.5pt; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  header nav { display: none; } .scroll { overflow: visible; }
  h1 { font-size: 18pt; } h2 { margin-top: 1.75rem; } p, .verdicts li { max-width: none; }
  h2, h3, section > p.note { break-after: avoid; }
  p, tr, .card, figure, .verdicts li, .confusion, .block, .split { break-inside: avoid; }
  .cards { grid-template-columns: repeat(5, 1fr); gap: 0.4rem; }
  .card { padding: 0.5rem 0.6rem; } .card .value { font-size: 14pt; }
  .card .value small { font-size: 9pt; } .card .detail, .card .label { font-size: 7.5pt; }
  table { font-size: 7.5pt; } th, td { padding: 0.22rem 0.4rem 0.22rem 0; }
  .split td:not(.number), .split tbody th { overflow-wrap: anywhere; }
  .note, figcaption, dl { font-size: 8.5pt; } .below { font-size: 7pt; }
  .meaning { min-width: 0; } th.run, td.value { min-width: 0; } td.value { font-size: 7.5pt; }
  th.number, .below { white-space: normal; } td.taken { white-space: normal; }
  .grid { grid-template-columns: 1fr 1fr; gap: 0.75rem 1.5rem; }
  .sparks { grid-template-columns: repeat(5, 1fr); }
  .split { gap: 1rem 1.5rem; } .split > div:last-child { flex-basis: 13rem; }
  .gallery { grid-template-columns: repeat(8, 1fr); gap: 0.5rem; }
  .gallery figcaption { font-size: 7pt; padding: 0.3rem 0.4rem; }
  .confusion td { width: 1.7rem; min-width: 1.4rem; height: 1.6rem; font-size: 7.5pt; }
  .many td { width: 1.2rem; min-width: 1rem; height: 1.2rem; font-size: 6pt; }
  details > summary { list-style: none; color: var(--ink); }
  details::details-content { display: block; content-visibility: visible; block-size: auto; }
}
"""
