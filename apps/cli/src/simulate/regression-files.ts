/**
 * A failing seed as files: a test that keeps it, and what nodes recorded of the blocks they disagreed on.
 *
 * Invariant: files of one seed and day begin alike; writing a seed again replaces them.
 */
import {
  bundleName,
  only,
  type Regression,
  regressionName,
  regressionTest,
  runScenario,
  type Size,
} from "@coppice/simulate/scenarios"
import { DateTime, Effect, FileSystem, Path } from "effect"

/**
 * Writes a seed as a test of its own, in the name of today, and beside it the divergence bundles that nodes write when its
 * schedule is run once more. Returns the paths. Recording takes turns: that run may come to another end.
 */
export const writeRegression = Effect.fnUntraced(function* (
  directory: string,
  failed: Omit<Regression, "date"> & { readonly size: Size },
) {
  const [files, path] = [yield* FileSystem.FileSystem, yield* Path.Path]
  const regression = { ...failed, date: DateTime.formatIsoDateUtc(yield* DateTime.now) }
  const { plan, size, result, development = false } = regression
  const { bundles } = runScenario(plan, size, result.seed, { keeps: only(result.parts), development, bundles: true })
  const written = [
    [regressionName(regression), regressionTest(regression)] as const,
    ...bundles.map((bundle) => [bundleName(regression, bundle), bundle.text] as const),
  ]
  yield* files.makeDirectory(directory, { recursive: true })
  return yield* Effect.forEach(written, ([name, text]) => {
    const file = path.join(directory, name)
    return Effect.as(files.writeFileString(file, text), file)
  })
})
