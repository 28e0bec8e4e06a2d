/**
 * Counts a test run: `N passed, N failed[, N skipped]`.
 *
 * A file that does not load, a hook that throws, an unhandled error and an interrupted run each count as one failure,
 * so that a run cannot look green while code did not execute. The counts go to the parent process where there is one
 * that listens (tools/check.ts, which prints them last), and to standard output otherwise.
 */
import type { Reporter, TestModule, TestRunEndReason } from "vitest/node"

/** Result of a test run. */
export interface TestCounts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

/** The vitest reporter that sends or prints the counts. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, unhandled: ReadonlyArray<unknown>, reason: TestRunEndReason): void {
    const counts = { passed: 0, failed: unhandled.length, skipped: 0 }
    for (const module of modules) {
      const failedBefore = counts.failed
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        counts[state === "pending" ? "skipped" : state] += 1
      }
      if (module.state() === "failed" && counts.failed === failedBefore) counts.failed += 1
    }
    if (reason === "interrupted") counts.failed += 1
    if (process.send !== undefined) process.send(counts satisfies TestCounts)
    else {
      const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : ""
      console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`)
    }
  }
}
