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
import { Data, DateTime, Effect, FileSystem, Path } from "effect"

/** A directory cannot be made, or written to. */
export class NotWritten extends Data.TaggedError("NotWritten")<{
  readonly directory: string
  readonly cause: { readonly message: string }
}> {}

/** Makes the directory, before seeds are run that may have to be written to it. */
export const openRegressions = (directory: string) =>
  Effect.flatMap(FileSystem.FileSystem, (files) => files.makeDirectory(directory, { recursive: true })).pipe(
    Effect.mapError((cause) => new NotWritten({ directory, cause })),
  )

/**
 * Writes a seed as a test of its own, in the name of today, and beside it the divergence bundles that nodes write when its
 * schedule is run once more. Returns the paths, the test first. Recording takes turns: that run may come to another end.
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
  yield* openRegressions(directory)
  return yield* Effect.forEach(written, ([name, text]) => {
    const file = path.join(directory, name)
    return Effect.mapBoth(files.writeFileString(file, text), {
      onFailure: (cause) => new NotWritten({ directory, cause }),
      onSuccess: () => file,
    })
  })
})
