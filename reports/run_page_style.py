"""Style and script of a run's page: colours that everybody tells apart, and the keyboard."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), lighter ones on dark ground.
STYLE = """
:root { --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #b0578d; --c4: #9a6a00; --c5: #3a86b8;
        --off: #8a919e; --heat: 0, 114, 178 }
@media (prefers-color-scheme: dark) {
  :root { --c0: #56b4e9; --c1: #ff9a57; --c2: #35d0a5; --c3: #e3a0c8; --c4: #f2c14e; --c5: #9ad1f5;
          --off: #7d8594; --heat: 86, 180, 233 }
}
@media print {
  :root { --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #b0578d; --c4: #9a6a00; --c5: #3a86b8;
          --off: #777; --heat: 0, 114, 178 }
  .tip, nav { display: none } * { print-color-adjust: exact }
}
h3 { font-size: 1rem; margin: 1rem 0 .25rem }
.answer { font-size: 1.25rem; color: var(--ink); margin: .5rem 0 }
.warning { color: var(--c1); font-weight: 600 }
nav ul, .legend { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; padding: 0;
                  margin: .5rem 0 }
a { color: var(--c0) }
.legend li { display: flex; align-items: center; gap: .35rem; font-size: .875rem }
.key { width: 20px; height: 20px; flex: none }
pre { overflow-x: auto; padding: .5rem .75rem; background: var(--band); border-radius: 4px;
      white-space: pre-wrap; overflow-wrap: anywhere; margin: .5rem 0 }
td { max-width: 34rem } tr.marked td { font-weight: 600 }
details { margin: .5rem 0 } summary { cursor: pointer; color: var(--c0) }
:focus-visible { outline: 2px solid var(--c1); outline-offset: 2px }
.plot { margin: .5rem 0 } .plot svg { width: 100%; min-width: 560px; height: auto; display: block }
.word, .boundword { font-size: 13px; fill: var(--faint) } .boundword { fill: var(--c1) }
.grid { stroke: var(--line); stroke-width: 1 }
.bound { stroke: var(--c1); stroke-width: 2; stroke-dasharray: 6 4; fill: none }
.frontline { stroke: var(--c0); stroke-width: 1.5; fill: none; opacity: .7 }
.bar { stroke: currentColor; stroke-width: 1.5; fill: none; opacity: .55 }
.mark { cursor: default; outline: none }
.mark circle, .mark rect, .mark path { stroke: currentColor; stroke-width: 1.8;
                                       fill: var(--ground) }
.mark.chosen { color: var(--c0) } .mark.chosen path { fill: currentColor }
.mark.baseline { color: var(--c1) } .mark.baseline rect { fill: currentColor }
.mark.front { color: var(--c2) } .mark.front circle { fill: currentColor }
.mark.other { color: var(--ink) }
.mark.infeasible, .mark.uncertain { color: var(--off) }
.mark:focus circle, .mark:focus rect, .mark:focus path, .mark:hover circle, .mark:hover rect,
.mark:hover path { stroke: var(--c1); stroke-width: 4 }
.curve { fill: none; stroke: currentColor; stroke-width: 2 }
.s0 { color: var(--c0) } .s1 { color: var(--c1); stroke-dasharray: 7 3 }
.s2 { color: var(--c2); stroke-dasharray: 2 3 } .s3 { color: var(--c3); stroke-dasharray: 9 3 2 3 }
.s4 { color: var(--c4); stroke-dasharray: 1 4 } .s5 { color: var(--c5); stroke-dasharray: 12 5 }
.mark.training.other { color: var(--off) } .mark.training.other .curve { stroke-width: 1.2 }
.mark.training.chosen .curve { stroke-width: 3 }
.mark.training:focus .curve, .mark.training:hover .curve { stroke: var(--c1); stroke-width: 4 }
.mark.step rect { stroke-width: 1 }
.lane-train { color: var(--c4) } .lane-score { color: var(--c2) }
.lane-measure { color: var(--c0) } .lane-test { color: var(--c3) }
.mark.step.done rect { fill: currentColor } .mark.step.failed { color: var(--ink) }
.mark.step.failed rect { fill: url(#hatch) } .hatchline { fill: var(--ink) }
.tip { border-left: 3px solid var(--line); padding: .25rem .75rem; min-height: 5.5rem;
       background: var(--band) }
.tip p { white-space: pre-line; font-size: .9375rem } .tip pre { background: var(--ground) }
.tip button { font: inherit; color: var(--ink); background: var(--ground); cursor: pointer;
              border: 1px solid var(--line); border-radius: 4px; padding: .1rem .6rem }
.confusion { width: auto; margin: .5rem 0 1rem }
.confusion td, .confusion th { padding: .3rem .6rem }
.heat { text-align: right; background: rgba(var(--heat), calc(var(--share) * .55)) }
.heat.right { outline: 2px solid var(--faint); outline-offset: -2px }
"""

# Without it every table is there; with it, marks can be pointed at and reached by keys.
SCRIPT = """
for (const figure of document.querySelectorAll('.plot')) {
  const svg = figure.querySelector('svg'), tip = figure.querySelector('.tip');
  const marks = [...figure.querySelectorAll('.mark')].reverse();
  if (!tip || !marks.length) continue;
  let at = -1;
  const show = (one) => {
    at = marks.indexOf(one);
    const text = document.createElement('p');
    text.textContent = one.dataset.tip;
    tip.replaceChildren(text);
    if (!one.dataset.command) return;
    const line = document.createElement('pre'), button = document.createElement('button');
    line.textContent = one.dataset.command;
    button.textContent = 'Copy the command that builds it';
    button.onclick = () => {
      const picked = getSelection();
      picked.selectAllChildren(line);
      navigator.clipboard?.writeText(line.textContent).then(
        () => { button.textContent = 'Copied'; }, () => {});
    };
    tip.append(line, button);
  };
  for (const one of marks) {
    one.addEventListener('pointerenter', () => show(one));
    one.addEventListener('focus', () => show(one));
  }
  svg.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const end = { Home: 0, End: marks.length - 1 }[event.key];
    if (step === undefined && end === undefined) return;
    event.preventDefault();
    const next = end ?? (at < 0 ? 0 : (at + step + marks.length) % marks.length);
    marks[next].focus();
  });
}
addEventListener('beforeprint', () => {
  for (const one of document.querySelectorAll('details')) one.open = true;
});
"""
