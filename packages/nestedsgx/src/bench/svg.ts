/** Bar charts as SVG, without a script or a font of their own. */

/** One bar. `value` must be positive to be drawn. */
export interface Bar {
  readonly label: string;
  readonly value: number;
  readonly kind: 'value' | 'floor' | 'peer' | 'paper';
}

/** Bars that belong together, under one heading. */
export interface BarGroup {
  readonly label: string;
  readonly bars: readonly Bar[];
}

const COLOURS = Object.freeze({ value: '#1f6feb', floor: '#9aa4b2', peer: '#d29922', paper: '#a371f7' });
const WIDTH = 820;
const LEFT = 210;
const RIGHT = 90;
const BAR = 14;
const GAP = 12;

/** Groups of horizontal bars on a logarithmic axis. */
export function barChart(title: string, unit: string, groups: readonly BarGroup[]): string {
  const values = groups.flatMap(({ bars }) => bars.map(({ value }) => value)).filter((value) => value > 0);
  if (values.length === 0) throw new RangeError('a chart needs a positive value');
  const low = 10 ** Math.floor(Math.log10(Math.min(...values)) - 0.2);
  const high = 10 ** Math.ceil(Math.log10(Math.max(...values)));
  const scale = (WIDTH - LEFT - RIGHT) / Math.log10(high / low);
  const x = (value: number) => LEFT + Math.log10(value / low) * scale;
  const shapes: string[] = [];
  let y = 64;
  const top = y;
  for (const { label, bars } of groups) {
    shapes.push(text(LEFT - 10, y + BAR - 3, label, 'end', 'font-weight="600"'));
    for (const bar of bars.filter(({ value }) => value > 0)) {
      const width = Math.max(1, x(bar.value) - LEFT).toFixed(1);
      shapes.push(
        `<rect x="${LEFT}" y="${y}" width="${width}" height="${BAR - 2}" fill="${COLOURS[bar.kind]}"/>`,
      );
      shapes.push(text(x(bar.value) + 5, y + BAR - 4, `${bar.label} ${format(bar.value)}`, 'start'));
      y += BAR;
    }
    y += GAP;
  }
  const grid: string[] = [];
  for (let decade = low; decade <= high * 1.001; decade *= 10) {
    const at = x(decade).toFixed(1);
    grid.push(`<line x1="${at}" y1="${top - 8}" x2="${at}" y2="${y}" stroke="#d0d7de"/>`);
    grid.push(text(Number(at), top - 14, format(decade), 'middle', 'fill="#57606a"'));
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 10}" font-family="sans-serif" font-size="11">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    text(16, 24, `${title} (${unit}, logarithmic)`, 'start', 'font-size="15" font-weight="600"'),
    ...grid,
    ...shapes,
    '</svg>',
    '',
  ].join('\n');
}

function escapeXml(content: string): string {
  return content.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`);
}

function text(x: number, y: number, content: string, anchor: string, more = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" ${more}>${escapeXml(content)}</text>`;
}

function format(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : String(Number(value.toPrecision(3)));
}
