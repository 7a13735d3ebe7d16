"""The report's style sheet: light and dark, phone to desktop, and paper.

Contrast of text is at least 7 : 1 in both schemes; verdicts differ in words, never in colour alone. In the dark scheme pictures
are turned dark: lightness is inverted and hues are turned back.
"""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1d21; --soft: #4a4f57; --line: #c9cdd3; --panel: #f3f4f6; --link: #00456e; --focus: #b84a00;
  --sure: #005c3b; --near: #00456e; --open: #6b4a00; --wrong: #8a1c00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171a; --ink: #eceef1; --soft: #b9bfc8; --line: #434851; --panel: #1f2226; --link: #8cc8f0; --focus: #ffb066;
    --sure: #6fd9ae; --near: #8cc8f0; --open: #ecc873; --wrong: #ffa48f;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 3rem; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, "DejaVu Sans", sans-serif;
  overflow-wrap: break-word; }
header, main, footer { max-width: 62rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2rem; }
nav { position: sticky; top: 0; z-index: 1; background: var(--paper); border-bottom: 1px solid var(--line); }
nav details { max-width: 62rem; max-height: 100vh; overflow-y: auto; margin: 0 auto; padding: .3rem 1.25rem; }
nav summary { font-weight: 600; }
nav ol { list-style: none; padding-left: 0; margin: .3rem 0; }
nav ol ol { padding-left: 1rem; font-size: .93em; }
nav li { margin: .2rem 0; overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.45rem; margin: 2.2rem 0 .8rem; padding-bottom: .3rem; border-bottom: 2px solid var(--line); }
h3 { font-size: 1.15rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h4 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p, ul, ol, dl, table, figure { margin: 0 0 .9rem; }
h2 + article { border-top: 0; padding-top: 0; }
article { margin: 0 0 1.2rem; padding: 1rem 0 0; border-top: 1px solid var(--line); }
article p, article details { margin-bottom: .5rem; }
a { color: var(--link); text-underline-offset: .15em; }
a:focus-visible, [tabindex]:focus-visible, summary:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
.skip { position: absolute; left: -100vw; top: 0; padding: .6rem 1rem; background: var(--paper); }
.skip:focus { left: 0; z-index: 1; }
.soft { color: var(--soft); }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .9em; overflow-wrap: anywhere; }
pre { margin: 0 0 .9rem; padding: .6rem .8rem; background: var(--panel); white-space: pre-wrap; }
.verdict { display: inline-block; padding: 0 .45em; border: 1px solid currentColor; border-radius: .3em; font-weight: 600;
  font-size: .85em; }
.sure { color: var(--sure); } .near { color: var(--near); } .open { color: var(--open); } .wrong { color: var(--wrong); }
.scroll { overflow-x: auto; margin: 0 0 .9rem; }
.scroll table { margin: 0; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
caption { text-align: left; font-weight: 600; padding: 0 0 .4rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem .4rem 0; border-bottom: 1px solid var(--line); }
thead th { border-bottom-width: 2px; }
tbody th { font-weight: 600; }
tbody th .soft { font-weight: 400; }
table code { overflow-wrap: normal; }
.results td:not(.number) { min-width: 12rem; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
dt { font-weight: 600; margin-top: .6rem; }
dd { margin: 0 0 0 1.2rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem 1.5rem;
  align-items: start; margin: .6rem 0 1rem; }
.figures figure:has(.wide) { grid-column: 1 / -1; }
figure { padding: 0; margin: 0; }
figure img { display: block; width: 100%; max-width: 29rem; height: auto; padding: .4rem; background: #ffffff;
  border: 1px solid var(--line); }
figure img.wide { max-width: 60rem; }
figcaption { margin-bottom: .4rem; max-width: 44rem; font-size: .93rem; color: var(--soft); }
figcaption strong { color: var(--ink); }
math { font-size: 1.02em; }
summary { cursor: pointer; padding: .15rem 0; }
details > :not(summary) { margin-top: .4rem; }
details > figure { scroll-margin-top: 4rem; }
footer { margin-top: 3rem; padding-top: 1rem; padding-bottom: 3rem; border-top: 1px solid var(--line); color: var(--soft); }
@media (min-width: 76rem) {
  html { scroll-padding-top: 1rem; }
  .sides { display: grid; grid-template-columns: 15rem minmax(0, 1fr); max-width: 80rem; margin: 0 auto; }
  nav { position: static; border: 0; }
  nav details { position: sticky; top: 0; padding: 2rem 0 1rem 1.25rem; font-size: .88rem; }
  nav details::details-content { content-visibility: visible; block-size: auto; }
  nav summary { list-style: none; cursor: default; }
  nav summary::-webkit-details-marker { display: none; }
  main { max-width: none; margin: 0; }
  header, footer { max-width: 80rem; }
  [aria-labelledby="scoreboard"] tbody th { width: 36%; }
  [aria-labelledby="verdicts"] tbody wbr { display: none; }
}
@media (prefers-color-scheme: dark) {
  figure img { filter: invert(.915) hue-rotate(180deg); }
}
@media (max-width: 40rem) {
  header, main, footer, nav details { padding-left: 1rem; padding-right: 1rem; }
  table { font-size: .82rem; }
  th, td { padding-right: .4rem; }
  body { line-height: 1.5; }
  h1 { font-size: 1.55rem; }
  h4 { margin-top: 1rem; }
  article { margin-bottom: .5rem; padding-top: .7rem; }
  .stacked, .stacked caption, .stacked tbody, .stacked tr, .stacked th, .stacked td { display: block; font-size: .93rem; }
  .stacked thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .stacked tr { padding: .35rem 0; border-bottom: 1px solid var(--line); }
  .stacked tbody th, .stacked td { padding: .1rem 0; border: 0; }
  .stacked tbody th, .stacked th + td:has(> .verdict:only-child) { display: inline-block; max-width: 100%; margin-right: .5rem; }
  .stacked th + td:has(> .verdict:only-child)::before { content: none; }
  .stacked td::before { content: attr(data-column) ": "; content: attr(data-column) ": " / ""; color: var(--soft); }
  [aria-labelledby="verdicts"] .stacked td::before { content: none; }
}
@media (prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth; } }
@media print {
  :root { color-scheme: light; --paper: #ffffff; --ink: #000000; --soft: #333333; --line: #999999; --panel: #ffffff;
    --link: #000000; --sure: #000000; --near: #000000; --open: #000000; --wrong: #000000; }
  html { font-size: 10pt; }
  header, main, footer { max-width: none; padding: 0; }
  .skip, nav { display: none; }
  h2, h3, h4, caption, summary, p:has(+ pre) { break-after: avoid; }
  figure, tr, dd { break-inside: avoid; }
  figure img { max-width: 9cm; border: 0; filter: none; }
  figure img.wide { max-width: 18cm; }
  .figures { display: block; }
  summary { list-style: none; font-weight: 600; }
  summary::-webkit-details-marker { display: none; }
  pre { border: 1px solid var(--line); }
  .scroll { overflow: visible; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
