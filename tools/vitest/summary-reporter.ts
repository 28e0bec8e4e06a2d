/**
 * The closing line of a test run: `N passed, N failed[, N skipped]`.
 *
 * A file that does not load, a hook that throws and an unhandled error each count as one failure, so that a run
 * cannot look green while code did not execute.
 */
import type { Reporter, TestModule, TestRunEndReason } from "vitest/node"

export default class SummaryReporter implements Reporter {
  onTestRunEnd(
    modules: ReadonlyArray<TestModule>,
    unhandled: ReadonlyArray<unknown>,
    reason: TestRunEndReason,
  ): void {
    const counts = { passed: 0, failed: unhandled.length, skipped: 0 }
    for (const module of modules) {
      const failedBefore = counts.failed
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        counts[state === "pending" ? "skipped" : state] += 1
      }
      if (module.state() === "failed" && counts.failed === failedBefore) counts.failed += 1
    }
    const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : ""
    console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`)
    if (reason === "interrupted") console.log("interrupted before every test ran")
  }
}
