/**
 * How figures are printed: one JSON line each for machines, an aligned table for people.
 *
 * Invariant: a JSON line has exactly the keys name, p50, unit, against, ratio, in this order, null where there is none.
 */
import type { Figure, Target } from "./harness.ts"

const DIGITS = 6

/** The JSON line of a figure. */
export const jsonLine = ({ name, p50, unit, against, ratio }: Figure): string =>
  JSON.stringify({
    name,
    p50: Number(p50.toPrecision(DIGITS)),
    unit,
    against: against ?? null,
    ratio: ratio === undefined ? null : Number(ratio.toPrecision(DIGITS)),
  })

const short = (value: number): string => {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3
  return value.toFixed(digits)
}

const bound = (target: Target | undefined, value: number | undefined, unit: string): string => {
  if (target === undefined || value === undefined) return ""
  return target.on === "ratio" ? `<= ${value.toPrecision(2)}x` : `<= ${value} ${unit}`
}

/** How a figure stands to its target: "aim", "required", "missed", or "" where it has none. */
export const verdict = ({ target, p50, ratio }: Figure): "" | "aim" | "required" | "missed" => {
  if (target === undefined) return ""
  const value = (target.on === "ratio" ? ratio : p50) ?? Number.POSITIVE_INFINITY
  if (target.aim !== undefined && value <= target.aim) return "aim"
  return target.required !== undefined && value <= target.required ? "required" : "missed"
}

const HEADINGS = ["name", "p50", "unit", "against", "ratio", "required", "aim", "met"]
const RIGHT = new Set(["p50", "ratio", "required", "aim"])

/** The table of figures, a line each, with a heading. */
export const table = (figures: ReadonlyArray<Figure>): string => {
  const rows = figures.map((each) => [
    each.name,
    short(each.p50),
    each.unit,
    each.against ?? "",
    each.ratio === undefined ? "" : `${short(each.ratio)}x`,
    bound(each.target, each.target?.required, each.unit),
    bound(each.target, each.target?.aim, each.unit),
    verdict(each),
  ])
  const all = [HEADINGS, ...rows]
  const widths = HEADINGS.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  const line = (row: ReadonlyArray<string>): string =>
    row
      .map((cell, i) => (RIGHT.has(HEADINGS[i] ?? "") ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join("  ")
      .trimEnd()
  return all.map(line).join("\n")
}
