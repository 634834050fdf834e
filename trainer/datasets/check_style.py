"""How the page of a check looks."""

STYLE = """
:root { color-scheme: light; --ink: #1d2329; --quiet: #5c6670; --line: #d9dee3; --wrong: #b3261e; --warning: #8a5300;
  --ok: #1b6e3c; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f6f8; color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 24px 24px 64px; }
h1 { margin: 0; font-size: 28px; line-height: 1.2; }
h2 { margin: 40px 0 8px; font-size: 20px; }
h2::first-letter { text-transform: uppercase; }
p { margin: 4px 0 12px; max-width: 80ch; }
a { color: inherit; }
table { border-collapse: collapse; background: #fff; border: 1px solid var(--line); }
th, td { padding: 6px 14px; border-bottom: 1px solid var(--line); text-align: left; }
th { color: var(--quiet); font-weight: 600; font-size: 14px; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.quiet { color: var(--quiet); font-size: 14px; }
span.wrong, span.warning { padding: 1px 9px; border-radius: 10px; color: #fff; font-size: 13px; font-weight: 600; }
span.wrong { background: var(--wrong); }
span.warning { background: var(--warning); }
.banner { max-width: none; padding: 12px 16px; border-left: 6px solid; background: #fff;
  font-size: 18px; font-weight: 600; }
.banner.wrong { border-color: var(--wrong); }
.banner.warning { border-color: var(--warning); }
.banner.ok { border-color: var(--ok); }
.overview { display: flex; flex-wrap: wrap; gap: 0 48px; }
.overview .banner { width: 100%; margin-bottom: 0; }
.overview h2 { margin-top: 24px; }
dl { display: flex; flex-wrap: wrap; gap: 12px; margin: 24px 0 0; }
dl div { min-width: 116px; padding: 10px 16px; background: #fff; border: 1px solid var(--line); }
dt { color: var(--quiet); font-size: 14px; }
dd { margin: 0; font-size: 24px; font-variant-numeric: tabular-nums; }
.classes .bar { width: 260px; }
.bar i { display: block; height: 12px; background: #5b7fa6; }
.cases { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start; }
.case { max-width: 100%; padding: 12px; background: #fff; border: 1px solid var(--line); }
.case > p { margin: 0 0 8px; font-size: 14px; font-weight: 600; overflow-wrap: anywhere; max-width: 60ch; }
.pictures { display: flex; flex-wrap: wrap; gap: 12px; }
figure { width: 240px; margin: 0; }
figure img { display: block; width: 240px; height: 180px; object-fit: contain; background: #eceff2; }
.missing { display: grid; place-items: center; height: 180px; background: #eceff2; color: var(--quiet); }
figcaption { padding-top: 4px; font-size: 14px; overflow-wrap: anywhere; line-height: 1.35; }
@media print { body { background: #fff; } .case { break-inside: avoid; } }
"""
